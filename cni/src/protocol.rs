//! The plugin's side of the CNI protocol: errors, versions, and one call from the environment and standard input.

use std::ffi::OsString;
use std::io::{Read, Write};

use serde_json::{Value, json};

/// The versions of the specification our plugins speak; delegates have the last word on the version of a configuration.
const SUPPORTED: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// An error as the specification's section 5 has it.
#[derive(Debug, thiserror::Error)]
#[error("{msg}")]
pub struct CniError {
    code: u32,
    msg: String,
}

impl CniError {
    pub fn env(msg: impl Into<String>) -> Self {
        Self { code: 4, msg: msg.into() }
    }
    pub fn io(msg: impl Into<String>) -> Self {
        Self { code: 5, msg: msg.into() }
    }
    pub fn decode(msg: impl Into<String>) -> Self {
        Self { code: 6, msg: msg.into() }
    }
    pub fn config(msg: impl Into<String>) -> Self {
        Self { code: 7, msg: msg.into() }
    }
    pub fn unavailable(msg: impl Into<String>) -> Self {
        Self { code: 50, msg: msg.into() }
    }
    /// A plugin's own error: codes from 100 on are free for it to use.
    pub fn own(msg: impl Into<String>) -> Self {
        Self { code: 999, msg: msg.into() }
    }
}

/// Serves one call with `body` (command, configuration; gives the exit status), except VERSION, which is the same for
/// every plugin. Returns the exit status.
pub fn serve(body: fn(&str, &[u8]) -> Result<i32, CniError>) -> i32 {
    let mut input = Vec::new();
    let outcome = match std::io::stdin().read_to_end(&mut input) {
        Ok(_) => match std::env::var("CNI_COMMAND").unwrap_or_default().as_str() {
            "VERSION" => {
                print(&json!({ "cniVersion": SUPPORTED[SUPPORTED.len() - 1], "supportedVersions": SUPPORTED }));
                Ok(0)
            }
            command => body(command, &input),
        },
        Err(error) => Err(CniError::io(format!("failed to read the network configuration: {error}"))),
    };
    match outcome {
        Ok(status) => status,
        Err(error) => {
            let version = serde_json::from_slice::<Value>(&input)
                .ok()
                .and_then(|conf| conf["cniVersion"].as_str().map(str::to_owned))
                .unwrap_or_else(|| "0.3.1".to_owned());
            print(&json!({ "cniVersion": version, "code": error.code, "msg": error.msg }));
            1
        }
    }
}

/// Answers the runtime.
pub fn print(value: &Value) {
    // A reader that has gone away cannot be told anything.
    let _ = writeln!(std::io::stdout(), "{value}");
}

/// `CNI_CONTAINERID`, in the specification's form, which also keeps it from being a path.
pub fn container_id() -> Result<String, CniError> {
    let id = std::env::var("CNI_CONTAINERID").unwrap_or_default();
    let sound = id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if sound { Ok(id) } else { Err(CniError::env(format!("invalid CNI_CONTAINERID: {id:?}"))) }
}

/// Where delegates are looked for: `CNI_PATH`, as the runtime gave it.
pub fn search_path() -> Option<OsString> {
    std::env::var_os("CNI_PATH")
}
