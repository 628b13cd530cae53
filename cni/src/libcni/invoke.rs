//! One call of one plugin: environment, configuration on standard input, result or error on standard output.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{Attachment, Error, joined};

/// Runs `program`; an empty answer (as DEL and CHECK give) is `null`.
pub async fn plugin(
    program: &Path,
    verb: &'static str,
    name: &str,
    attachment: &Attachment,
    bin_dirs: &[PathBuf],
    config: &Value,
) -> Result<Value, Error> {
    let mut child = Command::new(program)
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", &attachment.container_id)
        .env("CNI_NETNS", &attachment.netns)
        .env("CNI_IFNAME", &attachment.ifname)
        .env("CNI_ARGS", attachment.args())
        .env("CNI_PATH", joined(bin_dirs))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    // A plugin may end without reading; what it says matters then, not that our write failed.
    let _ = stdin.write_all(config.to_string().as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await?;
    if output.status.success() {
        if output.stdout.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        return serde_json::from_slice(&output.stdout)
            .map_err(|source| Error::Result { plugin: name.to_owned(), source });
    }
    Err(Error::Plugin { plugin: name.to_owned(), verb: verb_word(verb), message: message(&output) })
}

fn verb_word(verb: &'static str) -> &'static str {
    match verb {
        "ADD" => "add",
        "DEL" => "delete",
        other => other,
    }
}

/// The error object's `msg` and `details`, or else whatever the plugin wrote.
fn message(output: &std::process::Output) -> String {
    if let Ok(error) = serde_json::from_slice::<Value>(&output.stdout)
        && let Some(text) = error["msg"].as_str()
    {
        return match error["details"].as_str() {
            Some(details) if !details.is_empty() => format!("{text}; {details}"),
            _ => text.to_owned(),
        };
    }
    let raw = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    let text = String::from_utf8_lossy(raw).trim().to_owned();
    if text.is_empty() { format!("netplugin failed with no error message: {}", output.status) } else { text }
}
