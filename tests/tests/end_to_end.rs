//! The whole path: every hop of the demo, on both stores, as root and as an ordinary user; then that nothing is left.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use knetsim_tests::emulator::Emulator;
use knetsim_tests::hops::{HOPS, LEAVE, walk};
use knetsim_tests::shell;

/// An emulator of its own for one test: own data folder, own ports. It is stopped when the test ends, however it ends.
struct Session {
    emulator: Emulator,
    topology: String,
    _dir: tempfile::TempDir,
    host: Host,
}

/// What of the host must be the same afterwards.
#[derive(Debug, PartialEq)]
struct Host {
    addresses: String,
    rules: String,
    mounts: String,
    netns: String,
}

impl Host {
    fn look() -> anyhow::Result<Self> {
        let print = |program: &str, args: &[&str]| -> anyhow::Result<String> {
            Ok(shell::run(Command::new(program).args(args), Duration::from_secs(10))?.stdout)
        };
        let addresses = print("ip", &["-j", "addr"])?;
        // Lifetimes of leases count down by themselves.
        let mut parsed: serde_json::Value = serde_json::from_str(&addresses)?;
        for link in parsed.as_array_mut().into_iter().flatten() {
            for address in link["addr_info"].as_array_mut().into_iter().flatten() {
                address.as_object_mut().map(|a| (a.remove("valid_life_time"), a.remove("preferred_life_time")));
            }
        }
        Ok(Self {
            addresses: parsed.to_string(),
            rules: print("nft", &["list", "ruleset"])?,
            mounts: fs::read_to_string("/proc/self/mounts")?,
            netns: print("ip", &["netns", "list"])?,
        })
    }
}

impl Session {
    fn new(uid: Option<u32>) -> anyhow::Result<Self> {
        let host = Host::look()?;
        let dir = tempfile::tempdir()?;
        let home = dir.path().join("home");
        fs::create_dir(&home)?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let mut emulator = Emulator::beside_us(&home.join("knetsim"))?;
        if let Some(uid) = uid {
            std::os::unix::fs::chown(&home, Some(uid), Some(uid))?;
            let uid = uid.to_string();
            emulator.prefix =
                ["setpriv", "--reuid", &uid, "--regid", &uid, "--clear-groups", "--"].map(str::to_owned).into();
            // The checkout may lie where an ordinary user can't look.
            let bin = dir.path().join("bin");
            fs::create_dir(&bin)?;
            for name in ["knetsim", "greeting-controller"] {
                fs::copy(emulator.binary.with_file_name(name), bin.join(name))?;
            }
            copy_tree(&emulator.manifests, &dir.path().join("manifests"))?;
            let example = Path::new("examples/greeting-controller");
            copy_tree(&emulator.manifests.join("..").join(example), &dir.path().join(example))?;
            emulator.binary = bin.join("knetsim");
            emulator.manifests = dir.path().join("manifests");
        }
        let topology = dir.path().join("topology.yaml");
        let ports = free_ports()?;
        fs::write(&topology, format!("clusters: [{{apiPort: {}}}, {{apiPort: {}}}]\n", ports[0], ports[1]))?;
        fs::set_permissions(&topology, fs::Permissions::from_mode(0o644))?;
        Ok(Self { emulator, topology: topology.to_string_lossy().into_owned(), _dir: dir, host })
    }

    fn up(&self, extra: &[&str]) -> anyhow::Result<()> {
        let mut args = vec!["up", "-f", &self.topology];
        args.extend(extra);
        let up = self.emulator.knetsim(&args)?;
        println!("{}", up.stdout);
        Ok(())
    }

    /// After the end: no process, and the host as it was.
    fn nothing_left(&self) -> anyhow::Result<()> {
        let mark = self.emulator.data_dir.to_string_lossy().into_owned();
        let left: Vec<String> = fs::read_dir("/proc")?
            .flatten()
            .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
            .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
            .filter(|line| line.contains(&mark) && !line.contains("--test-threads"))
            .collect();
        ensure!(left.is_empty(), "processes are left: {left:?}");
        let now = Host::look()?;
        ensure!(now == self.host, "the host is not as it was:\n{:#?}\n{now:#?}", self.host);
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let status = self.emulator.try_knetsim(&["status"]).map(|o| o.stdout).unwrap_or_default();
            eprintln!("{status}");
            for context in ["c0", "c1"] {
                for args in [["get", "pods", "-A", "-o", "wide"].as_slice(), &["get", "events", "-A"]] {
                    let said = self.emulator.try_kubectl(context, args).map(|o| o.stdout).unwrap_or_default();
                    eprintln!("{said}");
                }
            }
        }
        let _ = self.emulator.try_knetsim(&["down"]);
        // What pods wrote may belong to ids that only the emulator's user namespace knows.
        let _ = self.emulator.try_knetsim(&["down", "--delete-data"]);
    }
}

fn copy_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)?.flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn free_ports() -> anyhow::Result<[u16; 2]> {
    let (a, b) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok([a.local_addr()?.port(), b.local_addr()?.port()])
}

/// Runs a scenario and shows an error as people read it.
fn check(scenario: impl FnOnce() -> anyhow::Result<()>) {
    if let Err(error) = scenario() {
        panic!("{error:#}");
    }
}

fn every_hop(session: &Session) -> anyhow::Result<()> {
    let failed = walk(&session.emulator, HOPS);
    ensure!(failed == 0, "{failed} hops failed");
    Ok(())
}

#[test]
fn every_hop_then_restart_then_kill() {
    check(|| {
        let session = Session::new(None)?;
        session.up(&[])?;
        every_hop(&session)?;
        second_up_is_refused(&session)?;
        objects_outlive_a_restart(&session)?;
        ensure!(walk(&session.emulator, &[LEAVE]) == 0, "something is left of the demo");
        killed_without_a_trace(&session)
    });
}

#[test]
fn every_hop_as_an_ordinary_user() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("SKIPPED every_hop_as_an_ordinary_user: the other tests already run as one");
        return;
    }
    check(|| {
        // Nobody has no range of subordinate ids: the emulator has a single user id.
        let session = Session::new(Some(65534))?;
        session.up(&[])?;
        every_hop(&session)?;
        ensure!(walk(&session.emulator, &[LEAVE]) == 0, "something is left of the demo");
        session.emulator.knetsim(&["down"])?;
        session.nothing_left()
    });
}

#[test]
fn every_hop_on_etcd() {
    check(|| {
        let session = Session::new(None)?;
        session.up(&["--store", "etcd"])?;
        every_hop(&session)?;
        let keys = session.emulator.knetsim(&[
            "exec", "c0-control-plane", "--", "env", "ETCDCTL_API=3", "etcdctl", "get", "--prefix", "/registry/pods/demo/client",
        ])?;
        let mut lines = keys.lines();
        ensure!(lines.next() == Some("/registry/pods/demo/client"), "etcd has {:?}", keys.stdout);
        let object: serde_json::Value = serde_json::from_str(lines.next().context("no value")?)?;
        ensure!(object["kind"] == "Pod" && object["spec"]["containers"][0]["name"] == "client", "{object}");
        session.emulator.knetsim(&["down"])?;
        session.nothing_left()
    });
}

fn second_up_is_refused(session: &Session) -> anyhow::Result<()> {
    let again = session.emulator.try_knetsim(&["up", "-f", &session.topology])?;
    ensure!(again.code != 0 && again.stderr.contains("already running"), "a second up: {}", again.stderr);
    Ok(())
}

/// `down`, then `up` with the same data folder: every object is there, and its pods run again.
fn objects_outlive_a_restart(session: &Session) -> anyhow::Result<()> {
    let emulator = &session.emulator;
    let uids = |kind: &str| -> anyhow::Result<BTreeSet<String>> {
        let list = emulator.kubectl("c0", &["-n", "demo", "get", kind, "-o", "jsonpath={.items[*].metadata.uid}"])?;
        Ok(list.stdout.split_whitespace().map(str::to_owned).collect())
    };
    let before = (uids("deployments")?, uids("services")?, uids("secrets")?);
    emulator.knetsim(&["down"])?;
    session.nothing_left()?;
    session.up(&[])?;
    ensure!(before == (uids("deployments")?, uids("services")?, uids("secrets")?), "objects were lost");
    emulator.kubectl("c0", &["-n", "demo", "rollout", "status", "deployment/web", "--timeout=80s"])?;
    emulator.kubectl("c0", &["-n", "demo", "wait", "--for=condition=Ready", "pod/client", "--timeout=80s"])?;
    let answer = emulator.in_client("c0", "curl -sS -m5 --retry 3 --retry-connrefused http://web/hostname")?;
    ensure!(answer.stdout.starts_with("web-"), "after the restart web answers {:?}", answer.stdout);
    Ok(())
}

/// `kill -9` of PID 1: the kernel takes everything with it.
fn killed_without_a_trace(session: &Session) -> anyhow::Result<()> {
    let info = fs::read_to_string(session.emulator.data_dir.join("launcher.json"))?;
    let pid: i32 = serde_json::from_str::<serde_json::Value>(&info)?["pid"].as_i64().context("no pid")?.try_into()?;
    let pid = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL)?;
    // The kernel ends PID 1 only when every process of its namespace is gone; then its own entry goes.
    let gone = (0..2000).any(|_| {
        let gone = nix::sys::signal::kill(pid, None).is_err();
        if !gone {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        gone
    });
    ensure!(gone, "PID 1 is still there 10 s after its end");
    session.nothing_left()
}

#[test]
fn bad_input_starts_nothing() {
    check(|| {
        let session = Session::new(None)?;
        let emulator = &session.emulator;
        let refused = |args: &[&str], word: &str| -> anyhow::Result<()> {
            let up = emulator.try_knetsim(args)?;
            ensure!(up.code != 0 && up.stderr.contains(word), "{}: {} instead of {word:?}", up.command, up.stderr);
            session.nothing_left()
        };
        let broken = session._dir.path().join("broken.yaml");
        fs::write(&broken, "clusters: [{wrkers: 2}]")?;
        refused(&["up", "-f", &broken.to_string_lossy()], "wrkers")?;
        fs::write(&broken, "clusters: [{underlay: 10.96.0.0/24}]")?;
        refused(&["up", "-f", &broken.to_string_lossy()], "overlap")?;
        refused(&["up", "-f", "/nowhere.yaml"], "/nowhere.yaml")?;
        let taken = TcpListener::bind("127.0.0.1:0")?;
        let port = taken.local_addr()?.port();
        fs::write(&broken, format!("clusters: [{{apiPort: {port}}}]"))?;
        refused(&["up", "-f", &broken.to_string_lossy()], "is taken")?;
        for args in [["status"].as_slice(), &["exec", "c0w1", "--", "true"], &["net", "cut", "c0", "c1"]] {
            refused(args, "nothing is running")?;
        }
        Ok(())
    });
}
