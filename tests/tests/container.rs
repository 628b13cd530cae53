//! The Dockerfile's steps, without Docker: what it runs are scripts of this repository, and this runs them as a container would.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use knetsim_tests::emulator::Emulator;
use knetsim_tests::session::check;
use knetsim_tests::shell;

/// A shell in namespaces of its own, as root of them with every capability: what `docker run --privileged` gives.
const CONTAINER: &[&str] = &["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "--"];

fn repository() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn every_file_the_dockerfile_names_is_there() {
    let dockerfile = std::fs::read_to_string(repository().join("Dockerfile")).expect("there is a Dockerfile");
    let mut named = 0;
    for line in dockerfile.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let sources = match words.as_slice() {
            ["COPY", from, ..] if from.starts_with("--from") => continue,
            ["COPY", sources @ .., _] => sources.to_vec(),
            _ => words.iter().copied().filter(|word| word.contains("scripts/")).collect(),
        };
        for source in sources {
            let path = source.trim_matches(['[', ']', '"']).trim_start_matches("/opt/knetsim/");
            assert!(repository().join(path).exists(), "{line}: {path} is not in the repository");
            named += 1;
        }
    }
    assert!(named >= 6, "only {named} files were found in the Dockerfile");
}

/// The entrypoint brings both clusters up on etcd and hands over to a command with kubectl ready.
#[test]
fn the_entrypoint_starts_both_clusters_on_etcd() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!(
            "SKIPPED the_entrypoint_starts_both_clusters_on_etcd: only root can make what a privileged container is"
        );
        return;
    }
    check(|| {
        let dir = tempfile::tempdir()?;
        let emulator = Emulator::beside_us(&dir.path().join("data"))?;
        let path = format!(
            "{}:{}",
            emulator.binary.parent().unwrap_or(Path::new("/")).display(),
            std::env::var("PATH").unwrap_or_default()
        );
        // Engines mount files into /etc, and volumes below /var; the nodes see what is there all the same. Some volumes
        // are mounted with restrictions that nobody in the emulator may lift.
        let script = "ip link set lo up && \
            for at in /etc/hosts /etc/hostname /etc/resolv.conf /var/lib/dpkg; do mount --bind $at $at; done && \
            mkdir -p $KNETSIM_DATA_DIR && mount --bind $KNETSIM_DATA_DIR $KNETSIM_DATA_DIR && \
            mount -o remount,bind,nosuid,nodev $KNETSIM_DATA_DIR && \
            exec scripts/container-entrypoint.sh sh -c \
            'kubectl --context c0 get nodes -o name && kubectl --context c1 get nodes -o name && \
             knetsim exec c0w1 -- test -s /etc/passwd -a -s /var/lib/dpkg/status -a -d /var/lib/apt -a -w /etc && \
             knetsim exec c0w1 -- touch /etc/made-on-c0w1 /var/lib/made-on-c0w1 && knetsim down'";
        let mut command = Command::new("unshare");
        command.args(CONTAINER).args(["sh", "-c", script]).current_dir(repository()).env("PATH", path);
        command.env("KNETSIM_DATA_DIR", &emulator.data_dir).env("HOME", dir.path());
        let said = shell::run(&mut command, Duration::from_secs(150))?.ok()?.stdout;
        for node in ["c0-control-plane", "c0w3", "c1-control-plane", "c1w3"] {
            ensure!(said.contains(&format!("node/{node}")), "{node} is not there: {said}");
        }
        for made in ["/etc/made-on-c0w1", "/var/lib/made-on-c0w1"] {
            ensure!(!Path::new(made).exists(), "{made} is on the host");
        }
        ensure!(emulator.data_dir.join("c0/etcd").is_dir(), "the store of c0 is not etcd");
        // What pods wrote may belong to ids that only the emulator's user namespace knows.
        emulator.knetsim(&["down", "--delete-data"])?;
        Ok(())
    });
}
