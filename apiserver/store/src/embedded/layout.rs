//! The embedded store's tables.
//!
//! `records` is the log: one record a revision, holding key and value, so that each state is written once. `index` says for
//! each living key which record is its present state. `expires` says which states end when. `meta` holds the two counters and the
//! store's number. Compacting to a revision removes
//! exactly what no read at or after it can need; see [`Record::previous`].

use crate::{KeyValue, Revision};
use anyhow::{Context, ensure};
use bytes::Bytes;
use redb::{ReadableTable, Table, TableDefinition};
use std::hash::{BuildHasher, RandomState};

/// Revision → [`Record`].
pub(super) const RECORDS: TableDefinition<Revision, &[u8]> = TableDefinition::new("records");
/// Living key → (mod revision, create revision).
pub(super) const INDEX: TableDefinition<&str, (Revision, Revision)> = TableDefinition::new("index");
pub(super) const META: TableDefinition<&str, Revision> = TableDefinition::new("meta");

/// (seconds since 1970, key) → the mod revision of the state that ends then. A state that was replaced before stays in here
/// until its time, and then counts for nothing.
pub(super) const EXPIRES: TableDefinition<(u64, &str), Revision> = TableDefinition::new("expires");

const REVISION: &str = "revision";
const COMPACTED: &str = "compacted";
const STORE: &str = "store";

/// An empty store is at revision 1, as etcd.
const FIRST_REVISION: Revision = 1;

/// The newest revision and the oldest that can be read. What a commit writes is a record of a later revision, as a rule, and it
/// leaves the counters alone then: the last record says how far the store is.
pub(super) fn counters(
    meta: &impl ReadableTable<&'static str, Revision>,
    records: &impl ReadableTable<Revision, &'static [u8]>,
) -> anyhow::Result<(Revision, Revision)> {
    let counter = |name| anyhow::Ok(meta.get(name)?.map_or(FIRST_REVISION, |value| value.value()));
    let last = records.last()?.map_or(FIRST_REVISION, |(revision, _)| revision.value());
    Ok((last.max(counter(REVISION)?), counter(COMPACTED)?))
}

/// Writes them down: whenever records go, for the newest may be among them, and when the file is synced.
pub(super) fn count(
    meta: &mut Table<'_, &'static str, Revision>,
    newest: Revision,
    compacted: Revision,
) -> anyhow::Result<()> {
    meta.insert(REVISION, newest)?;
    meta.insert(COMPACTED, compacted)?;
    Ok(())
}

/// The number of the store itself, by which it knows its journal; a new one gets one.
pub(super) fn number(meta: &mut Table<'_, &'static str, Revision>) -> anyhow::Result<Revision> {
    if let Some(number) = meta.get(STORE)? {
        return Ok(number.value());
    }
    let number = RandomState::new().hash_one(0).cast_signed();
    meta.insert(STORE, number)?;
    Ok(number)
}

/// What one revision did to one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub key: &'a str,
    /// None: the key was deleted.
    pub value: Option<&'a [u8]>,
    pub create_revision: Revision,
    /// The record this one replaced, 0 for a new key. Reads at revisions from this one on do not need it any more.
    pub previous: Revision,
}

/// Tag, create revision, previous revision, length of the key.
const HEADER: usize = 1 + 8 + 8 + 4;
const TAG_DELETED: u8 = 0;
const TAG_VALUE: u8 = 1;

impl<'a> Record<'a> {
    pub fn encode(&self) -> Vec<u8> {
        let value = self.value.unwrap_or_default();
        let mut out = Vec::with_capacity(HEADER + self.key.len() + value.len());
        out.push(if self.value.is_some() { TAG_VALUE } else { TAG_DELETED });
        out.extend_from_slice(&self.create_revision.to_le_bytes());
        out.extend_from_slice(&self.previous.to_le_bytes());
        out.extend_from_slice(&u32::try_from(self.key.len()).expect("a key is shorter than 4 GiB").to_le_bytes());
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(value);
        out
    }

    pub fn decode(bytes: &'a [u8]) -> anyhow::Result<Self> {
        let (header, rest) = bytes.split_at_checked(HEADER).context("a record is too short")?;
        let number = |at: usize| i64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        let length = u32::from_le_bytes(header[17..HEADER].try_into().expect("four bytes")) as usize;
        ensure!(matches!(header[0], TAG_DELETED | TAG_VALUE), "a record has the unknown tag {}", header[0]);
        let (key, value) = rest.split_at_checked(length).context("a record's key is cut off")?;
        Ok(Self {
            key: std::str::from_utf8(key).context("a record's key is no UTF-8")?,
            value: (header[0] == TAG_VALUE).then_some(value),
            create_revision: number(1),
            previous: number(9),
        })
    }

    /// The state this record left behind, none after a deletion.
    pub fn state(&self, revision: Revision) -> Option<KeyValue> {
        self.value.map(|value| KeyValue {
            key: self.key.to_owned(),
            value: Bytes::copy_from_slice(value),
            create_revision: self.create_revision,
            mod_revision: revision,
            stale: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_encoding() {
        for value in [None, Some(&b""[..]), Some(&b"{}"[..])] {
            let record = Record { key: "/registry/pods/a/b", value, create_revision: 3, previous: 9 };
            let bytes = record.encode();
            assert_eq!(Record::decode(&bytes).unwrap(), record);
            assert_eq!(
                record.state(11).map(|kv| (kv.mod_revision, kv.value)),
                value.map(|v| (11, Bytes::from_static(v)))
            );
        }
    }

    #[test]
    fn broken_records_are_errors() {
        let good = Record { key: "/a", value: Some(b"v"), create_revision: 1, previous: 0 }.encode();
        for cut in 0..HEADER + 2 {
            assert!(Record::decode(&good[..cut]).is_err(), "{cut}");
        }
        assert!(Record::decode(&[9; 40]).is_err());
    }
}
