//! Where everything lies below the data folder (docs/ARCHITECTURE.md, "Files the launcher lays out").

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::topology::Plan;

/// The data folder and the paths below it.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

/// What launcher.json says of a running emulator.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct LauncherInfo {
    /// The host's pid of PID 1.
    pub pid: i32,
    /// Its start time in clock ticks after boot (field 22 of /proc/<pid>/stat): tells it from a later process of that pid.
    pub start_time: u64,
    /// The process that works for it outside of the sandbox, where there is anything to do.
    #[serde(default)]
    pub guardian: Option<i32>,
}

impl Layout {
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// `$KNETSIM_DATA_DIR`, else `$XDG_DATA_HOME/knetsim`, else `~/.local/share/knetsim`.
    #[must_use]
    pub fn default_root() -> PathBuf {
        let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        var("XDG_DATA_HOME")
            .unwrap_or_else(|| var("HOME").unwrap_or_else(|| PathBuf::from("/root")).join(".local/share"))
            .join("knetsim")
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    #[must_use]
    pub fn cluster(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    #[must_use]
    pub fn node(&self, cluster: &str, node: &str) -> PathBuf {
        self.cluster(cluster).join("nodes").join(node)
    }

    /// Where a node's boot ID is kept.
    #[must_use]
    pub fn boot_id_file(&self, cluster: &str, node: &str) -> PathBuf {
        self.node(cluster, node).join("boot-id")
    }

    /// The boot ID that a node got when it was made.
    ///
    /// # Errors
    /// When it was never made.
    pub fn boot_id(&self, cluster: &str, node: &str) -> anyhow::Result<String> {
        let path = self.boot_id_file(cluster, node);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    #[must_use]
    pub fn log(&self, cluster: &str, component: &str) -> PathBuf {
        self.cluster(cluster).join("logs").join(format!("{component}.log"))
    }

    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    #[must_use]
    pub fn launcher_log(&self) -> PathBuf {
        self.root.join("launcher.log")
    }

    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// Where the guardian is asked for images of registries.
    #[must_use]
    pub fn pull_socket(&self) -> PathBuf {
        self.root.join("pull.sock")
    }

    fn plan(&self) -> PathBuf {
        self.root.join("topology.yaml")
    }

    /// # Errors
    /// When there is none, or it is not what we wrote.
    pub fn read_plan(&self) -> anyhow::Result<Plan> {
        let path = self.plan();
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_saphyr::from_str(&text).with_context(|| format!("reading {}", path.display()))
    }

    /// # Errors
    /// When it cannot be written.
    pub fn write_plan(&self, plan: &Plan) -> anyhow::Result<()> {
        fs::write(self.plan(), serde_saphyr::to_string(plan)?).context("writing the resolved topology")
    }

    /// Notes the running launcher.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_launcher(&self, pid: i32, guardian: Option<i32>) -> anyhow::Result<()> {
        let start_time = start_time(pid).with_context(|| format!("the launcher (pid {pid}) ended at once"))?;
        let info = LauncherInfo { pid, start_time, guardian };
        let staged = self.root.join("launcher.json.new");
        fs::write(&staged, serde_json::to_string(&info)?)?;
        fs::rename(staged, self.launcher())?;
        Ok(())
    }

    /// The launcher that runs now, if one does.
    #[must_use]
    pub fn running(&self) -> Option<LauncherInfo> {
        let info: LauncherInfo = serde_json::from_str(&fs::read_to_string(self.launcher()).ok()?).ok()?;
        (start_time(info.pid)? == info.start_time).then_some(info)
    }

    /// Why there is none, for people.
    #[must_use]
    pub fn why_not_running(&self) -> String {
        let text = match fs::read_to_string(self.launcher()) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return "no launcher is noted there".to_owned();
            }
            Err(error) => return format!("launcher.json: {error}"),
        };
        match serde_json::from_str::<LauncherInfo>(&text) {
            Err(error) => format!("launcher.json: {error}"),
            Ok(LauncherInfo { pid, start_time: noted, .. }) => match start_time(pid) {
                None => format!("its launcher (pid {pid}) is gone"),
                Some(began) => {
                    format!("pid {pid} is another process than its launcher: begun at {began}, not at {noted}")
                }
            },
        }
    }

    /// Forgets the launcher, best effort: a stale file is told from a live one by the start time.
    pub fn remove_launcher(&self) {
        let _ = fs::remove_file(self.launcher());
        let _ = fs::remove_file(self.control_socket());
    }

    fn launcher(&self) -> PathBuf {
        self.root.join("launcher.json")
    }
}

/// Field 22 of /proc/<pid>/stat (proc(5)), unless the process is a zombie.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command may hold anything, blanks and parentheses too: count from behind it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_pid_is_not_taken_for_the_launcher() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().to_owned());
        assert_eq!((layout.running(), layout.why_not_running()), (None, "no launcher is noted there".to_owned()));
        let own = i32::try_from(std::process::id()).unwrap();
        layout.write_launcher(own, None).unwrap();
        assert_eq!(layout.running().unwrap().pid, own);
        let stale = LauncherInfo { pid: own, start_time: 1, guardian: None };
        fs::write(layout.launcher(), serde_json::to_string(&stale).unwrap()).unwrap();
        assert_eq!(layout.running(), None);
        let why = layout.why_not_running();
        assert!(why.starts_with(&format!("pid {own} is another process")) && why.ends_with("not at 1"), "{why}");
    }
}
