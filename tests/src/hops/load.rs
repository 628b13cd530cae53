//! A client in a loop, which counts what it loses while something else happens.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::emulator::Emulator;
use crate::shell::{self, PATIENCE};

/// Requests go out one after the other, each on a connection of its own, until the input ends; each answer or failure
/// ends with a line of its status, 000 where there is none. Bounded in any case.
const LOOP: &str = r#"curl -sS -m3 --rate 100/s -H 'Connection: close' -w ' %{http_code}\n' "$URL?[1-20000]" 2>&1 & p=$!; read -r _; kill $p; wait $p 2>/dev/null; true"#;

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
            let answer = self.answer()?.context("the client ended by itself")?;
            let done = enough(&answer, count);
            self.answers.push(answer);
            if done {
                return Ok(());
            }
        }
        bail!("5000 answers, and still not what was waited for; the last: {:?}", self.answers.last())
    }

    /// The next answer, up to its status and in one line; none at the end, where one may have been under way.
    fn answer(&mut self) -> anyhow::Result<Option<String>> {
        let mut answer = String::new();
        for line in self.lines.by_ref() {
            answer.push_str(&line?);
            if answer.rsplit_once(' ').is_some_and(|(_, code)| code.len() == 3 && code.parse::<u16>().is_ok()) {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    /// Ends the loop. How many requests were made; an error when one was lost.
    pub fn finish(mut self) -> anyhow::Result<usize> {
        drop(self.stdin.take());
        while let Some(answer) = self.answer()? {
            self.answers.push(answer);
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
