//! Probes and lifecycle hooks: exec, httpGet, tcpSocket, grpc.
//!
//! A [`Worker`] counts successes and failures against the probe's thresholds and speaks up only when its verdict changes.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};

use crate::node::Node;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Startup,
    Readiness,
    Liveness,
}

impl Kind {
    /// As upstream's messages have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }
}

/// What a probe has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The threshold of successes is reached.
    Good,
    /// One more failure; `over` when their threshold is reached.
    Bad { message: String, over: bool },
}

/// Counts results. Pure, so that thresholds are tested without time.
#[derive(Debug)]
pub struct Counter {
    successes: i32,
    failures: i32,
    good_at: i32,
    bad_at: i32,
}

impl Counter {
    #[must_use]
    pub fn new(probe: &Probe) -> Self {
        Self {
            successes: 0,
            failures: 0,
            good_at: probe.success_threshold.unwrap_or(1).max(1),
            bad_at: probe.failure_threshold.unwrap_or(3).max(1),
        }
    }

    /// Takes a result; gives what is worth saying about it.
    pub fn take(&mut self, result: Result<(), String>) -> Option<Verdict> {
        match result {
            Ok(()) => {
                self.failures = 0;
                self.successes = self.successes.saturating_add(1);
                (self.successes == self.good_at).then_some(Verdict::Good)
            }
            Err(message) => {
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                Some(Verdict::Bad { message, over: self.failures >= self.bad_at })
            }
        }
    }
}

/// Everything one probe of one running container needs.
pub struct Target {
    pub container: Container,
    pub id: String,
    pub pod_ip: String,
}

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// As upstream's Event says it.
    pub message: String,
    /// Nobody listens: the container has not seen this probe.
    pub refused: bool,
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self { message, refused: false }
    }
}

impl Failure {
    /// A connection that was not made.
    fn of_connect(what: &str, error: &std::io::Error) -> Self {
        let refused = error.kind() == std::io::ErrorKind::ConnectionRefused;
        let why = if refused { "connection refused".to_owned() } else { error.to_string() };
        Self { message: format!("{what}: connect: {why}"), refused }
    }
}

/// How long after a refused connection the first further attempt of the same turn comes; the pauses double.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Until somebody listens for the first time, a turn of a startup or readiness probe lasts as long as its period: a refused
/// connection is tried again meanwhile. The container cannot tell, but is started or ready as soon as it listens, not a
/// period later. Pure, so that it is tested without time.
#[derive(Debug)]
struct Attempts {
    /// Somebody has listened, or nobody asks.
    listens: bool,
    period: Duration,
    pause: Duration,
}

impl Attempts {
    fn new(kind: Kind, period: Duration) -> Self {
        Self { listens: kind == Kind::Liveness, period, pause: FIRST_PAUSE }
    }

    /// What an attempt means that ended `into` its turn: the pause before the next of this turn, or none if it is its last.
    fn again(&mut self, refused: bool, into: Duration) -> Option<Duration> {
        self.listens |= !refused;
        let pause = self.pause;
        let again = !self.listens && into + pause < self.period;
        self.pause = if again { pause * 2 } else { FIRST_PAUSE };
        again.then_some(pause)
    }
}

/// Probes for as long as the returned future lives, each period and whenever `bell` rings after the initial delay, and hands
/// every verdict to `say`.
pub async fn work(
    node: &Node,
    probe: &Probe,
    kind: Kind,
    target: &Target,
    bell: &Notify,
    mut say: impl FnMut(Verdict),
) {
    let seconds = |value: Option<i32>, default: i32| {
        Duration::from_secs(u64::try_from(value.unwrap_or(default).max(0)).unwrap_or(0))
    };
    let period = seconds(probe.period_seconds, 10).max(Duration::from_secs(1));
    let timeout = seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1));
    let mut counter = Counter::new(probe);
    let mut attempts = Attempts::new(kind, period);
    let first = Instant::now() + seconds(probe.initial_delay_seconds, 0);
    let mut turns = tokio::time::interval_at(first, period);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let turn = tokio::select! {
            turn = turns.tick() => turn,
            () = bell.notified() => Instant::now(),
        };
        if turn < first {
            continue;
        }
        let result = loop {
            let result = once(node, probe, target, timeout).await;
            let refused = result.as_ref().is_err_and(|failure| failure.refused);
            let Some(pause) = attempts.again(refused, turn.elapsed()) else { break result };
            tokio::time::sleep(pause).await;
        };
        if let Some(verdict) = counter.take(result.map_err(|failure| failure.message)) {
            say(verdict);
        }
    }
}

async fn once(node: &Node, probe: &Probe, target: &Target, timeout: Duration) -> Result<(), Failure> {
    let work = async {
        if let Some(exec) = &probe.exec {
            return Ok(run_exec(node, exec, &target.id, timeout).await?);
        }
        if let Some(get) = &probe.http_get {
            return http_get(get, &target.container, &target.pod_ip).await;
        }
        if let Some(socket) = &probe.tcp_socket {
            let host = socket.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(&target.pod_ip);
            let address = (host, port(&socket.port, &target.container)?);
            return TcpStream::connect(address)
                .await
                .map(drop)
                .map_err(|error| Failure::of_connect(&format!("dial tcp {host}:{}", address.1), &error));
        }
        Ok(())
    };
    if let Some(grpc) = &probe.grpc {
        // It says itself how far it came in time.
        let port = u16::try_from(grpc.port).map_err(|_| format!("port {} is out of range", grpc.port))?;
        let service = grpc.service.as_deref().unwrap_or_default();
        return crate::grpc_health::check(&target.pod_ip, port, service, timeout).await;
    }
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => result,
        Err(_) => Err(late(probe, target, timeout).into()),
    }
}

/// Upstream's words for a probe whose time is over.
fn late(probe: &Probe, target: &Target, timeout: Duration) -> String {
    if let Some(get) = &probe.http_get {
        let url = port(&get.port, &target.container).map(|port| url(get, &target.pod_ip, port)).unwrap_or_default();
        return format!("Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)");
    }
    if let Some(socket) = &probe.tcp_socket {
        let host = socket.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(&target.pod_ip);
        let port = port(&socket.port, &target.container).unwrap_or_default();
        return format!("dial tcp {host}:{port}: i/o timeout");
    }
    let command = probe.exec.as_ref().and_then(|exec| exec.command.as_ref()).map(|command| command.join(" "));
    crate::oci_runtime::exec::Error::TimedOut(command.unwrap_or_default(), timeout).to_string()
}

fn url(get: &HTTPGetAction, pod_ip: &str, port: u16) -> String {
    let host = get.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod_ip);
    let scheme = get.scheme.as_deref().unwrap_or("HTTP").to_ascii_lowercase();
    format!("{scheme}://{host}:{port}{}", path(get))
}

fn path(get: &HTTPGetAction) -> String {
    let path = get.path.as_deref().unwrap_or_default();
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

async fn run_exec(node: &Node, exec: &ExecAction, id: &str, timeout: Duration) -> Result<(), String> {
    let output = node.runc.run(id, exec.command.as_deref().unwrap_or_default(), timeout).await;
    match output {
        Ok(output) if output.code == 0 => Ok(()),
        Ok(output) => Err(output.text),
        Err(error) => Err(error.to_string()),
    }
}

fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => match name.parse() {
            Ok(number) => Some(number),
            Err(_) => {
                let mut ports = container.ports.iter().flatten();
                ports.find(|port| port.name.as_deref() == Some(name)).map(|port| port.container_port)
            }
        },
    };
    number.and_then(|number| u16::try_from(number).ok()).ok_or_else(|| format!("couldn't find port: {port:?}"))
}

/// One HTTP/1.1 request; 200 to 399 is good. Certificates are not checked with `scheme: HTTPS`, as upstream.
async fn http_get(get: &HTTPGetAction, container: &Container, pod_ip: &str) -> Result<(), Failure> {
    let host = get.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod_ip);
    let port = port(&get.port, container)?;
    let (path, url) = (path(get), url(get, pod_ip, port));
    let failed = |error| Failure::of_connect(&format!("Get \"{url}\": dial tcp {host}:{port}"), &error);
    let stream = TcpStream::connect((host, port)).await.map_err(failed)?;
    let mut headers = String::new();
    let mut host_header = format!("{host}:{port}");
    let mut agent = format!(
        "kube-probe/{}",
        crate::node::status::VERSION.trim_start_matches('v').rsplit_once('.').map_or("", |(v, _)| v)
    );
    for header in get.http_headers.iter().flatten() {
        if header.value.contains(['\r', '\n']) || header.name.contains(['\r', '\n']) {
            return Err(format!("invalid header {:?}", header.name).into());
        }
        match header.name.to_ascii_lowercase().as_str() {
            "host" => host_header.clone_from(&header.value),
            "user-agent" => agent.clone_from(&header.value),
            _ => headers.push_str(&format!("{}: {}\r\n", header.name, header.value)),
        }
    }
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host_header}\r\nUser-Agent: {agent}\r\nAccept: */*\r\n{headers}Connection: close\r\n\r\n"
    );
    let code = if url.starts_with("https:") {
        let stream =
            crate::tls::connect_unverified(stream, host).await.map_err(|error| format!("Get \"{url}\": {error}"))?;
        exchange(stream, &request).await
    } else {
        exchange(stream, &request).await
    };
    match code.map_err(|error| format!("Get \"{url}\": {error}"))? {
        200..400 => Ok(()),
        code => Err(format!("HTTP probe failed with statuscode: {code}").into()),
    }
}

async fn exchange(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, request: &str) -> std::io::Result<u16> {
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::with_capacity(64);
    // The status line is all we want.
    while !head.contains(&b'\n') && head.len() < 1024 {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    let line = String::from_utf8_lossy(&head);
    line.split_whitespace().nth(1).and_then(|code| code.parse().ok()).ok_or(std::io::ErrorKind::UnexpectedEof.into())
}

/// Runs a postStart or preStop hook.
///
/// # Errors
/// With what upstream would put into the Event.
pub async fn hook(
    node: &Node,
    hook: &LifecycleHandler,
    container: &Container,
    id: &str,
    pod_ip: &str,
    timeout: Duration,
) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        return run_exec(node, exec, id, timeout).await;
    }
    if let Some(get) = &hook.http_get {
        return http_get(get, container, pod_ip).await.map_err(|failure| failure.message);
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds() {
        let probe = Probe { success_threshold: Some(2), failure_threshold: Some(2), ..Default::default() };
        let mut counter = Counter::new(&probe);
        let bad = |over| Some(Verdict::Bad { message: "no".into(), over });
        assert_eq!(counter.take(Ok(())), None);
        assert_eq!(counter.take(Ok(())), Some(Verdict::Good));
        assert_eq!(counter.take(Ok(())), None);
        assert_eq!(counter.take(Err("no".into())), bad(false));
        assert_eq!(counter.take(Err("no".into())), bad(true));
        assert_eq!(counter.take(Ok(())), None);
        assert_eq!(counter.take(Ok(())), Some(Verdict::Good));
    }

    /// When the attempts of a turn of two seconds come, in ms, if nobody listens before `listens_at`; attempts take no time.
    fn attempts_of_a_turn(attempts: &mut Attempts, listens_at: u64) -> Vec<u64> {
        let mut at = vec![0];
        while let Some(pause) = attempts.again(at[at.len() - 1] < listens_at, Duration::from_millis(at[at.len() - 1])) {
            at.push(at[at.len() - 1] + u64::try_from(pause.as_millis()).expect("short"));
        }
        at
    }

    #[test]
    fn who_begins_to_listen_is_ready_at_once() {
        let period = Duration::from_secs(2);
        for kind in [Kind::Startup, Kind::Readiness] {
            let mut attempts = Attempts::new(kind, period);
            // The last attempt is the one that counts.
            assert_eq!(attempts_of_a_turn(&mut attempts, u64::MAX), [0, 10, 30, 70, 150, 310, 630, 1270], "{kind:?}");
            assert_eq!(attempts_of_a_turn(&mut attempts, 200), [0, 10, 30, 70, 150, 310], "{kind:?}");
            assert_eq!(attempts_of_a_turn(&mut attempts, u64::MAX), [0], "somebody listened once: {kind:?}");
        }
        assert_eq!(attempts_of_a_turn(&mut Attempts::new(Kind::Liveness, period), u64::MAX), [0]);
    }

    #[test]
    fn what_is_said_when_the_time_is_over() {
        let target = Target {
            container: Container {
                ports: serde_json::from_value(serde_json::json!([{ "name": "web", "containerPort": 80 }]))
                    .expect("ports"),
                ..Default::default()
            },
            id: String::new(),
            pod_ip: "11.0.0.2".to_owned(),
        };
        let cases = [
            (
                serde_json::json!({ "httpGet": { "port": "web", "path": "x" } }),
                "Get \"http://11.0.0.2:80/x\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
            ),
            (
                serde_json::json!({ "tcpSocket": { "port": 81, "host": "10.0.0.1" } }),
                "dial tcp 10.0.0.1:81: i/o timeout",
            ),
            (
                serde_json::json!({ "exec": { "command": ["sleep", "9"] } }),
                "command timed out: \"sleep 9\" timed out after 1s",
            ),
        ];
        for (probe, words) in cases {
            let probe: Probe = serde_json::from_value(probe).expect("a probe");
            assert_eq!(late(&probe, &target, Duration::from_secs(1)), words);
        }
    }

    #[test]
    fn ports_by_name_and_number() {
        let container: Container = serde_json::from_value(
            serde_json::json!({ "name": "c", "ports": [{ "name": "http", "containerPort": 80 }] }),
        )
        .expect("a container");
        assert_eq!(port(&IntOrString::Int(8080), &container), Ok(8080));
        assert_eq!(port(&IntOrString::String("http".into()), &container), Ok(80));
        assert!(port(&IntOrString::String("none".into()), &container).is_err());
    }
}
