//! The course, walked through as a student would: every line of every chapter, with the real kubectl.
//!
//! With `KNETSIM_COURSE` set to a folder (docs/course), the walk also writes the chapters' pages there. `KNETSIM_CHAPTER`
//! names a single chapter to walk through.

use std::path::PathBuf;

use anyhow::ensure;
use knetsim_tests::exercises::{COURSE, Chapter, Score, walk};
use knetsim_tests::session::{Session, check};

#[test]
fn every_exercise() {
    check(|| {
        let session = Session::new(None)?;
        session.up(&[])?;
        let pages = std::env::var_os("KNETSIM_COURSE").map(PathBuf::from);
        let only = std::env::var("KNETSIM_CHAPTER").ok();
        // What changes a whole cluster plays in c1, beside the rest.
        let chapters = |context: &str| -> Vec<&Chapter> {
            let wanted = |chapter: &&Chapter| only.as_deref().is_none_or(|name| name == chapter.name);
            COURSE.iter().filter(|chapter| chapter.context == context).filter(wanted).collect()
        };
        let outcomes: Vec<anyhow::Result<Score>> = std::thread::scope(|scope| {
            let (emulator, chapters, pages) = (&session.emulator, &chapters, pages.as_deref());
            let walks: Vec<_> = ["c0", "c1"]
                .map(|context| scope.spawn(move || walk(emulator, &chapters(context), pages)))
                .into_iter()
                .collect();
            walks.into_iter().map(|walk| walk.join().expect("a walk does not panic")).collect()
        });
        let mut failed = Vec::new();
        for score in outcomes {
            failed.extend(score?.failed);
        }
        ensure!(failed.is_empty(), "{} exercises failed:\n{}", failed.len(), failed.join("\n"));
        session.emulator.knetsim(&["down"])?;
        session.nothing_left()
    });
}
