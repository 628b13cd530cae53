//! Node ports: one bit each, in one RangeAllocation object in the store, as upstream's port allocator keeps them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::app::text;
use crate::http::answer::to_json;
use crate::http::status::{ApiError, ApiResult};
use crate::options::PortRange;

/// Where upstream keeps it.
pub const KEY: &str = "/registry/ranges/servicenodeports";

/// Which ports of a range are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    range: PortRange,
    taken: Vec<bool>,
}

impl Ports {
    /// Reads the stored object; nothing is taken where there is none. A bit's place is its distance from the first port.
    /// Of another range (the flag has changed) only the ports that lie in this one are kept.
    ///
    /// # Errors
    /// What is stored is no RangeAllocation.
    pub fn read(range: PortRange, stored: Option<&[u8]>) -> ApiResult<Self> {
        let mut this = Self { range, taken: vec![false; usize::from(range.last - range.first) + 1] };
        let Some(stored) = stored else { return Ok(this) };
        let object: Value = serde_json::from_slice(stored).map_err(ApiError::internal)?;
        let then: PortRange = text(&object, "/range").parse().map_err(ApiError::internal)?;
        // The bytes of one large number, the most significant first.
        let mut number = BASE64_STANDARD.decode(text(&object, "/data")).map_err(ApiError::internal)?;
        number.reverse();
        for (at, port) in (then.first..=then.last).enumerate() {
            if number.get(at / 8).copied().unwrap_or(0) >> (at % 8) & 1 == 1 {
                this.mark(port);
            }
        }
        Ok(this)
    }

    pub fn write(&self) -> Bytes {
        let mut number: Vec<u8> = self
            .taken
            .chunks(8)
            .map(|bits| bits.iter().enumerate().fold(0, |byte, (at, bit)| byte | u8::from(*bit) << at))
            .collect();
        number.reverse();
        let data = BASE64_STANDARD.encode(&number);
        to_json(&json!({
            "kind": "RangeAllocation", "apiVersion": "v1", "metadata": { "creationTimestamp": null },
            "range": self.range.to_string(), "data": data,
        }))
    }

    fn at(&self, port: u64) -> Option<usize> {
        let offset = usize::try_from(port.checked_sub(self.range.first.into())?).ok()?;
        (offset < self.taken.len()).then_some(offset)
    }

    /// Takes the asked port, or a free one for 0.
    pub fn take(&mut self, asked: u64) -> Result<u16, String> {
        let at = if asked == 0 {
            self.free_place().ok_or("range is full")?
        } else {
            let range = self.range;
            let outside = || format!("provided port is not in the valid range. The range of valid ports is {range}");
            let at = self.at(asked).ok_or_else(outside)?;
            if self.taken[at] {
                return Err("provided port is already allocated".to_owned());
            }
            at
        };
        self.taken[at] = true;
        Ok(self.range.first + u16::try_from(at).expect("a place within a range of ports"))
    }

    /// A random free place, in the upper part if there is one: the lower is left to those who ask for a certain port
    /// (KEP-3668).
    fn free_place(&self) -> Option<usize> {
        let size = self.taken.len();
        let lower = if size < 16 { 0 } else { (size / 32).clamp(16, 128) };
        let random = usize::from(u16::from_le_bytes(uuid::Uuid::new_v4().as_bytes()[..2].try_into().ok()?));
        let free = |from: usize, to: usize| {
            let start = from + random % (to - from).max(1);
            (start..to).chain(from..start).find(|at| !self.taken[*at])
        };
        free(lower, size).or_else(|| free(0, lower))
    }

    pub fn free(&mut self, port: u16) {
        if let Some(at) = self.at(port.into()) {
            self.taken[at] = false;
        }
    }

    /// Makes sure that the port is taken, if it is one of these.
    pub fn mark(&mut self, port: u16) {
        if let Some(at) = self.at(port.into()) {
            self.taken[at] = true;
        }
    }

    pub fn taken(&self) -> impl Iterator<Item = u16> {
        (self.range.first..=self.range.last).zip(&self.taken).filter_map(|(port, taken)| taken.then_some(port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports() -> Ports {
        Ports::read("30000-32767".parse().unwrap(), None).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut all = ports();
        for port in [30000, 30008, 32767] {
            assert_eq!(all.take(port), Ok(u16::try_from(port).unwrap()));
        }
        assert_eq!(all.take(30008), Err("provided port is already allocated".to_owned()));
        let again = Ports::read("30000-32767".parse().unwrap(), Some(&all.write())).unwrap();
        assert_eq!(again, all);
        assert_eq!(again.taken().collect::<Vec<_>>(), [30000, 30008, 32767]);
        let narrower = Ports::read("30008-32000".parse().unwrap(), Some(&all.write())).unwrap();
        assert_eq!(narrower.taken().collect::<Vec<_>>(), [30008]);
    }

    #[test]
    fn every_port_is_handed_out_once() {
        let mut all = Ports::read("30000-30099".parse().unwrap(), None).unwrap();
        let mut seen: Vec<u16> = (0..100).map(|_| all.take(0).unwrap()).collect();
        assert!(seen[..84].iter().all(|port| *port >= 30016), "the lower part comes last");
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 100);
        assert_eq!(all.take(0), Err("range is full".to_owned()));
        all.free(30050);
        assert_eq!(all.take(0), Ok(30050));
    }
}
