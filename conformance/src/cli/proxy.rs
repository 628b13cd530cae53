//! Kubectl client: Proxy server.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::Child;

use crate::client::PATIENCE;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-cli] Kubectl client Proxy server should support --unix-socket=/path [Conformance]" => unix_socket,
    "[sig-cli] Kubectl client Proxy server should support proxy with --port 0 [Conformance]" => any_port,
}

/// Starts a proxy; the process and its first line, which says where it listens.
async fn start(t: &Test, args: &[&str]) -> anyhow::Result<(Child, String)> {
    let mut all = vec!["proxy"];
    all.extend(args);
    let mut child = t.cluster.kubectl_command(&all).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let stdout = child.stdout.take().context("kubectl's output is piped")?;
    let mut lines = BufReader::new(stdout).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.context("kubectl proxy says nothing")??;
    Ok((child, line.context("kubectl proxy ended at once")?))
}

async fn api_versions(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> anyhow::Result<()> {
    stream.write_all(b"GET /api/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.context("the proxy does not answer")??;
    let answer = String::from_utf8_lossy(&answer);
    expect::has_text(&answer, "200 OK")?;
    expect::has_text(&answer, "APIVersions")
}

async fn unix_socket(t: Test) -> anyhow::Result<()> {
    let path = t.cluster.folder().join(format!("{}.sock", t.namespace));
    let (mut child, line) = start(&t, &[&format!("--unix-socket={}", path.display())]).await?;
    expect::has_text(&line, &path.display().to_string())?;
    api_versions(UnixStream::connect(Path::new(&path)).await?).await?;
    child.kill().await?;
    Ok(())
}

async fn any_port(t: Test) -> anyhow::Result<()> {
    let (mut child, line) = start(&t, &["-p", "0", "--disable-filter"]).await?;
    let Some((_, address)) = line.rsplit_once(' ') else { bail!("kubectl proxy says no address: {line}") };
    api_versions(TcpStream::connect(address.trim()).await?).await?;
    child.kill().await?;
    Ok(())
}
