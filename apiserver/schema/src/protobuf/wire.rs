//! The protobuf wire format: tags, varints, length-delimited fields.

use super::ProtoError;

/// Appends fields to a message.
#[derive(Default)]
pub(crate) struct Writer(pub Vec<u8>);

impl Writer {
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn tag(&mut self, number: u32, kind: u64) {
        self.varint(u64::from(number) << 3 | kind);
    }

    pub fn integer(&mut self, number: u32, value: i64) {
        self.tag(number, 0);
        // Negative numbers take ten bytes, as proto2's int32 and int64 do.
        self.varint(value.cast_unsigned());
    }

    pub fn double(&mut self, number: u32, value: f64) {
        self.tag(number, 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub fn bytes(&mut self, number: u32, value: &[u8]) {
        self.tag(number, 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// A nested message. It is written in place; the length is put in front afterwards.
    pub fn message<E>(&mut self, number: u32, body: impl FnOnce(&mut Self) -> Result<(), E>) -> Result<(), E> {
        self.tag(number, 2);
        let start = self.0.len();
        body(self)?;
        let length = self.0.len() - start;
        let mut prefix = Self::default();
        prefix.varint(length as u64);
        self.0.splice(start..start, prefix.0);
        Ok(())
    }
}

/// The tag and length in front of a length-delimited field.
pub(crate) fn prefix(number: u32, length: usize) -> Vec<u8> {
    let mut out = Writer::default();
    out.tag(number, 2);
    out.varint(length as u64);
    out.0
}

/// One field of a message.
pub(crate) enum Item<'a> {
    Integer(u64),
    Double(f64),
    Bytes(&'a [u8]),
}

impl<'a> Item<'a> {
    pub fn integer(&self) -> Result<i64, ProtoError> {
        match self {
            Self::Integer(value) => Ok(value.cast_signed()),
            _ => Err(malformed("wrong wire type for an integer")),
        }
    }

    pub fn bytes(&self) -> Result<&'a [u8], ProtoError> {
        match self {
            Self::Bytes(value) => Ok(value),
            _ => Err(malformed("wrong wire type for bytes")),
        }
    }

    pub fn text(&self) -> Result<&'a str, ProtoError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| malformed("invalid UTF-8 in a string"))
    }
}

pub(crate) fn malformed(what: &str) -> ProtoError {
    ProtoError::Malformed(format!("proto: {what}"))
}

/// Reads a message field by field.
pub(crate) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Result<u64, ProtoError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let (first, rest) = self.0.split_first().ok_or_else(|| malformed("unexpected EOF"))?;
            self.0 = rest;
            value |= u64::from(first & 0x7f).checked_shl(shift).unwrap_or_default();
            if first & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(malformed("integer overflow"))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], ProtoError> {
        let length = usize::try_from(length).ok().filter(|length| *length <= self.0.len());
        let (taken, rest) = self.0.split_at(length.ok_or_else(|| malformed("unexpected EOF"))?);
        self.0 = rest;
        Ok(taken)
    }

    /// The next field's number and content; None at the end.
    pub fn next(&mut self) -> Result<Option<(u32, Item<'a>)>, ProtoError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| malformed("illegal tag"))?;
        let item = match tag & 7 {
            0 => Item::Integer(self.varint()?),
            1 => Item::Double(f64::from_le_bytes(self.take(8)?.try_into().map_err(|_| malformed("unexpected EOF"))?)),
            2 => {
                let length = self.varint()?;
                Item::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Item::Integer(0)
            }
            _ => return Err(malformed("illegal wireType")),
        };
        Ok(Some((number, item)))
    }
}
