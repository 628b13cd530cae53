//! A client in a loop, which counts what it loses while something else happens.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::emulator::Emulator;
use crate::shell::{self, PATIENCE};

/// Requests go out one after the other until the input ends; each answer or failure is a line. Bounded in any case. The end of
/// input is what is waited for, not a line: bash loses what it has read when its timeout comes in between.
const LOOP: &str = r#"n=0; while [ $n -lt 20000 ]; do n=$((n+1)); if a=$(curl -sS -m3 -o - -w ' %{http_code}' "$URL" 2>&1); then echo "${a//$'\n'/}"; else echo "LOST ${a//$'\n'/ }"; fi; read -t 0.005 _; [ $? -gt 128 ] || break; done"#;

/// A running load.
pub struct Load {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    answers: Vec<String>,
}

impl Load {
    /// From pod `client` of c0, with the cluster's own names.
    pub fn from_client(emulator: &Emulator, url: &str) -> anyhow::Result<Self> {
        let script = format!("URL={url}; {LOOP}");
        Self::start(
            emulator.kubectl_command("c0", &["-n", "demo", "exec", "-i", "client", "--", "bash", "-c", &script]),
        )
    }

    /// From the host `outside`.
    pub fn from_outside(emulator: &Emulator, url: &str) -> anyhow::Result<Self> {
        let script = format!("URL={url}; {LOOP}");
        Self::start(emulator.command(&emulator.binary, &["exec", "outside", "--", "bash", "-c", &script]))
    }

    fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
        let mut load = Self { child, stdin, lines, answers: Vec::new() };
        load.until(|_, _| true)?;
        Ok(load)
    }

    /// Reads answers until one fulfils `enough`, which also gets their count since this call.
    pub fn until(&mut self, mut enough: impl FnMut(&str, usize) -> bool) -> anyhow::Result<()> {
        for count in 1..=5_000 {
            let line = self.lines.next().context("the client ended by itself")??;
            let done = enough(&line, count);
            self.answers.push(line);
            if done {
                return Ok(());
            }
        }
        bail!("5000 answers, and still not what was waited for; the last: {:?}", self.answers.last())
    }

    /// Ends the loop. How many requests were made; an error when one was lost.
    pub fn finish(mut self) -> anyhow::Result<usize> {
        drop(self.stdin.take());
        for line in self.lines.by_ref() {
            self.answers.push(line?);
        }
        if shell::wait(&mut self.child, PATIENCE)?.is_none() {
            self.child.kill()?;
            self.child.wait()?;
        }
        let lost: Vec<_> = self.answers.iter().filter(|a| !a.ends_with(" 200")).collect();
        ensure!(lost.is_empty(), "{} of {} requests were lost, the first: {}", lost.len(), self.answers.len(), lost[0]);
        Ok(self.answers.len())
    }
}
