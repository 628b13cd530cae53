//! The course: what a student types, what they see and why, as tables. One walk through them is the test of the course, and
//! writes its pages (docs/course), so that what the pages show is what was seen.
//!
//! A chapter is one session in a shell, with a kubeconfig and a namespace of its own; its lines run as typed, one after the
//! other, in the folder manifests/exercises. So a line may use what an earlier one put into a variable.

mod breaking;
mod clusters;
mod extending;
mod ingress;
mod page;
mod pods;
mod policy;
mod routing;
mod services;
mod terminal;
mod workers;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use regex::Regex;

use crate::emulator::Emulator;
use terminal::Terminal;

/// How long a line is repeated until it shows what it must.
const PATIENCE: Duration = Duration::from_secs(70);

/// A chapter of the course.
pub struct Chapter {
    /// Its page is docs/course/`name`.md.
    pub name: &'static str,
    pub title: &'static str,
    pub intro: &'static str,
    /// The cluster it plays in.
    pub context: &'static str,
    pub exercises: &'static [Exercise],
}

/// One exercise.
pub struct Exercise {
    pub title: &'static str,
    /// What it is about, and why what is seen is so.
    pub why: &'static str,
    /// What the machine must be able to do; without it the exercise is skipped, by name.
    pub needs: Option<Need>,
    pub steps: &'static [Step],
}

/// What not every machine can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Control groups for containers.
    Limits,
    /// The kernel's macvlan links.
    Macvlan,
}

impl Need {
    /// Why it cannot be had here; `None` when it can.
    fn missing(self, emulator: &Emulator) -> anyhow::Result<Option<String>> {
        Ok(match self {
            Self::Limits => {
                let status = emulator.knetsim(&["status"])?;
                status.lines().find(|line| line.contains("limits are off")).map(str::to_owned)
            }
            Self::Macvlan => {
                let probe = "ip link add probe0 link eth0 type macvlan && ip link del probe0";
                let made = emulator.try_knetsim(&["exec", "outside", "--", "sh", "-c", probe])?;
                (made.code != 0).then(|| format!("this kernel has no macvlan links: {}", made.stderr.trim()))
            }
        })
    }
}

/// Something to type, or to read.
pub enum Step {
    /// A line, and what must be in its output: text, or behind `~` a regular expression over lines. Behind `!` it must not.
    Line { how: How, text: &'static str, sees: &'static [&'static str] },
    /// Prose between lines.
    Note(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Must succeed.
    Works,
    /// Must fail.
    Fails,
    /// Is repeated until it succeeds and shows what it must.
    Comes,
}

/// A line that works and shows this.
const fn works(text: &'static str, sees: &'static [&'static str]) -> Step {
    Step::Line { how: How::Works, text, sees }
}

/// A line that fails and shows this.
const fn fails(text: &'static str, sees: &'static [&'static str]) -> Step {
    Step::Line { how: How::Fails, text, sees }
}

/// A line to repeat until it shows this.
const fn comes(text: &'static str, sees: &'static [&'static str]) -> Step {
    Step::Line { how: How::Comes, text, sees }
}

const fn note(text: &'static str) -> Step {
    Step::Note(text)
}

/// All chapters, in the order of the course.
pub const COURSE: &[Chapter] = &[
    workers::CHAPTER,
    pods::CHAPTER,
    routing::CHAPTER,
    services::CHAPTER,
    policy::CHAPTER,
    ingress::CHAPTER,
    clusters::CHAPTER,
    extending::CHAPTER,
    breaking::CHAPTER,
];

/// How a walk through chapters went.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Score {
    pub done: usize,
    pub skipped: usize,
    /// What went wrong in each exercise that failed, its chapter and title first.
    pub failed: Vec<String>,
}

/// Walks through `chapters`, prints a line an exercise, and writes the pages into `pages` if there is one.
///
/// # Errors
/// When no exercise can even begin.
pub fn walk(emulator: &Emulator, chapters: &[&Chapter], pages: Option<&Path>) -> anyhow::Result<Score> {
    let mut score = Score::default();
    for chapter in chapters {
        let mut terminal = begin(emulator, chapter)?;
        let mut page = page::Page::begin(chapter, particulars(emulator, &terminal));
        for exercise in chapter.exercises {
            let begun = Instant::now();
            page.exercise(exercise);
            if let Some(why) = exercise.needs.map(|need| need.missing(emulator)).transpose()?.flatten() {
                println!("SKIPPED {}: {}: {why}", chapter.name, exercise.title);
                page.skipped(exercise, &why);
                score.skipped += 1;
                continue;
            }
            let outcome = exercise.steps.iter().try_for_each(|step| take(&mut terminal, step, &mut page));
            let took = begun.elapsed().as_secs_f32();
            match outcome {
                Ok(()) => {
                    score.done += 1;
                    println!("{:<18} ok     {took:>5.1}s  {}", chapter.name, exercise.title);
                }
                Err(error) => {
                    println!("{:<18} FAILED {took:>5.1}s  {}: {error:#}", chapter.name, exercise.title);
                    score.failed.push(format!("{}: {}: {error:#}", chapter.name, exercise.title));
                    // A line that hangs takes its shell with it.
                    if terminal.is_stuck() {
                        terminal = begin(emulator, chapter)?;
                    }
                }
            }
        }
        if let Some(folder) = pages {
            page.write(folder)?;
        }
        terminal.run(&format!("kubectl delete namespace {} --wait=false", chapter.name), PATIENCE)?;
    }
    Ok(score)
}

/// What is only true of this machine and this walk, and what the pages show in its place.
fn particulars(emulator: &Emulator, terminal: &Terminal) -> Vec<(String, String)> {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    let plain = kernel.split('-').next().unwrap_or_default().to_owned();
    let mut all = vec![
        (path(&emulator.binary), "knetsim".to_owned()),
        (path(&emulator.data_dir), "~/.local/share/knetsim".to_owned()),
        (path(&emulator.manifests), "manifests".to_owned()),
        (path(terminal.home()), "$TMP".to_owned()),
        (kernel, plain),
    ];
    all.retain(|(from, _)| !from.is_empty());
    all
}

/// A shell with a kubeconfig and a namespace for the chapter.
fn begin(emulator: &Emulator, chapter: &Chapter) -> anyhow::Result<Terminal> {
    let mut terminal = Terminal::open(emulator, &emulator.manifests.join("exercises"))?;
    let Chapter { name, context, .. } = chapter;
    for line in [
        format!("kubectl config use-context {context}"),
        format!("kubectl get namespace {name} || kubectl create namespace {name}"),
        format!("kubectl config set-context {context} --namespace {name}"),
        // Pods need it, and its controller may be a moment behind.
        "until kubectl get serviceaccount default; do :; done".to_owned(),
    ] {
        let said = terminal.run(&line, PATIENCE)?;
        ensure!(said.code == 0, "`{line}`: {}", said.text);
    }
    Ok(terminal)
}

fn take(terminal: &mut Terminal, step: &Step, page: &mut page::Page) -> anyhow::Result<()> {
    let (how, text, sees) = match step {
        Step::Note(text) => {
            page.note(text);
            return Ok(());
        }
        Step::Line { how, text, sees } => (*how, *text, *sees),
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = terminal.run(text, PATIENCE)?;
        let wrong = match how {
            How::Fails => (said.code == 0).then(|| "it works".to_owned()),
            How::Works | How::Comes => (said.code != 0).then(|| format!("it ends with {}", said.code)),
        };
        let wrong = wrong.map_or_else(|| unseen(&said.text, sees), |wrong| Ok(Some(wrong)))?;
        let Some(wrong) = wrong else {
            page.line(text, &said.text, how);
            return Ok(());
        };
        if how != How::Comes || Instant::now() > deadline {
            bail!("`{text}`: {wrong}; it says:\n{}", said.text);
        }
    }
}

/// What of `wanted` the text does not show.
fn unseen(text: &str, wanted: &[&str]) -> anyhow::Result<Option<String>> {
    for one in wanted {
        let (not, one) = one.strip_prefix('!').map_or((false, *one), |rest| (true, rest));
        let there = match one.strip_prefix('~') {
            Some(pattern) => {
                Regex::new(&format!("(?m){pattern}")).with_context(|| format!("in {pattern:?}"))?.is_match(text)
            }
            None => text.contains(one),
        };
        if there == not {
            return Ok(Some(format!("{one:?} is {}", if not { "there" } else { "not there" })));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_seen() {
        let text = "one\ntwo 2\n";
        for (wanted, missing) in [
            (&["one", "~^two \\d$"][..], false),
            (&["three"], true),
            (&["!three"], false),
            (&["!one"], true),
            (&["!~^\\d"], false),
        ] {
            assert_eq!(unseen(text, wanted).unwrap().is_some(), missing, "{wanted:?}");
        }
    }

    /// The pages are made by the walk; here only that they tell of these exercises and lines.
    #[test]
    fn the_pages_are_of_this_course() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/course");
        for chapter in COURSE {
            let path = folder.join(format!("{}.md", chapter.name));
            let page = std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("there is no {}", path.display()));
            for exercise in chapter.exercises {
                assert!(
                    page.contains(exercise.title),
                    "{} lacks {:?}: see tests/tests/exercises.rs",
                    chapter.name,
                    exercise.title
                );
                for step in exercise.steps {
                    if let Step::Line { text, .. } = step {
                        assert!(page.contains(text), "{} lacks `{text}`: see tests/tests/exercises.rs", chapter.name);
                    }
                }
            }
        }
    }
}
