//! One emulator: where its parts are, and how to talk to it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::shell::{self, Output, PATIENCE};

/// An emulator and the programs that drive it. Dropping it stops nothing.
#[derive(Clone, Debug)]
pub struct Emulator {
    /// The knetsim binary.
    pub binary: PathBuf,
    pub data_dir: PathBuf,
    /// Where the checked-out manifests are.
    pub manifests: PathBuf,
    /// Put before every command, to run it as somebody else.
    pub prefix: Vec<String>,
}

impl Emulator {
    /// The emulator of the binary that stands beside this process's, with the given data folder.
    ///
    /// # Errors
    /// When there is no such binary.
    pub fn beside_us(data_dir: &Path) -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        // Tests lie one folder deeper than programs do.
        let binary = own
            .ancestors()
            .skip(1)
            .take(2)
            .map(|dir| dir.join("knetsim"))
            .find(|path| path.is_file())
            .context("there is no knetsim binary beside this program: run it through make")?;
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests").canonicalize()?;
        Ok(Self { binary, data_dir: data_dir.to_owned(), manifests, prefix: Vec::new() })
    }

    /// A command, run as the emulator's user.
    #[must_use]
    pub fn command(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = match self.prefix.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(args).env("KNETSIM_DATA_DIR", &self.data_dir).env("KUBECONFIG", self.kubeconfig());
        command.env("HOME", self.data_dir.parent().unwrap_or(&self.data_dir));
        command
    }

    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir.join("kubeconfig")
    }

    /// `knetsim ARGS`, whatever comes of it.
    ///
    /// # Errors
    /// When it cannot be started or hangs.
    pub fn try_knetsim(&self, args: &[&str]) -> anyhow::Result<Output> {
        shell::run(&mut self.command(&self.binary, args), PATIENCE + Duration::from_secs(60))
    }

    /// `knetsim ARGS`, which must succeed.
    ///
    /// # Errors
    /// When it does not.
    pub fn knetsim(&self, args: &[&str]) -> anyhow::Result<Output> {
        self.try_knetsim(args)?.ok()
    }

    /// `kubectl --context CONTEXT ARGS`, whatever comes of it.
    ///
    /// # Errors
    /// When it cannot be started or hangs.
    pub fn try_kubectl(&self, context: &str, args: &[&str]) -> anyhow::Result<Output> {
        shell::run(&mut self.kubectl_command(context, args), PATIENCE)
    }

    /// `kubectl --context CONTEXT ARGS`, which must succeed.
    ///
    /// # Errors
    /// When it does not.
    pub fn kubectl(&self, context: &str, args: &[&str]) -> anyhow::Result<Output> {
        self.try_kubectl(context, args)?.ok()
    }

    /// `kubectl apply -f FILE`. A namespace and a pod in one file meet upstream's own race: the pod is refused while the
    /// namespace has no ServiceAccount yet, and who applies the file again is served.
    ///
    /// # Errors
    /// When it is refused for another reason, or again and again.
    pub fn apply(&self, context: &str, file: &str) -> anyhow::Result<Output> {
        let begun = Instant::now();
        loop {
            let said = self.try_kubectl(context, &["apply", "-f", file])?;
            let too_early = said.code != 0 && said.stderr.contains("serviceaccount \"default\" not found");
            if !too_early || begun.elapsed() > PATIENCE {
                return said.ok();
            }
        }
    }

    /// The command itself, for those who want to hold on to the process.
    #[must_use]
    pub fn kubectl_command(&self, context: &str, args: &[&str]) -> Command {
        let mut all = vec!["--context", context];
        all.extend(args);
        let mut command = self.command(Path::new("kubectl"), &all);
        // A kubectl lives for a moment: without this it spends a quarter of it, an apply a third, on collecting garbage, and
        // another tenth on waking threads.
        command.env("GOGC", "off").env("GOMEMLIMIT", "256MiB").env("GOMAXPROCS", "1");
        command
    }

    /// The path of a manifest of manifests/demo.
    #[must_use]
    pub fn demo(&self, name: &str) -> String {
        self.manifests.join("demo").join(name).to_string_lossy().into_owned()
    }

    /// Runs a shell script in pod `client` of namespace demo.
    ///
    /// # Errors
    /// When it fails.
    pub fn in_client(&self, context: &str, script: &str) -> anyhow::Result<Output> {
        self.kubectl(context, &["-n", "demo", "exec", "client", "--", "sh", "-c", script])
    }
}
