//! What a DEL needs, kept on disk in libcni's own form (`cniCacheV1`), so that other tools can read it.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::conf::NetworkList;
use super::{Attachment, Error};

/// A remembered attachment.
pub struct Cached {
    pub list: NetworkList,
    pub result: Value,
    pub attachment: Attachment,
}

pub fn store(dir: &Path, list: &NetworkList, attachment: &Attachment, result: &Value) -> Result<(), Error> {
    std::fs::create_dir_all(dir)?;
    let entry = json!({
        "kind": "cniCacheV1",
        "containerId": attachment.container_id,
        "config": STANDARD.encode(list.raw.to_string()),
        "ifName": attachment.ifname,
        "networkName": list.name,
        "netns": attachment.netns,
        "cniArgs": [
            ["IgnoreUnknown", "1"],
            ["K8S_POD_NAMESPACE", attachment.namespace],
            ["K8S_POD_NAME", attachment.pod],
            ["K8S_POD_INFRA_CONTAINER_ID", attachment.container_id],
            ["K8S_POD_UID", attachment.uid],
        ],
        "capabilityArgs": attachment.runtime_config,
        "result": result,
    });
    let path = dir.join(format!("{}-{}-{}", list.name, attachment.container_id, attachment.ifname));
    crate::subnet_env::write_atomically(&path, entry.to_string().as_bytes())?;
    Ok(())
}

/// The attachment's entry, whatever the network was called.
pub fn load(dir: &Path, attachment: &Attachment) -> Result<Option<Cached>, Error> {
    let Some(path) = find(dir, attachment)? else { return Ok(None) };
    let entry: Value = serde_json::from_slice(&std::fs::read(&path)?).unwrap_or_default();
    let config = entry["config"].as_str().and_then(|text| STANDARD.decode(text).ok());
    let list = config.and_then(|text| serde_json::from_slice(&text).ok()).and_then(NetworkList::parse);
    let Some(list) = list else { return Ok(None) };
    let mut attachment = attachment.clone();
    attachment.runtime_config = entry["capabilityArgs"].clone();
    Ok(Some(Cached { list, result: entry["result"].clone(), attachment }))
}

pub fn forget(dir: &Path, attachment: &Attachment) -> Result<(), Error> {
    if let Some(path) = find(dir, attachment)? {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

fn find(dir: &Path, attachment: &Attachment) -> Result<Option<PathBuf>, Error> {
    let end = format!("-{}-{}", attachment.container_id, attachment.ifname);
    let files = match std::fs::read_dir(dir) {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(files.flatten().find(|file| file.file_name().to_string_lossy().ends_with(&end)).map(|file| file.path()))
}

/// Every remembered attachment by container id and interface.
pub fn list(dir: &Path) -> Result<Vec<(String, String)>, Error> {
    let files = match std::fs::read_dir(dir) {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let entries = files.flatten().filter_map(|file| {
        let entry: Value = serde_json::from_slice(&std::fs::read(file.path()).ok()?).ok()?;
        Some((entry["containerId"].as_str()?.to_owned(), entry["ifName"].as_str()?.to_owned()))
    });
    let mut all: Vec<_> = entries.collect();
    all.sort();
    Ok(all)
}
