//! Exec and logs over WebSockets, as browsers ask for them.

use anyhow::{Context, bail};
use futures::StreamExt;
use http::Request;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::client::PATIENCE;
use crate::pods::{self, container, pod};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Pods;
    "[sig-node] Pods should support remote command execution over websockets [NodeConformance] [Conformance]" => exec,
    "[sig-node] Pods should support retrieving logs from the container over websockets [NodeConformance] [Conformance]" => logs,
}

const SCRIPT: &str = "echo container is alive; trap 'exit 0' TERM; while true; do sleep 1; done";

/// All messages of a WebSocket up to its end.
async fn messages(t: &Test, path: &str, protocol: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let request = Request::get(path)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", protocol)
        .body(kube::client::Body::empty())?;
    let response = t.api().kube().send(request).await?;
    expect::same("the code", &response.status().as_u16(), &101)?;
    let agreed = response.headers().get("sec-websocket-protocol").and_then(|value| value.to_str().ok());
    expect::same("the subprotocol", &agreed, &Some(protocol))?;
    let upgraded = hyper::upgrade::on(response).await?;
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await;
    let mut all = Vec::new();
    let read = async {
        while let Some(message) = socket.next().await {
            match message? {
                Message::Binary(bytes) => all.push(bytes.to_vec()),
                Message::Close(frame) => {
                    expect::same("the end's code", &frame.map(|frame| u16::from(frame.code)), &Some(1000))?;
                    return Ok(());
                }
                other => bail!("{other:?} should be binary"),
            }
        }
        bail!("the connection ended without a close")
    };
    tokio::time::timeout(PATIENCE, read).await.context("the WebSocket did not end")??;
    Ok(all)
}

async fn exec(t: Test) -> anyhow::Result<()> {
    pods::start(&t, &pod("exec", &[container("main", SCRIPT)])).await?;
    let query = "stderr=1&stdout=1&container=main&command=echo&command=remote%20execution%20test";
    let path = format!("{}?{query}", t.objects("v1", "pods").path_of("exec", "exec"));
    let mut output = Vec::new();
    for message in messages(&t, &path, "channel.k8s.io").await? {
        // Standard output alone has something to say: an old protocol tells success by silence.
        let (channel, bytes) = message.split_first().context("a message without a channel")?;
        expect::that(*channel == 1 || bytes.is_empty(), || format!("channel {channel} says {bytes:?}"))?;
        output.extend_from_slice(bytes);
    }
    expect::same("the output", &String::from_utf8_lossy(&output).as_ref(), &"remote execution test\n")
}

async fn logs(t: Test) -> anyhow::Result<()> {
    pods::start(&t, &pod("logs", &[container("main", SCRIPT)])).await?;
    let path = format!("{}?container=main", t.objects("v1", "pods").path_of("logs", "log"));
    let log = messages(&t, &path, "binary.k8s.io").await?.concat();
    expect::same("the log", &String::from_utf8_lossy(&log).as_ref(), &"container is alive\n")
}
