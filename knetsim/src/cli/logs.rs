//! `knetsim logs`: a component's log, followed by inotify.

use std::fs::File;
use std::io::{Read, Write};

use anyhow::{Context, bail};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::layout::Layout;

#[derive(clap::Args)]
pub struct Args {
    /// CLUSTER/COMPONENT, or `launcher`
    component: String,
    /// Keep printing what is added
    #[arg(short, long)]
    follow: bool,
    /// How many lines from the end; all when left out
    #[arg(long)]
    tail: Option<usize>,
}

/// # Errors
/// When there is no such log.
pub fn run(layout: &Layout, args: &Args) -> anyhow::Result<()> {
    let path = match args.component.split_once('/') {
        Some((cluster, component)) => layout.log(cluster, component),
        None if args.component == "launcher" => layout.launcher_log(),
        None => bail!("name the component as CLUSTER/COMPONENT, such as c0/apiserver; `knetsim status` lists them"),
    };
    let mut file = File::open(&path)
        .with_context(|| format!("there is no log of {:?}; `knetsim status` lists the components", args.component))?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let from = args.tail.map_or(0, |lines| start_of_last(&text, lines));
    let mut out = std::io::stdout();
    out.write_all(&text[from..])?;
    if !args.follow {
        return Ok(());
    }
    let watch = Inotify::init(InitFlags::IN_CLOEXEC)?;
    watch.add_watch(&path, AddWatchFlags::IN_MODIFY)?;
    loop {
        let mut more = Vec::new();
        file.read_to_end(&mut more)?;
        if out.write_all(&more).and_then(|()| out.flush()).is_err() {
            return Ok(());
        }
        watch.read_events()?;
    }
}

/// Where the last `lines` lines begin.
fn start_of_last(text: &[u8], lines: usize) -> usize {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    if lines == 0 {
        return text.len();
    }
    body.iter().enumerate().rev().filter(|(_, b)| **b == b'\n').nth(lines - 1).map_or(0, |(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use super::start_of_last;

    #[test]
    fn tails() {
        let text = b"one\ntwo\nthree\n";
        for (lines, rest) in
            [(0, ""), (1, "three\n"), (2, "two\nthree\n"), (3, "one\ntwo\nthree\n"), (9, "one\ntwo\nthree\n")]
        {
            assert_eq!(&text[start_of_last(text, lines)..], rest.as_bytes(), "{lines}");
        }
    }
}
