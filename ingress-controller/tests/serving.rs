//! The real nginx on loopback: routes served, changed under load without a lost request, and a refusal survived.

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{index, ingress, service};
use knetsim_ingress_controller::apply::nginx::{Error, Nginx};
use knetsim_ingress_controller::core::build::build;
use knetsim_ingress_controller::core::model::Config;
use knetsim_ingress_controller::core::render::{Settings, owner_of_line};
use knetsim_ingress_controller::core::tls;
use knetsim_ingress_controller::index::{Index, Key};

const NGINX: &str = "/usr/sbin/nginx";

fn nginx_missing(test: &str) -> bool {
    let missing = !Path::new(NGINX).exists();
    if missing {
        eprintln!("SKIPPED {test}: {NGINX} is not there (package nginx-light)");
    }
    missing
}

/// Answers every request with `name` until the process ends.
fn backend(name: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    request.extend_from_slice(&buffer[..read]);
                    if request.ends_with(b"\r\n\r\n") {
                        let path = String::from_utf8_lossy(&request).split(' ').nth(1).unwrap_or_default().to_owned();
                        let body = format!("{name} {path}");
                        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                        if stream.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                        request.clear();
                    }
                }
            });
        }
    });
    port
}

/// Status line and body of `GET path`.
fn get(port: u16, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no answer: {text:?}")))?;
    Ok((status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn settings(dir: &Path) -> Settings {
    Settings {
        dir: dir.to_str().unwrap().to_owned(),
        root: nix::unistd::geteuid().is_root(),
        workers: 1,
        shutdown_timeout: 10,
        http_port: free_port(),
        https_port: free_port(),
        status_port: free_port(),
        access_log: false,
        default_certificate: "default".to_owned(),
    }
}

fn route(index: &mut Index, to: &str) -> Config {
    ingress(
        index,
        &format!(
            "
metadata: {{name: web, namespace: default}}
spec:
  ingressClassName: nginx
  rules:
  - http:
      paths: [{{path: /app, pathType: Prefix, backend: {{service: {{name: {to}, port: {{number: 80}}}}}}}}]
"
        ),
    );
    build(index, false, &BTreeMap::new()).config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_path_loses_no_request() {
    if nginx_missing("a_changed_path_loses_no_request") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let port = settings.http_port;
    let mut index = index();
    service(&mut index, "one", &[("127.0.0.1", backend("one"))]);
    // The first endpoint of `two` is a pod that has just gone: nobody listens there.
    service(&mut index, "two", &[("127.0.0.1", free_port()), ("127.0.0.1", backend("two"))]);
    let config = route(&mut index, "one");
    let default = tls::self_made().unwrap();
    let mut nginx = Nginx::start(Path::new(NGINX), settings, &default, &config).await.unwrap();
    assert_eq!(get(port, "/app/x").unwrap(), (200, "one /app/x".to_owned()));
    assert_eq!(get(port, "/apple").unwrap().0, 404);

    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicU32::new(0));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let (status, body) = get(port, "/app").expect("no request is lost");
                    assert_eq!(status, 200, "{body}");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for round in 0..10 {
        let config = route(&mut index, if round % 2 == 0 { "two" } else { "one" });
        let started = Instant::now();
        nginx.load(&config, true).await.unwrap();
        slowest = slowest.max(started.elapsed());
        let expected = if round % 2 == 0 { "two /app" } else { "one /app" };
        // The new workers run already, but an old one may accept a last connection before it is told to finish.
        let deadline = Instant::now() + Duration::from_secs(5);
        while get(port, "/app").unwrap().1 != expected {
            assert!(Instant::now() < deadline, "round {round} is not served");
        }
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("every request was answered with 200");
    }
    assert!(served.load(Ordering::Relaxed) > 100);
    eprintln!("{} requests, slowest reload {slowest:?}", served.load(Ordering::Relaxed));
    nginx.stop(Duration::from_secs(5)).await;
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "nginx is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_configuration_names_its_ingress_and_changes_nothing() {
    if nginx_missing("a_refused_configuration_names_its_ingress_and_changes_nothing") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let port = settings.http_port;
    let mut index = index();
    service(&mut index, "one", &[("127.0.0.1", backend("one"))]);
    let config = route(&mut index, "one");
    let default = tls::self_made().unwrap();
    let mut nginx = Nginx::start(Path::new(NGINX), settings, &default, &config).await.unwrap();
    ingress(
        &mut index,
        "
metadata:
  name: bad
  namespace: default
  annotations: {nginx.ingress.kubernetes.io/use-regex: 'true'}
spec:
  ingressClassName: nginx
  rules:
  - host: other.example.com
    http:
      paths: [{path: '/(unclosed', pathType: ImplementationSpecific, backend: {service: {name: one, port: {number: 80}}}}]
",
    );
    let built = build(&index, false, &BTreeMap::new());
    let Err(Error::Refused { text, line, message }) = nginx.load(&built.config, true).await else {
        panic!("nginx must refuse it")
    };
    let culprit = owner_of_line(&text, line.expect("nginx names a line")).expect("the line belongs to an ingress");
    assert_eq!(culprit, Key::new("default", "bad"), "{message}");
    assert_eq!(get(port, "/app").unwrap().0, 200);
    let without = build(&index, false, &[(culprit, message)].into());
    nginx.load(&without.config, true).await.unwrap();
    assert_eq!(get(port, "/app").unwrap().0, 200);
    assert!(without.problems.iter().any(|problem| problem.reason == "Rejected"));
    nginx.stop(Duration::from_secs(5)).await;
}
