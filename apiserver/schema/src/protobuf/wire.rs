//! The protobuf wire format: tags, varints, length-delimited fields.

use std::borrow::Cow;

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

/// What stands before a field's content.
#[derive(Clone, Copy)]
pub(crate) struct Tag {
    pub number: u32,
    /// How the content is encoded.
    kind: u64,
}

/// In the words of Go's generated code.
pub(crate) fn malformed(what: &str) -> String {
    format!("proto: {what}")
}

fn cut_short() -> String {
    "unexpected EOF".to_owned()
}

/// Reads a message field by field: a tag with [`next`](Self::next), then its content by what it should be, or [`skip`](Self::skip).
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// The message's Go type, for errors.
    name: &'a str,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8], name: &'a str) -> Self {
        Self { rest: bytes, name }
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let (first, rest) = self.rest.split_first().ok_or_else(cut_short)?;
            self.rest = rest;
            value |= u64::from(first & 0x7f).checked_shl(shift).unwrap_or_default();
            if first & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(malformed("integer overflow"))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], String> {
        if i64::try_from(length).is_err() {
            return Err(malformed("negative length found during unmarshaling"));
        }
        let length = usize::try_from(length).ok().filter(|length| *length <= self.rest.len());
        let (taken, rest) = self.rest.split_at(length.ok_or_else(cut_short)?);
        self.rest = rest;
        Ok(taken)
    }

    fn tag(&mut self) -> Result<Option<Tag>, String> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        Ok(Some(Tag { number: (tag >> 3) as u32, kind: tag & 7 }))
    }

    /// The next field; None at the end.
    pub fn next(&mut self) -> Result<Option<Tag>, String> {
        let Some(tag) = self.tag()? else { return Ok(None) };
        if tag.kind == 4 {
            return Err(malformed(&format!("{}: wiretype end group for non-group", self.name)));
        }
        // Go's field numbers are signed.
        let number = tag.number.cast_signed();
        if number <= 0 {
            let whole = u64::from(tag.number) << 3 | tag.kind;
            return Err(malformed(&format!("{}: illegal tag {number} (wire type {whole})", self.name)));
        }
        Ok(Some(tag))
    }

    /// Errs unless the content is encoded as `kind`.
    fn expect(tag: Tag, kind: u64, field: &str) -> Result<(), String> {
        if tag.kind == kind {
            return Ok(());
        }
        Err(malformed(&format!("wrong wireType = {} for field {}", tag.kind, go_field(field))))
    }

    /// `field` is what JSON calls it.
    pub fn integer(&mut self, tag: Tag, field: &str) -> Result<i64, String> {
        Self::expect(tag, 0, field)?;
        self.varint().map(u64::cast_signed)
    }

    pub fn double(&mut self, tag: Tag, field: &str) -> Result<f64, String> {
        Self::expect(tag, 1, field)?;
        let bytes = self.take(8)?.try_into().map_err(|_| cut_short())?;
        Ok(f64::from_le_bytes(bytes))
    }

    pub fn bytes(&mut self, tag: Tag, field: &str) -> Result<&'a [u8], String> {
        Self::expect(tag, 2, field)?;
        self.delimited()
    }

    /// A text; what is no UTF-8 in it is replaced, as Go's JSON shows it.
    pub fn text(&mut self, tag: Tag, field: &str) -> Result<Cow<'a, str>, String> {
        self.bytes(tag, field).map(String::from_utf8_lossy)
    }

    /// Content with a length in front.
    fn delimited(&mut self) -> Result<&'a [u8], String> {
        let length = self.varint()?;
        self.take(length)
    }

    /// Passes over the content: a field of a newer version, as every protobuf reader does.
    pub fn skip(&mut self, tag: Tag) -> Result<(), String> {
        let (mut tag, mut groups) = (tag, 0u32);
        loop {
            match tag.kind {
                0 => drop(self.varint()?),
                1 => drop(self.take(8)?),
                2 => drop(self.delimited()?),
                3 => groups += 1,
                4 => groups = groups.checked_sub(1).ok_or_else(|| malformed("unexpected end of group"))?,
                5 => drop(self.take(4)?),
                kind => return Err(malformed(&format!("illegal wireType {kind}"))),
            }
            if groups == 0 {
                return Ok(());
            }
            tag = self.tag()?.ok_or_else(cut_short)?;
        }
    }
}

/// Words that Go's names write in capitals where JSON's begin with them.
const INITIALISMS: [&str; 35] = [
    "api", "aws", "ca", "cephfs", "cidr", "cpu", "csi", "dns", "fc", "fs", "gce", "gid", "grpc", "http", "id", "io",
    "ip", "ipc", "iscsi", "json", "nfs", "os", "pid", "rbd", "se", "sha", "tcp", "tls", "ttl", "tty", "uid", "uri",
    "url", "uuid", "xfs",
];

/// What Go calls a field that JSON calls `name`.
fn go_field(name: &str) -> String {
    if name == "metadata" {
        return "ObjectMeta".to_owned();
    }
    let end = name.find(|letter: char| !letter.is_ascii_lowercase()).unwrap_or(name.len());
    let (first, rest) = name.split_at(end);
    let capitals = if INITIALISMS.contains(&first) { first.len() } else { 1.min(first.len()) };
    format!("{}{}{rest}", first[..capitals].to_ascii_uppercase(), &first[capitals..])
}
