//! `make bench`: medians of several runs, each ratio against something real in the same run. Timing decides no test.
//!
//! The figures are those of issue-sized marks: how long until a cluster is usable, what it weighs, how fast pods start and
//! Services reach the kernel, what the data path costs compared with the same links built by hand, and what the API server
//! costs over each store (`knetsim-bench emulator` and `knetsim-bench api` measure one half alone, `knetsim-bench lists` lists).

mod api;
mod datapath;
mod pods;
mod services;
mod startup;
mod stats;

use anyhow::Context;
use knetsim_tests::emulator::Emulator;

const USAGE: &str = "usage: knetsim-bench [emulator | api | lists] [RUNS, 5 unless told]";

/// What is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    All,
    Emulator,
    Api,
    Lists,
}

/// Reads the command line (without the program's name). It measures for minutes, so nothing is guessed at.
fn parse(arguments: impl Iterator<Item = String>) -> anyhow::Result<(Part, usize)> {
    let (mut part, mut runs) = (Part::default(), 5);
    for word in arguments {
        match word.as_str() {
            "emulator" => part = Part::Emulator,
            "api" => part = Part::Api,
            "lists" => part = Part::Lists,
            number => {
                runs = number.parse().ok().filter(|runs| *runs > 0).with_context(|| format!("{number:?}? {USAGE}"))?;
            }
        }
    }
    Ok((part, runs))
}

fn main() -> anyhow::Result<()> {
    runtime::log::init("bench");
    let (part, runs) = parse(std::env::args().skip(1))?;
    if part == Part::Lists {
        return api::lists();
    }
    if part != Part::Api {
        emulator(runs)?;
    }
    if part != Part::Emulator {
        api::measure(runs)?;
    }
    Ok(())
}

/// An emulator that goes before its folder does, however the measurement ends.
struct Measured(Emulator);

impl Drop for Measured {
    fn drop(&mut self) {
        // There is nobody left to tell of an error.
        let _ = self.0.try_knetsim(&["down", "--delete-data"]);
    }
}

fn emulator(runs: usize) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let measured = Measured(Emulator::beside_us(&dir.path().join("knetsim"))?);
    println!("{runs} runs each; medians; times in ms unless said otherwise\n");
    startup::measure(&measured.0, runs)?;
    everything_else(&measured.0, runs)
}

fn everything_else(emulator: &Emulator, runs: usize) -> anyhow::Result<()> {
    startup::weight(emulator)?;
    pods::measure(emulator, runs)?;
    services::measure(emulator)?;
    datapath::measure(emulator, runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_means_nothing_starts_nothing() {
        let read = |line: &str| parse(line.split_whitespace().map(str::to_owned));
        assert_eq!(read("").unwrap(), (Part::All, 5));
        assert_eq!(read("api 3").unwrap(), (Part::Api, 3));
        assert_eq!(read("7").unwrap(), (Part::All, 7));
        for wrong in ["--help", "0", "emulators", "api -1"] {
            assert!(read(wrong).unwrap_err().to_string().contains("usage:"), "{wrong}");
        }
    }
}
