//! The CNI plugin `flannel`: turns its short configuration and subnet.env into one for `bridge`, and delegates.
//!
//! A meta plugin in the sense of the CNI specification 1.1.0, following flannel-cni-plugin: the configuration that ADD
//! handed to the delegate is kept in the data folder by container id, so that DEL undoes exactly what ADD did even if
//! subnet.env has changed since. No runtime and no threads here: the process lives for the exec of its delegate.

mod delegate;
mod netconf;

#[cfg(test)]
mod kernel_tests;

use std::path::{Path, PathBuf};

use crate::protocol::{self, CniError, container_id};
use crate::subnet_env::SubnetEnv;
use netconf::NetConf;

/// Serves one CNI call from the environment and stdin; returns the exit status.
#[must_use]
pub fn main() -> i32 {
    protocol::serve(serve)
}

fn serve(command: &str, input: &[u8]) -> Result<i32, CniError> {
    let conf: NetConf = serde_json::from_slice(input).map_err(|error| CniError::decode(error.to_string()))?;
    match command {
        "ADD" => {
            let store = store_path(&conf, &container_id()?);
            let delegated = conf.delegate(&subnet_env(&conf)?)?;
            let text = delegated.to_string();
            crate::subnet_env::write_atomically(&store, text.as_bytes())
                .map_err(|error| CniError::io(format!("failed to save {}: {error}", store.display())))?;
            Err(delegate::replace_self(&delegated)?)
        }
        "CHECK" => {
            let mut delegated = conf.delegate(&subnet_env(&conf)?)?;
            if let Some(previous) = conf.prev_result {
                delegated["prevResult"] = previous;
            }
            Err(delegate::replace_self(&delegated)?)
        }
        "DEL" => delete(&store_path(&conf, &container_id()?)),
        "GC" => collect(&conf),
        "STATUS" => match subnet_env(&conf) {
            Ok(_) => Ok(0),
            Err(error) => Err(CniError::unavailable(error.to_string())),
        },
        "" => Err(CniError::env("required env variables [CNI_COMMAND] missing")),
        other => Err(CniError::env(format!("unknown CNI_COMMAND: {other}"))),
    }
}

/// DEL is idempotent: a container that ADD never reached, or that is deleted twice, is no error.
fn delete(saved: &Path) -> Result<i32, CniError> {
    let text = match std::fs::read(saved) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(CniError::io(format!("failed to read {}: {error}", saved.display()))),
    };
    let conf = serde_json::from_slice(&text)
        .map_err(|error| CniError::decode(format!("failed to parse {}: {error}", saved.display())))?;
    let status = delegate::call(&conf, &[])?;
    if status == 0 {
        std::fs::remove_file(saved)
            .map_err(|error| CniError::io(format!("failed to remove {}: {error}", saved.display())))?;
    }
    Ok(status)
}

/// GC: forgets saved configurations of containers that are no longer valid, after a DEL of each at the delegate.
/// Goes on at an error, as the specification asks, and reports the first.
fn collect(conf: &NetConf) -> Result<i32, CniError> {
    let valid: Vec<&str> = conf.valid_attachments.iter().map(|attachment| attachment.container_id.as_str()).collect();
    let Ok(entries) = std::fs::read_dir(conf.data_dir()) else { return Ok(0) };
    let mut first = None;
    for entry in entries.flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        if id.starts_with('.') || valid.contains(&id.as_str()) {
            continue;
        }
        let outcome = std::fs::read(entry.path())
            .map_err(|error| CniError::io(error.to_string()))
            .and_then(|text| serde_json::from_slice(&text).map_err(|error| CniError::decode(error.to_string())))
            .and_then(|saved| {
                delegate::call(&saved, &[("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", &id), ("CNI_IFNAME", "eth0")])
            });
        match outcome {
            Ok(0) => drop(std::fs::remove_file(entry.path())),
            Ok(status) => {
                first.get_or_insert(CniError::config(format!("delegate DEL of {id} ended with {status}")));
            }
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    first.map_or(Ok(0), Err)
}

fn subnet_env(conf: &NetConf) -> Result<SubnetEnv, CniError> {
    let path = conf.subnet_file();
    let text = std::fs::read_to_string(&path)
        .map_err(|error| CniError::io(format!("loadFlannelSubnetEnv failed: open {}: {error}", path.display())))?;
    SubnetEnv::parse(&text).map_err(|error| CniError::config(format!("{}: {error}", path.display())))
}

fn store_path(conf: &NetConf, id: &str) -> PathBuf {
    conf.data_dir().join(id)
}
