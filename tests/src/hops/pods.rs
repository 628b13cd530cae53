//! Pods: rolled out, spread, talking, looked into.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::{Scene, Seen, seen};
use crate::emulator::Emulator;
use crate::shell::{self, PATIENCE};

const NS: [&str; 2] = ["-n", "demo"];

/// Applies the manifests.
pub fn apply(scene: &Scene) -> anyhow::Result<Seen> {
    let apply = scene.apply("c0", &scene.demo("10-web.yaml"))?;
    let what: Vec<_> = apply.lines().filter_map(|line| line.split(' ').next()).collect();
    seen("kubectl --context c0 apply -f manifests/demo/10-web.yaml", what.join(" "))
}

/// Waits, by watching, until everything runs.
pub fn roll_out(scene: &Scene) -> anyhow::Result<Seen> {
    std::thread::scope(|scope| {
        let wait = ["-n", "demo", "wait", "--for=condition=Ready", "pod/client", "--timeout=80s"];
        let client = scope.spawn(move || scene.kubectl("c0", &wait));
        scene.kubectl("c0", &["-n", "demo", "rollout", "status", "deployment/web", "--timeout=80s"])?;
        client.join().expect("it does not panic")
    })?;
    let all = scene.kubectl("c0", &["-n", "demo", "get", "deploy,rs,pods", "-o", "wide"])?;
    ensure!(all.stdout.contains("deployment.apps/web"), "{}", all.stdout);
    ensure!(all.stdout.contains("3/3     3            3"), "the Deployment is not 3/3:\n{}", all.stdout);
    seen(all.command, "web 3/3")
}

/// A pod: name, address, node.
#[derive(Debug)]
pub struct Place {
    pub name: String,
    pub ip: Ipv4Addr,
    pub node: String,
}

/// The running pods of `web`, and pod `client`.
pub struct Places {
    pub web: Vec<Place>,
    pub client: Place,
}

/// Where the pods of the demo are.
pub fn places(emulator: &Emulator) -> anyhow::Result<Places> {
    let list = emulator.kubectl("c0", &["-n", "demo", "get", "pods", "-l", "app in (web,client)", "-o", "json"])?;
    let list = list.json()?;
    let (mut web, mut client) = (Vec::new(), None);
    let items = list["items"].as_array().into_iter().flatten();
    for pod in items.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()) {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let ip = text(&pod["status"]["podIP"]);
        let ip = ip.parse().with_context(|| format!("pod IP {ip:?} of {}", pod["metadata"]["name"]))?;
        let place = Place { name: text(&pod["metadata"]["name"]), ip, node: text(&pod["spec"]["nodeName"]) };
        if pod["metadata"]["labels"]["app"] == "web" { web.push(place) } else { client = Some(place) }
    }
    Ok(Places { web, client: client.context("there is no pod client")? })
}

/// Three pods on three workers, each with an address of its node's podCIDR.
pub fn spread(scene: &Scene) -> anyhow::Result<Seen> {
    let places = scene.rolled_out()?;
    let pods = &places.web;
    let mut nodes: Vec<_> = pods.iter().map(|p| p.node.as_str()).collect();
    nodes.sort_unstable();
    ensure!(nodes == ["c0w1", "c0w2", "c0w3"], "the pods are on {nodes:?}");
    let ranges = scene.pod_ranges("c0")?;
    for pod in pods {
        let range = ranges.get(&pod.node).map(String::as_str).unwrap_or_default();
        let prefix = range.rsplit_once('.').map(|(p, _)| format!("{p}.")).unwrap_or_default();
        ensure!(!prefix.is_empty() && pod.ip.to_string().starts_with(&prefix), "{} is not in {range:?}", pod.ip);
    }
    let ips: Vec<_> = pods.iter().map(|p| format!("{}@{}", p.ip, p.node)).collect();
    seen("kubectl -n demo get pods -o wide", ips.join(" "))
}

/// A pod asks another one, on the same node or across; the receiver sees the sender's own address.
pub fn talk(scene: &Scene, same: bool) -> anyhow::Result<Seen> {
    let places = scene.rolled_out()?;
    let Places { web, client } = &*places;
    let peer = web.iter().find(|p| (p.node == client.node) == same).context("no pod of web is where it is needed")?;
    let script = format!("curl -sS -m5 http://{}:8080/clientip", peer.ip);
    let answer = scene.in_client("c0", &format!("ping -q -c1 -W2 {} >&2 && {script}", peer.ip))?;
    let from = answer.stdout.trim();
    ensure!(from.starts_with(&format!("{}:", client.ip)), "{} sees {from} instead of {}", peer.name, client.ip);
    seen(format!("kubectl exec client -- {script}"), format!("{} -> {}: sender seen as {from}", client.node, peer.node))
}

/// tcpdump on the underlay shows the tunnel's packets with its VNI.
pub fn vxlan(scene: &Scene) -> anyhow::Result<Seen> {
    let places = scene.rolled_out()?;
    let Places { web, client } = &*places;
    let peer = web.iter().find(|p| p.node != client.node).context("all pods are on one node")?;
    let args = [
        "exec",
        &client.node,
        "--",
        "tcpdump",
        "-Z",
        "root",
        "-l",
        "-n",
        "-T",
        "vxlan",
        "-c2",
        "-i",
        "eth0",
        // The ninth byte of the inner IP header, after 8 of UDP, 8 of VXLAN and 14 of Ethernet: the protocol is ICMP.
        "udp port 8472 and udp[39] = 1",
    ];
    let mut dump = scene.command(&scene.binary, &args);
    let shown = shell::show(&dump);
    let mut dump = dump.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // It says on stderr when it listens; only then may the ping go out.
    let mut said = BufReader::new(dump.stderr.take().context("stderr is piped")?);
    let mut heard = String::new();
    while !heard.contains("listening on") {
        ensure!(said.read_line(&mut heard)? > 0, "tcpdump ended before it listened: {heard}");
    }
    scene.in_client("c0", &format!("ping -c1 -W2 {}", peer.ip))?;
    if shell::wait(&mut dump, Duration::from_secs(10))?.is_none() {
        dump.kill()?;
        dump.wait()?;
    }
    let mut text = String::new();
    dump.stdout.take().context("stdout is piped")?.read_to_string(&mut text)?;
    ensure!(text.contains("VXLAN") && text.contains("vni 1"), "no VXLAN packet with VNI 1 was seen: {text}");
    ensure!(text.contains("ICMP echo"), "the ping is not inside the tunnel: {text}");
    seen(shown, "VXLAN, flags [I] (0x08), vni 1 … ICMP echo request")
}

/// What a container prints.
pub fn logs(scene: &Scene) -> anyhow::Result<Seen> {
    let logs = scene.kubectl("c0", &["-n", "demo", "logs", "client"])?;
    ensure!(logs.stdout.starts_with("client is ready\n"), "the log is {:?}", logs.stdout);
    seen(logs.command, "client is ready")
}

/// What a container prints from now on.
pub fn follow(scene: &Scene) -> anyhow::Result<Seen> {
    // Different each time, for the log outlives a run of the demo.
    let mark = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
    let mut command = scene.kubectl_command("c0", &["-n", "demo", "logs", "-f", "--tail=1", "client"]);
    let shown = shell::show(&command);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
    lines.next().context("nothing was printed")??;
    scene.in_client("c0", &format!("echo said at {mark} > /proc/1/fd/1"))?;
    let second = lines.next().context("nothing more was printed")??;
    child.kill()?;
    child.wait()?;
    ensure!(second == format!("said at {mark}"), "{second:?}");
    seen(shown, second)
}

/// A command in a container, its output and its exit code.
pub fn exec(scene: &Scene) -> anyhow::Result<Seen> {
    let failed = scene.try_kubectl("c0", &["-n", "demo", "exec", "client", "--", "sh", "-c", "hostname; exit 7"])?;
    ensure!(failed.stdout == "client\n", "the host name is {:?}", failed.stdout);
    ensure!(failed.code == 7, "exit 7 came back as {}", failed.code);
    seen(failed.command, "client; command terminated with exit code 7")
}

/// The same with a terminal, typed into.
pub fn terminal(scene: &Scene) -> anyhow::Result<Seen> {
    // `script` gives kubectl the terminal that it asks for.
    let kubectl = "kubectl --context c0 -n demo exec -it client -- sh";
    let mut script = scene.command(std::path::Path::new("script"), &["-qec", kubectl, "/dev/null"]);
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut typed = child.stdin.take().context("stdin is piped")?;
    let mut out = child.stdout.take().context("stdout is piped")?;
    typed.write_all(b"tty; stty size; echo sum=$((40+2)); exit 3\n")?;
    let code = shell::wait(&mut child, PATIENCE)?.context("the terminal session did not end")?;
    let mut text = String::new();
    out.read_to_string(&mut text)?;
    ensure!(text.contains("/dev/pts/") && text.contains("sum=42"), "the terminal showed {text:?}");
    ensure!(code == 3, "exit 3 came back as {code}: {text}");
    seen(kubectl, "a terminal on /dev/pts/0, exit code 3")
}

/// A file into a container and back.
pub fn copy(scene: &Scene) -> anyhow::Result<Seen> {
    let dir = tempfile::tempdir()?;
    let (there, back) = (dir.path().join("there"), dir.path().join("back"));
    let text: String = (0..20_000).map(|n| format!("line {n}\n")).collect();
    std::fs::write(&there, &text)?;
    if !scene.prefix.is_empty() {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777))?;
    }
    let paths = (there.to_string_lossy().into_owned(), back.to_string_lossy().into_owned());
    let into = scene.kubectl("c0", &["-n", "demo", "cp", &paths.0, "client:/tmp/there"])?;
    scene.kubectl("c0", &["-n", "demo", "cp", "client:/tmp/there", &paths.1])?;
    ensure!(std::fs::read_to_string(&back)? == text, "the file came back changed");
    seen(into.command.replace(&paths.0, "there"), format!("{} bytes there and back", text.len()))
}

/// A local port that leads into a pod.
pub fn port_forward(scene: &Scene) -> anyhow::Result<Seen> {
    let args = ["-n", "demo", "port-forward", "deployment/web", ":8080"];
    let mut command = scene.kubectl_command("c0", &args);
    let shown = shell::show(&command);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let forwarded = (|| {
        let mut lines = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
        let first = lines.next().context("kubectl ended before it forwarded anything")??;
        let port: u16 = first
            .split("127.0.0.1:")
            .nth(1)
            .and_then(|rest| rest.split(' ').next()?.parse().ok())
            .with_context(|| format!("no port in {first:?}"))?;
        let mut answers = Vec::new();
        for _ in 0..3 {
            let mut stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(b"GET /hostname HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            answers.push(answer.lines().last().unwrap_or_default().to_owned());
        }
        anyhow::Ok(answers)
    })();
    child.kill()?;
    child.wait()?;
    let answers = forwarded?;
    ensure!(answers.iter().all(|a| a.starts_with("web-")), "the answers were {answers:?}");
    seen(shown, format!("3 requests answered by {}", answers[0]))
}

/// The story of a pod, Events included.
pub fn describe(scene: &Scene) -> anyhow::Result<Seen> {
    let places = scene.rolled_out()?;
    let told = scene.kubectl("c0", &[NS[0], NS[1], "describe", "pod", &places.web[0].name])?;
    for word in [
        "Scheduled",
        "Successfully assigned demo/",
        "Created",
        "Started",
        "Controlled By:  ReplicaSet/web-",
        "QoS Class:",
    ] {
        ensure!(told.stdout.contains(word), "describe does not say {word:?}:\n{}", told.stdout);
    }
    seen(told.command, "Scheduled, Pulled, Created, Started …")
}
