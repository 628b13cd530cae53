//! What the server passes on to kubelets: logs, exec, attach and port-forward; and the way to [`proxy`].
//!
//! An upgrade (WebSocket or SPDY) is not understood here: the request goes to the kubelet as it came, and once both sides
//! have switched protocols the bytes are spliced. Only a log's WebSocket is our own, see [`socket`](super::socket).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::backend::{Backend, Scheme};
use super::forward::{self, Outgoing};
use super::proxy;
use super::request_info::{decode, integer};
use super::socket::Socket;
use super::status::{ApiError, ApiResult};
use super::{kubelet_words, log_options};
use crate::access;
use crate::admission::{self, Attributes};
use crate::app::{App, Call, text};
use crate::registry::write;

/// Where kubelets listen unless the node says otherwise.
const KUBELET_PORT: u64 = 10250;

/// Passes the call on and answers with what comes back.
pub async fn answer(call: &Call, request: Request) -> ApiResult<Response<Body>> {
    let info = &call.info;
    if let Some(mut options) = connect_options(call)? {
        admission::admit(&Attributes::connect(call, &options), &mut options).await?;
    }
    match (call.resource.plural.as_str(), info.subresource.as_str()) {
        (_, "proxy") => proxy::answer(call, request).await,
        ("pods", "log") => log(call, request).await,
        ("pods", _) => {
            // A WebSocket begins as a GET, and to run something in a pod takes more than to read it (upstream's
            // AuthorizePodWebsocketUpgradeCreatePermission).
            if info.verb != "create" {
                access::also(call, "create", |_, reason| reason.to_owned()).await?;
            }
            let backend = container(call).await?;
            let unplaced = || ApiError::bad_request(format!("pod {} does not have a host assigned", info.name));
            let backend = backend.ok_or_else(unplaced)?;
            let query = kubelet_words::query(&info.subresource, call.query.iter());
            let outgoing = Outgoing { query: &query, host: backend.address() };
            forward::pass(&call.app, &backend, outgoing, request).await.map_err(|problem| problem.dialing())
        }
        _ => Err(ApiError::no_route()),
    }
}

/// A container's log; to those who ask for a WebSocket, over one.
async fn log(call: &Call, mut request: Request) -> ApiResult<Response<Body>> {
    log_options::check(&call.query, &call.info.name)?;
    let backend = container(call).await?;
    let socket = Socket::asked(&mut request)?;
    let response = match backend {
        Some(backend) => {
            *request.method_mut() = Method::GET;
            let query = kubelet_words::query("log", call.query.iter());
            let outgoing = Outgoing { query: &query, host: backend.address() };
            let passed = forward::pass(&call.app, &backend, outgoing, request).await;
            passed.map_err(|problem| problem.dialing())?
        }
        // Nobody has written a log yet.
        None => {
            let mut nothing = Response::new(Body::empty());
            *nothing.status_mut() = StatusCode::NO_CONTENT;
            nothing
        }
    };
    match socket {
        // What cannot be had is told as a Status.
        _ if !response.status().is_success() => Err(kubelet_words::refusal(response, &call.info.name).await),
        Some(socket) => Ok(socket.stream(call.app.stop.clone(), response.into_body())),
        None => Ok(response),
    }
}

/// The options object of a connection, which admission judges; none for a log, which is a mere read.
fn connect_options(call: &Call) -> ApiResult<Option<Value>> {
    let kind = match (call.resource.plural.as_str(), call.info.subresource.as_str()) {
        ("pods", "exec") => "PodExecOptions",
        ("pods", "attach") => "PodAttachOptions",
        ("pods", "portforward") => "PodPortForwardOptions",
        ("pods", "proxy") => "PodProxyOptions",
        ("services", "proxy") => "ServiceProxyOptions",
        ("nodes", "proxy") => "NodeProxyOptions",
        _ => return Ok(None),
    };
    let mut options = json!({ "kind": kind, "apiVersion": "v1" });
    match call.info.subresource.as_str() {
        "exec" | "attach" => {
            for stream in ["stdin", "stdout", "stderr", "tty"] {
                if call.query.flag(stream) {
                    options[stream] = true.into();
                }
            }
            if let Some(container) = call.query.text("container") {
                options["container"] = container.into();
            }
            let command: Vec<&str> = call.query.all("command").collect();
            if !command.is_empty() {
                options["command"] = json!(command);
            }
        }
        "portforward" => {
            let ports: Vec<u32> = call
                .query
                .all("ports")
                .map(|port| integer("ParseUint", port))
                .collect::<Result<_, _>>()
                .map_err(|why| ApiError::bad_request(format!("cannot convert to []int32: {why}")))?;
            if !ports.is_empty() {
                options["ports"] = json!(ports);
            }
        }
        _ => {
            let path = proxy::path(&call.info);
            if !path.is_empty() {
                options["path"] = decode(&path).into();
            }
        }
    }
    Ok(Some(options))
}

/// The pod of the call, which must run somewhere.
async fn pod(call: &Call) -> ApiResult<Value> {
    let key = call.resource.key(&call.info.namespace, &call.info.name);
    Ok(write::load(call, &key).await?.ok_or_else(|| call.not_found(&call.info.name))?.value)
}

/// The kubelet's path of exec, attach, portForward and containerLogs; nothing while the pod has no node.
async fn container(call: &Call) -> ApiResult<Option<Backend>> {
    let info = &call.info;
    let pod = pod(call).await?;
    let node_name = text(&pod, "/spec/nodeName");
    let (namespace, name) = (&info.namespace, &info.name);
    let path = match info.subresource.as_str() {
        "portforward" => format!("/portForward/{namespace}/{name}"),
        sub => {
            let container = container_name(call, &pod)?;
            let verb = if sub == "log" { "containerLogs" } else { sub };
            format!("/{verb}/{namespace}/{name}/{container}")
        }
    };
    if node_name.is_empty() {
        return Ok(None);
    }
    let missing = |error: ApiError| {
        // Upstream names what the request is about, whatever it looked for.
        if error.code == 404 { ApiError::not_found("", "pods", node_name) } else { error }
    };
    let backend = node(&call.app, node_name).await.map_err(missing)?;
    Ok(Some(Backend { path, ..backend }))
}

/// The container a request is for: the one it names, or the only one.
fn container_name(call: &Call, pod: &Value) -> ApiResult<String> {
    let names = |list: &str| -> Vec<String> {
        let items = pod["spec"][list].as_array().into_iter().flatten();
        items.filter_map(|c| c["name"].as_str().map(str::to_owned)).collect()
    };
    let (containers, init) = (names("containers"), names("initContainers"));
    let ephemeral = names("ephemeralContainers");
    let name = &call.info.name;
    match call.query.text("container") {
        Some(wanted) => {
            let known = containers.iter().chain(&init).chain(&ephemeral).any(|c| c == wanted);
            if known {
                Ok(wanted.to_owned())
            } else {
                Err(ApiError::bad_request(format!("container {wanted} is not valid for pod {name}")))
            }
        }
        None => match containers.as_slice() {
            [only] => Ok(only.clone()),
            many => {
                let all: Vec<&str> = init.iter().chain(many).chain(&ephemeral).map(String::as_str).collect();
                let choice = all.join(" ");
                let why = format!("a container name must be specified for pod {name}, choose one of: [{choice}]");
                Err(ApiError::bad_request(why))
            }
        },
    }
}

/// A node's kubelet.
pub async fn node(app: &Arc<App>, name: &str) -> ApiResult<Backend> {
    let node = write::live(app, "nodes", "", name).await?.ok_or_else(|| ApiError::not_found("", "nodes", name))?;
    let addresses = node["status"]["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let address = |kind: &str| addresses.iter().find(|a| a["type"] == kind).and_then(|a| a["address"].as_str());
    let host = app.options.kubelet_preferred_address_types.iter().find_map(|kind| address(kind));
    let host = host
        .ok_or_else(|| ApiError::internal(format!("no preferred addresses found; known addresses: {addresses:?}")))?;
    let own = node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port").and_then(Value::as_u64).filter(|p| *p != 0);
    let port = own.unwrap_or(KUBELET_PORT);
    let port = u16::try_from(port).map_err(|_| ApiError::internal(format!("{port} is no port")))?;
    Ok(Backend { host: host.to_owned(), port, scheme: Scheme::Kubelet, path: String::new() })
}
