//! What the server passes on, through the server itself: links of a proxied page, and a log over a WebSocket.

mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;
use support::raw::Raw;
use support::{APPLY, Server, kubectl_is_missing};

/// Reads a request's head.
fn head(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

fn reply(stream: &mut impl Write, status: &str, headers: &str, body: &str) {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).unwrap();
    stream.flush().unwrap();
}

/// An address of this machine that is not loopback, for nodes with that are not proxied to; `None`, said aloud: there is none.
fn own_address() -> Option<IpAddr> {
    // Nothing is sent: the kernel only chooses the address that it would send from.
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let chosen = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
    let address = chosen.ok().map(|address| address.ip()).filter(|address| !address.is_loopback());
    if address.is_none() {
        eprintln!("SKIPPED: this machine has no address but loopback");
    }
    address
}

/// A plain server: a page, a redirect, and a mirror of what it was asked.
fn site(address: IpAddr) -> u16 {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            let head = head(&mut stream);
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let host = format!("Location: http://{address}:{port}/else/\r\nAccess-Control-Allow-Origin: *\r\n");
            match target.as_str() {
                "/page" => {
                    let body = r#"<a href="/a/">a</a><a href="b">b</a><img src="http://example.com/c">"#;
                    reply(&mut stream, "200 OK", "Content-Type: text/html; charset=utf-8\r\n", body);
                }
                "/moved" => reply(&mut stream, "302 Found", &host, ""),
                "/broken" => reply(&mut stream, "302 Found", "Location: /a%zz\r\n", ""),
                _ => reply(&mut stream, "200 OK", "Content-Type: text/plain\r\n", &head),
            }
        }
    });
    port
}

/// A kubelet that knows one log.
fn kubelet(pki: &Path) -> u16 {
    let chain = vec![CertificateDer::from_pem_file(pki.join("apiserver.crt")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(pki.join("apiserver.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream.unwrap());
            let head = head(&mut stream);
            assert!(!head.to_ascii_lowercase().contains("websocket"), "the WebSocket is between others: {head}");
            match head.starts_with("GET /containerLogs/default/web/main?tailLines=1 ") {
                true => reply(&mut stream, "200 OK", "Content-Type: text/plain\r\n", "hello\n"),
                false => reply(&mut stream, "404 Not Found", "", "no such log"),
            }
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    port
}

/// A server, and a node at the address with a kubelet that listens on loopback.
fn world(name: &str, address: IpAddr) -> Option<(Server, Raw)> {
    if kubectl_is_missing() {
        return None;
    }
    let server = Server::start(name);
    let pki = server.dir.join("pki");
    let read = |name: &str| std::fs::read_to_string(pki.join(name)).unwrap();
    let raw = Raw::new(&pki.join("ca.crt"), server.port, Some((&read("admin.crt"), &read("admin.key"))));
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1" } });
    server.ok(APPLY, &node.to_string());
    let status = json!({ "status": {
        "addresses": [{ "type": "InternalIP", "address": address }],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": kubelet(&pki) } },
    } });
    server.ok(&["patch", "node", "n1", "--subresource=status", "--type=merge", "-p", &status.to_string()], "");
    Some((server, raw))
}

#[test]
fn a_proxied_page_keeps_its_links() {
    let Some(address) = own_address() else { return };
    let Some((_server, raw)) = world("proxied", address) else { return };
    let port = site(address);
    let base = format!("/api/v1/nodes/n1:{port}/proxy");
    let get = |path: &str| raw.send("GET", &format!("{base}{path}"), &["X-Forwarded-For: 10.1.1.1"], "");
    let page = get("/page");
    let expected = format!(r#"<a href="{base}/a/">a</a><a href="b">b</a><img src="http://example.com/c">"#);
    assert!(page.code == 200 && page.text.contains(&expected), "{}", page.text);
    let moved = get("/moved");
    let text = moved.text.to_ascii_lowercase();
    assert!(moved.code == 302 && text.contains(&format!("location: {base}/else/\r\n")), "{}", moved.text);
    assert!(!text.contains("access-control-allow-origin"), "{}", moved.text);
    let broken = get("/broken");
    let why = r#"error trying to parse Location header: parse \"/a%zz\": invalid URL escape \"%zz\""#;
    assert!(broken.code == 500 && broken.text.contains(why), "{}", broken.text);
    let mirror = get("/x/y/?q=1").text.to_ascii_lowercase();
    assert!(mirror.contains("get /x/y/?q=1 http/1.1"), "{mirror}");
    assert!(mirror.contains(&format!("x-forwarded-uri: {base}/x/y/\r\n")), "{mirror}");
    assert!(mirror.contains("x-forwarded-for: 10.1.1.1, 127.0.0.1\r\n"), "{mirror}");
    assert!(mirror.contains("\r\nhost: localhost\r\n"), "{mirror}");
    let bare = get("?q=1");
    let location = format!("location: {base}/?q=1\r\n");
    assert!(bare.code == 301 && bare.text.to_ascii_lowercase().contains(&location), "{}", bare.text);
    for method in ["OPTIONS", "PATCH", "PUT", "DELETE"] {
        let reply = raw.send(method, &format!("{base}/m"), &[], "");
        assert!(reply.code == 200 && reply.text.contains(&format!("{method} /m HTTP/1.1")), "{}", reply.text);
    }
    let posted = raw.send("POST", &base, &[], "{}");
    assert!(posted.code == 200 && posted.text.to_ascii_lowercase().contains("post / http/1.1"), "{}", posted.text);
}

#[test]
fn who_is_not_there_is_unavailable() {
    let Some(address) = own_address() else { return };
    let Some((server, raw)) = world("absent", address) else { return };
    // Nobody listens on a port that was taken and given back.
    let port = TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port();
    let gone = raw.send("GET", &format!("/api/v1/nodes/n1:{port}/proxy/"), &[], "");
    let why = format!("error trying to reach service: dial tcp {address}:{port}: connect: connection refused");
    assert!(gone.code == 503 && gone.text.contains(&why), "{}", gone.text);
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" },
        "spec": { "ports": [{ "name": "http", "port": 80 }] } });
    server.ok(APPLY, &service.to_string());
    for (id, code, why) in [
        ("web:http", 503, r#"no endpoints available for service \"web\""#),
        ("web:81", 503, r#"no service port 81 found for service \"web\""#),
        ("ftp:web:80", 400, r#"invalid service request \"ftp:web:80\""#),
        ("none", 404, r#"services \"none\" not found"#),
    ] {
        let reply = raw.send("GET", &format!("/api/v1/namespaces/default/services/{id}/proxy/"), &[], "");
        assert!(reply.code == code && reply.text.contains(why), "{id}: {}", reply.text);
    }
}

#[test]
fn a_log_comes_over_a_websocket() {
    let Some((server, raw)) = world("log", IpAddr::from([127, 0, 0, 1])) else { return };
    // Its kubelet is asked for what kubelets are asked for, but is no way to this machine's own ports.
    for id in ["n1", "n1:6443", "https:n1:443"] {
        let refused = raw.send("GET", &format!("/api/v1/nodes/{id}/proxy/metrics"), &[], "");
        assert!(refused.code == 400 && refused.text.contains("address not allowed"), "{}", refused.text);
    }
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "web" }, "spec": {
        "nodeName": "n1", "containers": [{ "name": "main", "image": "none" }], "automountServiceAccountToken": false } });
    server.ok(&["create", "serviceaccount", "default"], "");
    server.ok(APPLY, &pod.to_string());
    let path = "/api/v1/namespaces/default/pods/web/log?container=main&tailLines=1";
    let hello = ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
    // Frames are unmasked and short: what they are (with the bit that says there is no more of it), length, payload. An empty
    // message, the log, the end with code 1000.
    let end = [0x88, 2, 0x03, 0xe8];
    let binary = [&[0x82, 0, 0x82, 6], &b"hello\n"[..], &end].concat();
    let text = [&[0x81, 0, 0x81, 8], &b"aGVsbG8K"[..], &end].concat();
    for (protocol, frames) in [("", &binary), ("binary.k8s.io", &binary), ("base64.binary.k8s.io", &text)] {
        let asked = format!("Sec-WebSocket-Protocol: {protocol}");
        let mut headers = [&["Connection: Upgrade"], &hello[..]].concat();
        if !protocol.is_empty() {
            headers.push(&asked);
        }
        let reply = raw.send("GET", path, &headers, "");
        assert_eq!(reply.code, 101, "{}", reply.text);
        let at = reply.bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        assert_eq!(&reply.bytes[at..], frames, "{protocol}");
        let head = reply.text.split_once("\r\n\r\n").unwrap().0.to_ascii_lowercase();
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        let agreed = format!("sec-websocket-protocol: {protocol}");
        assert_eq!(head.contains("sec-websocket-protocol"), !protocol.is_empty(), "{head}");
        assert!(protocol.is_empty() || head.contains(&agreed), "{head}");
    }
    let mut headers = [&["Connection: Upgrade", "Sec-WebSocket-Protocol: channel.k8s.io"], &hello[..]].concat();
    let refused = raw.send("GET", path, &headers, "");
    assert_eq!(refused.code, 403, "{}", refused.text);
    headers.clear();
    let plain = raw.send("GET", path, &headers, "");
    assert!(plain.code == 200 && plain.text.ends_with("hello\n"), "{}", plain.text);
}
