//! A container's log file in the CRI's format: `<RFC 3339 with nanoseconds> <stdout|stderr> <F|P> <text>`.
//!
//! Bounded as upstream's defaults bound it: at [`MAX_SIZE`] the file is put aside under a name with the time in it, and
//! only the youngest [`MAX_FILES`] are kept, the current one included.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// Upstream's `containerLogMaxSize`.
pub const MAX_SIZE: u64 = 10 * 1024 * 1024;
/// Upstream's `containerLogMaxFiles`.
pub const MAX_FILES: usize = 5;
/// A longer line is cut into parts, as containerd does.
const MAX_LINE: usize = 16 * 1024;

/// The writer of one container's log.
pub struct Log {
    path: PathBuf,
    file: File,
    size: u64,
    /// What has come of an unfinished line: stdout's, stderr's.
    partial: [Vec<u8>; 2],
}

impl Log {
    /// Opens `path` for appending, with its folder.
    ///
    /// # Errors
    /// When the folder or the file cannot be made.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size, partial: Default::default() })
    }

    /// Takes what a stream (1 stdout, 2 stderr) gave; whole lines are written at once.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&mut self, stream: u8, data: &[u8]) -> std::io::Result<()> {
        let index = usize::from(stream.saturating_sub(1).min(1));
        let mut out = Vec::with_capacity(data.len() + 64);
        let now = Timestamp::now();
        let partial = &mut self.partial[index];
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            match piece.split_last() {
                Some((b'\n', line)) => {
                    partial.extend_from_slice(line);
                    entry(&mut out, now, index, b'F', partial);
                    partial.clear();
                }
                _ => partial.extend_from_slice(piece),
            }
            while partial.len() >= MAX_LINE {
                let rest = partial.split_off(MAX_LINE);
                entry(&mut out, now, index, b'P', partial);
                *partial = rest;
            }
        }
        self.append(&out)
    }

    /// Writes what is left of an unfinished line when its stream ends.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(&mut self, stream: u8) -> std::io::Result<()> {
        let index = usize::from(stream.saturating_sub(1).min(1));
        let rest = std::mem::take(&mut self.partial[index]);
        if rest.is_empty() {
            return Ok(());
        }
        let mut out = Vec::new();
        entry(&mut out, Timestamp::now(), index, b'P', &rest);
        self.append(&out)
    }

    fn append(&mut self, out: &[u8]) -> std::io::Result<()> {
        if self.size > 0 && self.size + out.len() as u64 > MAX_SIZE {
            self.rotate()?;
        }
        self.file.write_all(out)?;
        self.size += out.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> std::io::Result<()> {
        let aside = format!("{}.{}", self.path.display(), Timestamp::now().as_nanosecond());
        std::fs::rename(&self.path, aside)?;
        self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        self.size = 0;
        for old in older(&self.path)?.iter().rev().skip(MAX_FILES - 1) {
            std::fs::remove_file(old)?;
        }
        Ok(())
    }
}

/// The files put aside for `path`, oldest first.
///
/// # Errors
/// When the folder cannot be read.
pub fn older(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(Vec::new());
    };
    let prefix = format!("{name}.");
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder)? {
        let file = file?;
        if file.file_name().to_string_lossy().starts_with(&prefix) {
            found.push(file.path());
        }
    }
    found.sort();
    Ok(found)
}

fn entry(out: &mut Vec<u8>, now: Timestamp, index: usize, tag: u8, line: &[u8]) {
    out.extend_from_slice(format!("{now:.9} {} ", ["stdout", "stderr"][index]).as_bytes());
    out.push(tag);
    out.push(b' ');
    out.extend_from_slice(line);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(path: &Path) -> Vec<String> {
        let all = std::fs::read_to_string(path).expect("the log is there");
        all.lines().map(|line| line.split_once(' ').expect("a time comes first").1.to_owned()).collect()
    }

    #[test]
    fn lines_of_both_streams_are_kept_apart_and_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("c/0.log");
        let mut log = Log::open(&path).expect("opens");
        log.write(1, b"one\ntw").expect("writes");
        log.write(2, b"bad\n").expect("writes");
        log.write(1, b"o\nend").expect("writes");
        log.finish(1).expect("writes");
        assert_eq!(texts(&path), ["stdout F one", "stderr F bad", "stdout F two", "stdout P end"]);
    }

    #[test]
    fn a_long_line_is_cut_into_parts() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("0.log");
        let mut log = Log::open(&path).expect("opens");
        log.write(1, &[&[b'x'; MAX_LINE + 3][..], b"\n"].concat()).expect("writes");
        let lines = texts(&path);
        assert!(lines[0].starts_with("stdout F") || lines[0].starts_with("stdout P"));
        let total: usize = lines.iter().map(|line| line.len() - "stdout P ".len()).sum();
        assert_eq!(total, MAX_LINE + 3);
    }

    #[test]
    fn a_full_file_is_put_aside_and_only_the_youngest_are_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("0.log");
        let mut log = Log::open(&path).expect("opens");
        let block = [&[b'y'; 1023][..], b"\n"].concat().repeat(1024);
        for _ in 0..80 {
            log.write(1, &block).expect("writes");
        }
        assert_eq!(older(&path).expect("listed").len(), MAX_FILES - 1);
        assert!(std::fs::metadata(&path).expect("there").len() <= MAX_SIZE);
    }
}
