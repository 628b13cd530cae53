//! An emulator of its own for one test, and the proof that nothing of it is left afterwards.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;

use crate::emulator::Emulator;
use crate::shell;

/// An emulator of its own for one test: own data folder, own ports. It is stopped when the test ends, however it ends.
pub struct Session {
    pub emulator: Emulator,
    /// The topology file of this session: the default one on free ports.
    pub topology: String,
    pub dir: tempfile::TempDir,
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
    /// A session that has not been started; with `uid` as that ordinary user, who has a single user id.
    pub fn new(uid: Option<u32>) -> anyhow::Result<Self> {
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
        Ok(Self { emulator, topology: topology.to_string_lossy().into_owned(), dir, host })
    }

    /// `knetsim up`, with its progress shown.
    pub fn up(&self, extra: &[&str]) -> anyhow::Result<()> {
        let mut args = vec!["up", "-f", &self.topology];
        args.extend(extra);
        let up = self.emulator.knetsim(&args)?;
        println!("{}", up.stdout);
        Ok(())
    }

    /// After the end: no process, and the host as it was.
    pub fn nothing_left(&self) -> anyhow::Result<()> {
        let mark = self.emulator.data_dir.to_string_lossy().into_owned();
        let left: Vec<String> = fs::read_dir("/proc")?
            .flatten()
            .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
            .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
            .filter(|line| line.contains(&mark) && !line.contains("--test-threads"))
            .collect();
        ensure!(left.is_empty(), "processes are left: {left:?}");
        // Groups of emulators are named after their data folders, so that others' do not matter here.
        // What was refused before it began has none.
        if let Ok(data) = fs::metadata(&self.emulator.data_dir) {
            let group = format!("knetsim-{:x}-{:x}", data.dev(), data.ino());
            let left = groups(Path::new("/sys/fs/cgroup"), &group);
            ensure!(left.is_empty(), "control groups are left: {left:?}");
        }
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

/// The control groups of that name, in all hierarchies.
fn groups(folder: &Path, name: &str) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders
        .flat_map(|entry| if entry.file_name() == name { vec![entry.path()] } else { groups(&entry.path(), name) })
        .collect()
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
pub fn check(scenario: impl FnOnce() -> anyhow::Result<()>) {
    if let Err(error) = scenario() {
        panic!("{error:#}");
    }
}
