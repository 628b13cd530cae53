//! nftables transactions: a batch of commands is applied whole or not at all.
//!
//! Rulesets are nft's JSON (`libnftables-json(5)`) as values, applied with `nft -j -f -` in the caller's network
//! namespace. The `nftables` crate's types cannot declare a verdict map, so maps are raw JSON in the same batch, and our
//! own tables are never read back: the committed state is kept in memory by the caller.

use std::io::Write;
use std::process::{Command, Stdio};

/// Why a batch was not applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The nft program could not be started.
    #[error("cannot run nft (package nftables): {0}")]
    Spawn(#[source] std::io::Error),
    /// The kernel or nft refused the batch; nothing of it was applied.
    #[error("nft refused the batch: {0}")]
    Refused(String),
}

/// Applies `commands` (each an nftables command object, such as `{"add": {"table": …}}`) as one transaction.
///
/// # Errors
/// [`Error::Refused`] carries nft's own message; nothing has changed then.
pub fn apply(commands: &[serde_json::Value]) -> Result<(), Error> {
    if commands.is_empty() {
        return Ok(());
    }
    let batch = serde_json::json!({ "nftables": commands }).to_string();
    let mut child = Command::new("nft")
        .args(["-j", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Error::Spawn)?;
    // nft reads all of its input before it writes anything, so this cannot block on a full pipe.
    let written = child.stdin.take().expect("stdin is piped").write_all(batch.as_bytes());
    let output = child.wait_with_output().map_err(Error::Spawn)?;
    if output.status.success() && written.is_ok() {
        return Ok(());
    }
    Err(Error::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
