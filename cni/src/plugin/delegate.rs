//! Finding and running the delegate plugin.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::protocol::{CniError, search_path};

/// Becomes the delegate: same process, environment and stdout, its configuration on stdin. Saves the fork and the wait
/// of the usual way. Returns only if the exec failed.
pub fn replace_self(conf: &Value) -> Result<CniError, CniError> {
    let program = find(conf)?;
    let error = Command::new(&program).stdin(Stdio::from(input(conf)?)).exec();
    Ok(CniError::io(format!("failed to exec {}: {error}", program.display())))
}

/// Runs the delegate with the caller's environment and `env` on top, its answer on our stdout; returns its exit status.
pub fn call(conf: &Value, env: &[(&str, &str)]) -> Result<i32, CniError> {
    let program = find(conf)?;
    let status = Command::new(&program)
        .envs(env.iter().copied())
        .stdin(Stdio::from(input(conf)?))
        .status()
        .map_err(|error| CniError::io(format!("failed to run {}: {error}", program.display())))?;
    Ok(status.code().unwrap_or(1))
}

fn find(conf: &Value) -> Result<PathBuf, CniError> {
    let kind = conf["type"].as_str().unwrap_or_default();
    if kind.is_empty() || kind.contains('/') {
        return Err(CniError::config(format!("invalid plugin name: {kind:?}")));
    }
    let path = search_path().ok_or_else(|| CniError::env("required env variables [CNI_PATH] missing"))?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(kind))
        .find(|file| file.is_file())
        .ok_or_else(|| CniError::config(format!("failed to find plugin {kind:?} in path {}", path.to_string_lossy())))
}

/// The configuration as an anonymous file: unlike a pipe it holds any size with no reader yet.
fn input(conf: &Value) -> Result<File, CniError> {
    let fail = |error: String| CniError::io(format!("failed to hand over the configuration: {error}"));
    let fd = nix::sys::memfd::memfd_create(c"cni-conf", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)
        .map_err(|error| fail(error.to_string()))?;
    let mut file = File::from(fd);
    file.write_all(conf.to_string().as_bytes()).map_err(|error| fail(error.to_string()))?;
    std::io::Seek::rewind(&mut file).map_err(|error| fail(error.to_string()))?;
    Ok(file)
}
