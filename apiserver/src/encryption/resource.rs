//! Resources as the file names them: `secrets`, `deployments.apps`, `*.`, `*.apps`, `*.*`.

use std::fmt;

/// `*` is any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupResource<'a> {
    pub group: &'a str,
    pub resource: &'a str,
}

impl<'a> GroupResource<'a> {
    pub const EVERYTHING: Self = Self { group: "*", resource: "*" };

    #[must_use]
    pub fn parse(text: &'a str) -> Self {
        let (resource, group) = text.split_once('.').unwrap_or((text, ""));
        Self { group, resource }
    }

    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::EVERYTHING
    }

    /// All of the group.
    #[must_use]
    pub fn whole_group(&self) -> Self {
        Self { resource: "*", ..*self }
    }
}

/// As it is written.
impl fmt::Display for GroupResource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.resource, self.group) {
            ("*", "") => f.write_str("*."),
            (resource, "") => f.write_str(resource),
            (resource, group) => write!(f, "{resource}.{group}"),
        }
    }
}
