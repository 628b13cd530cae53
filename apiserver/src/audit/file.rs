//! The log's file: a line an event, begun anew when it is full (`--audit-log-max*`; upstream's rotation is lumberjack's, with
//! the same names).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// When a file is full, and what becomes of full ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Bytes; 0: never full.
    pub size: u64,
    /// So many full files are kept; 0: all.
    pub backups: usize,
    /// Full files are kept so long; zero: for ever.
    pub age: Duration,
}

pub enum Target {
    Stdout,
    File(Rotating),
}

pub struct Rotating {
    path: PathBuf,
    limits: Limits,
    file: File,
    size: u64,
}

impl Target {
    /// `-` is the standard output.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path, limits: Limits) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let (file, size) = append(path)?;
        Ok(Self::File(Rotating { path: path.to_owned(), limits, file, size }))
    }

    /// Writes one line, which ends in a newline.
    ///
    /// # Errors
    /// The file cannot be written or replaced.
    pub fn write(&mut self, line: &[u8], now: Timestamp) -> io::Result<()> {
        match self {
            Self::Stdout => io::stdout().lock().write_all(line),
            Self::File(file) => file.write(line, now),
        }
    }
}

fn append(path: &Path) -> io::Result<(File, u64)> {
    use std::os::unix::fs::OpenOptionsExt;
    // The log tells who reads which Secret: nobody else's business.
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

impl Rotating {
    fn write(&mut self, line: &[u8], now: Timestamp) -> io::Result<()> {
        if self.limits.size > 0 && self.size > 0 && self.size + line.len() as u64 > self.limits.size {
            self.rotate(now)?;
        }
        self.file.write_all(line)?;
        self.size += line.len() as u64;
        Ok(())
    }

    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        std::fs::rename(&self.path, self.backup(now))?;
        (self.file, self.size) = append(&self.path)?;
        self.prune()
    }

    /// `audit.log` → `audit-2026-01-02T03-04-05.678.log`
    fn backup(&self, now: Timestamp) -> PathBuf {
        let (stem, end) = self.name();
        self.path.with_file_name(format!("{stem}-{}{end}", now.strftime("%Y-%m-%dT%H-%M-%S%.3f")))
    }

    fn name(&self) -> (String, String) {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let end = self.path.extension().map(|end| format!(".{}", end.to_string_lossy())).unwrap_or_default();
        (stem, end)
    }

    fn prune(&self) -> io::Result<()> {
        let (stem, end) = self.name();
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut backups = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&format!("{stem}-")) && name.ends_with(&end) && entry.path() != self.path {
                backups.push((name, entry.path(), entry.metadata()?.modified()?));
            }
        }
        // The newest first: their names sort by time.
        backups.sort_by(|a, b| b.0.cmp(&a.0));
        let Limits { backups: most, age, .. } = self.limits;
        for (at, (_, path, modified)) in backups.into_iter().enumerate() {
            let old = !age.is_zero() && SystemTime::now().duration_since(modified).is_ok_and(|since| since > age);
            if old || (most > 0 && at >= most) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_set_aside_and_old_ones_go() {
        let dir = std::env::temp_dir().join(format!("knetsim-audit-{}", std::process::id()));
        let path = dir.join("audit.log");
        let limits = Limits { size: 10, backups: 2, age: Duration::ZERO };
        let mut target = Target::open(&path, limits).unwrap();
        for second in 0..5 {
            target.write(b"12345678\n", Timestamp::from_second(second).unwrap()).unwrap();
        }
        let mut names: Vec<String> =
            std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["audit-1970-01-01T00-00-03.000.log", "audit-1970-01-01T00-00-04.000.log", "audit.log"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"12345678\n");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
