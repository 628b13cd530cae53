//! The journal: what was written since the database was synced last, so that an answer waits for one small write to disk
//! and not for the database's pages.
//!
//! A file of fixed size, filled from its beginning. An entry is what one commit did: its length, a checksum over the
//! store's own number and the operations, and these. Once an entry does not fit, the database is synced, and the journal
//! begins at the front again; what stands there then is of revisions that the database has, and is passed over. An entry
//! that was cut off by a crash fails its checksum; it was not answered.

use super::layout::Record;
use crate::Revision;
use anyhow::Context;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Length of the operations and checksum, four bytes each.
const HEADER: usize = 8;
/// Revision, seconds since 1970 when the state ends or 0, length of the record.
const OPERATION: usize = 8 + 8 + 4;

/// One write that the journal holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Operation<'a> {
    pub revision: Revision,
    /// When the state ends, in seconds since 1970.
    pub expires: Option<u64>,
    /// An encoded [`Record`].
    pub record: &'a [u8],
}

pub(super) struct Journal {
    file: File,
    /// Of the store whose journal this is.
    store: Revision,
    size: u64,
    /// Where the next entry begins.
    end: u64,
    /// The entry that is being made, its header included.
    entry: Vec<u8>,
}

impl Journal {
    /// Opens the journal of the store with this number in `dir`, made with `size` bytes if it is missing or of another
    /// size, and gives what it holds, to be read by [`operations`].
    pub fn open(dir: &Path, store: Revision, size: u64) -> anyhow::Result<(Self, Vec<u8>)> {
        let path = dir.join("journal");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.with_context(|| format!("open the store's journal {}", path.display()))?;
        let mut held = vec![0; usize::try_from(file.metadata()?.len())?];
        file.read_exact_at(&mut held, 0).with_context(|| format!("read the store's journal {}", path.display()))?;
        Ok((Self { file, store, size, end: 0, entry: vec![0; HEADER] }, held))
    }

    /// Gives the file its size; what it held is in the database, on disk. Its blocks are written once, so that later only data
    /// has to be synced.
    pub fn make(&self) -> anyhow::Result<()> {
        if self.file.metadata()?.len() != self.size {
            self.file.set_len(0)?;
            self.file.write_all_at(&vec![0; usize::try_from(self.size)?], 0).context("make the store's journal")?;
            self.file.sync_all()?;
        }
        Ok(())
    }

    /// To be called once the database holds, on disk, what the journal holds: entries go to the front from now on.
    pub fn restart(&mut self) {
        self.end = 0;
    }

    /// Begins a new entry.
    pub fn begin(&mut self) {
        self.entry.truncate(HEADER);
    }

    /// Another write of the entry.
    pub fn note(&mut self, revision: Revision, expires: Option<u64>, record: &[u8]) {
        self.entry.extend_from_slice(&revision.to_le_bytes());
        self.entry.extend_from_slice(&expires.unwrap_or(0).to_le_bytes());
        self.entry
            .extend_from_slice(&u32::try_from(record.len()).expect("a record is shorter than 4 GiB").to_le_bytes());
        self.entry.extend_from_slice(record);
    }

    /// Whether there is room for the entry.
    pub fn fits(&self) -> bool {
        self.end + self.entry.len() as u64 <= self.size
    }

    /// Writes the entry, which fits, to disk. An empty one needs no room.
    ///
    /// # Errors
    /// The disk's.
    pub fn sync(&mut self) -> anyhow::Result<()> {
        let (header, operations) = self.entry.split_at_mut(HEADER);
        if operations.is_empty() {
            return Ok(());
        }
        let length = u32::try_from(operations.len()).expect("an entry fits the journal");
        header[..4].copy_from_slice(&length.to_le_bytes());
        header[4..].copy_from_slice(&checksum(self.store, operations).to_le_bytes());
        self.file.write_all_at(&self.entry, self.end).context("write the store's journal")?;
        self.file.sync_data().context("sync the store's journal")
    }

    /// To be called once the database has what the entry says; the next one takes its place otherwise.
    pub fn advance(&mut self) {
        if self.entry.len() > HEADER {
            self.end += self.entry.len() as u64;
        }
    }
}

/// The writes after `revision`, in order, that `held` (see [`Journal::open`]) has of the store with this number, up to the
/// first that was cut off or does not follow.
pub(super) fn operations(held: &[u8], store: Revision, revision: Revision) -> Vec<Operation<'_>> {
    let (mut found, mut reached) = (Vec::new(), revision);
    let mut rest = held;
    while let Some(operations) = entry(&mut rest, store) {
        for operation in operations {
            match operation.revision - reached {
                ..=0 => {}
                1 => {
                    reached = operation.revision;
                    found.push(operation);
                }
                _ => return found,
            }
        }
    }
    found
}

/// The operations of the entry that `rest` begins with, which is taken off.
fn entry<'a>(rest: &mut &'a [u8], store: Revision) -> Option<Vec<Operation<'a>>> {
    let (header, behind) = rest.split_at_checked(HEADER)?;
    let length = u32::from_le_bytes(header[..4].try_into().expect("four bytes")) as usize;
    let (mut operations, behind) = behind.split_at_checked(length)?;
    let expected = u32::from_le_bytes(header[4..].try_into().expect("four bytes"));
    if length == 0 || checksum(store, operations) != expected {
        return None;
    }
    *rest = behind;
    let mut found = Vec::new();
    while !operations.is_empty() {
        let (head, behind) = operations.split_at_checked(OPERATION)?;
        let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        let length = u32::from_le_bytes(head[16..].try_into().expect("four bytes")) as usize;
        let (record, behind) = behind.split_at_checked(length)?;
        Record::decode(record).ok()?;
        let expires = Some(number(8)).filter(|at| *at > 0);
        found.push(Operation { revision: number(0).cast_signed(), expires, record });
        operations = behind;
    }
    Some(found)
}

fn checksum(store: Revision, operations: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&store.to_le_bytes());
    hasher.update(operations);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: Revision = 77;

    fn record(key: &str) -> Vec<u8> {
        Record { key, value: Some(b"{}"), create_revision: 1, previous: 0 }.encode()
    }

    /// A journal with entries of one and of two writes, revisions 2 to 4, and where each entry ends.
    fn journal(dir: &Path) -> (Journal, Vec<usize>) {
        let (mut journal, held) = Journal::open(dir, STORE, 4096).unwrap();
        assert!(held.is_empty());
        journal.make().unwrap();
        let mut ends = Vec::new();
        for entry in [vec![2], vec![3, 4]] {
            journal.begin();
            for revision in entry {
                journal.note(revision, (revision == 3).then_some(9), &record("/a"));
            }
            assert!(journal.fits());
            journal.sync().unwrap();
            journal.advance();
            ends.push(usize::try_from(journal.end).unwrap());
        }
        (journal, ends)
    }

    fn revisions(held: &[u8], revision: Revision) -> Vec<Revision> {
        operations(held, STORE, revision).iter().map(|operation| operation.revision).collect()
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        journal(dir.path());
        let (_, held) = Journal::open(dir.path(), STORE, 4096).unwrap();
        assert_eq!(held.len(), 4096);
        let found = operations(&held, STORE, 1);
        assert_eq!(found[1], Operation { revision: 3, expires: Some(9), record: &record("/a") });
        assert_eq!(revisions(&held, 1), [2, 3, 4]);
        assert_eq!(revisions(&held, 3), [4], "what the database has is passed over");
        assert_eq!(revisions(&held, 0), [0; 0], "what does not follow is not believed");
        assert!(operations(&held, STORE + 1, 1).is_empty(), "nor what is of another store");
    }

    #[test]
    fn entries_are_whole_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let (_, ends) = journal(dir.path());
        let (_, held) = Journal::open(dir.path(), STORE, 4096).unwrap();
        for cut in 0..=ends[1] {
            let whole = if cut < ends[0] { 0 } else { 1 + 2 * usize::from(cut == ends[1]) };
            assert_eq!(revisions(&held[..cut], 1).len(), whole, "cut off at {cut}");
            // What a page that did not get to the disk looks like.
            let mut zeros = held.clone();
            zeros[cut..].fill(0);
            assert_eq!(revisions(&zeros, 1).len(), whole, "zeros from {cut}");
        }
        for at in 0..ends[1] {
            let mut broken = held.clone();
            broken[at] ^= 0x10;
            assert!(revisions(&broken, 1).len() < 3, "a wrong byte at {at}");
        }
    }

    #[test]
    fn a_new_lap_hides_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = journal(dir.path());
        journal.restart();
        journal.begin();
        journal.note(5, None, &record("/a"));
        journal.sync().unwrap();
        journal.advance();
        // An entry as long as the first one: the second of the old lap stands behind it, whole.
        let (_, held) = Journal::open(dir.path(), STORE, 4096).unwrap();
        assert_eq!(revisions(&held, 4), [5]);
        journal.begin();
        journal.note(6, None, &vec![0; 4096]);
        assert!(!journal.fits());
    }
}
