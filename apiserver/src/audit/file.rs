//! The log's file: a line an event, begun anew when it is full (`--audit-log-max*`; upstream's rotation is lumberjack's, with
//! the same names).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use flate2::{Compression, write::GzEncoder};
use jiff::Timestamp;

/// What the name of a compressed file ends with.
const PACKED: &str = ".gz";

/// When a file is full, and what becomes of full ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Bytes; 0: never full.
    pub size: u64,
    /// So many full files are kept; 0: all.
    pub backups: usize,
    /// Full files are kept so long; zero: for ever.
    pub age: Duration,
    /// Full files are compressed, while the next one is written.
    pub compress: bool,
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
    /// Compresses those that were full at the time.
    packer: Option<JoinHandle<()>>,
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
        Ok(Self::File(Rotating { path: path.to_owned(), limits, file, size, packer: None }))
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
        let kept = self.prune()?;
        // What is set aside while one is at work waits for the next.
        if self.limits.compress && self.packer.as_ref().is_none_or(JoinHandle::is_finished) {
            let pack_all = move || {
                for path in kept.iter().filter(|path| path.extension().is_none_or(|end| end != &PACKED[1..])) {
                    if let Err(error) = pack(path) {
                        tracing::warn!(%error, path = %path.display(), "a full audit log cannot be compressed");
                    }
                }
            };
            self.packer = Some(thread::Builder::new().name("audit-log".to_owned()).spawn(pack_all)?);
        }
        Ok(())
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

    /// Removes full files that are not to be kept; the others.
    fn prune(&self) -> io::Result<Vec<PathBuf>> {
        let (stem, end) = self.name();
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut backups = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let plain = name.strip_suffix(PACKED).unwrap_or(&name);
            if plain.starts_with(&format!("{stem}-")) && plain.ends_with(&end) && entry.path() != self.path {
                // One that is being compressed, or was a moment ago, is gone when it is looked at.
                let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) else { continue };
                backups.push((plain.to_owned(), entry.path(), modified));
            }
        }
        // The newest first: their names sort by time.
        backups.sort_by(|a, b| b.0.cmp(&a.0));
        let Limits { backups: most, age, .. } = self.limits;
        let (mut kept, mut names) = (Vec::new(), Vec::<String>::new());
        for (name, path, modified) in backups {
            // One that is being compressed has two files.
            if names.last() != Some(&name) {
                names.push(name);
            }
            let old = !age.is_zero() && SystemTime::now().duration_since(modified).is_ok_and(|since| since > age);
            if !old && (most == 0 || names.len() <= most) {
                kept.push(path);
                continue;
            }
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(kept)
    }
}

/// Puts a compressed file into a file's place.
fn pack(path: &Path) -> io::Result<()> {
    let mut packed = path.as_os_str().to_owned();
    packed.push(PACKED);
    let (mut plain, packed) = (File::open(path)?, PathBuf::from(packed));
    let mut fill = || {
        // Half of one may have stayed behind when the server was killed.
        let (file, _) = append(&packed)?;
        file.set_len(0)?;
        let mut file = GzEncoder::new(file, Compression::default());
        io::copy(&mut plain, &mut file)?;
        file.finish()?.sync_all()
    };
    match fill() {
        Ok(()) => std::fs::remove_file(path),
        Err(error) => {
            std::fs::remove_file(&packed)?;
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_set_aside_and_old_ones_go() {
        let dir = std::env::temp_dir().join(format!("knetsim-audit-{}", std::process::id()));
        let path = dir.join("audit.log");
        let limits = Limits { size: 10, backups: 2, ..Limits::default() };
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

    #[test]
    fn full_files_are_compressed() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { size: 10, backups: 2, compress: true, ..Limits::default() };
        let Target::File(mut file) = Target::open(&dir.path().join("audit.log"), limits).unwrap() else {
            panic!("a file")
        };
        for second in 0..5 {
            file.write(format!("line {second}\n---\n").as_bytes(), Timestamp::from_second(second).unwrap()).unwrap();
            file.packer.take().map(JoinHandle::join).transpose().unwrap();
        }
        let all = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = all.collect();
        names.sort();
        let (third, fourth) = ("audit-1970-01-01T00-00-03.000.log.gz", "audit-1970-01-01T00-00-04.000.log.gz");
        assert_eq!(names, [third, fourth, "audit.log"]);
        let packed = File::open(dir.path().join(fourth)).unwrap();
        let text = io::read_to_string(flate2::read::GzDecoder::new(packed)).unwrap();
        assert_eq!(text, "line 3\n---\n");
    }
}
