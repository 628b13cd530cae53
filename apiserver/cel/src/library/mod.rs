//! The libraries Kubernetes v1.35 adds to CEL (`apiserver/pkg/cel/library`, `cel-go/ext`), each a table of functions.

mod authz;
mod lists;
mod named_format;
mod net;
mod optional;
mod quantity;
mod regex;
mod semver;
mod strings;
mod url;

use std::{fmt, net::IpAddr, sync::Arc};

pub(crate) use self::regex::compile as compile_regex;
pub use self::{
    authz::{Authorizer, Check, Decision, Subject},
    named_format::NamedFormat,
    net::Cidr,
    semver::Semver,
    url::{Url, unreadable as unreadable_url},
};
use crate::{decl::Row, time};

pub(crate) fn tables() -> impl Iterator<Item = &'static [Row]> {
    [
        time::ROWS,
        strings::ROWS,
        lists::ROWS,
        regex::ROWS,
        url::ROWS,
        quantity::ROWS,
        net::ROWS,
        named_format::ROWS,
        semver::ROWS,
        optional::ROWS,
        authz::ROWS,
    ]
    .into_iter()
}

/// A value of a library's type.
#[derive(Clone, Debug)]
pub enum Extension<'a> {
    Url(Arc<Url>),
    Quantity(schema::quantity::Quantity),
    Ip(IpAddr),
    Cidr(Cidr),
    Format(&'static NamedFormat),
    Semver(Arc<Semver>),
    Authorizer(Subject<'a>),
    PathCheck(Subject<'a>),
    GroupCheck(Subject<'a>),
    ResourceCheck(Subject<'a>),
    Decision(Arc<Decision>),
}

impl Extension<'_> {
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Url(_) => "kubernetes.URL",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Authorizer(_) => "kubernetes.authorization.Authorizer",
            Self::PathCheck(_) => "kubernetes.authorization.PathCheck",
            Self::GroupCheck(_) => "kubernetes.authorization.GroupCheck",
            Self::ResourceCheck(_) => "kubernetes.authorization.ResourceCheck",
            Self::Decision(_) => "kubernetes.authorization.Decision",
        }
    }

    /// The size costs are measured by; `None` for most.
    pub(crate) fn size(&self) -> Option<u64> {
        match self {
            Self::Ip(address) => Some(if address.is_ipv4() { 4 } else { 16 }),
            Self::Cidr(cidr) => Some(u64::from(cidr.length).div_ceil(8)),
            _ => None,
        }
    }

    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a), Self::Cidr(b)) => a == b,
            (Self::Format(a), Self::Format(b)) => a.name == b.name,
            (Self::Semver(a), Self::Semver(b)) => a.cmp(b).is_eq(),
            (Self::Decision(a), Self::Decision(b)) => a == b,
            _ => false,
        }
    }
}

impl fmt::Display for Extension<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(&url.text),
            Self::Quantity(quantity) => write!(f, "{quantity}"),
            Self::Ip(address) => write!(f, "{address}"),
            Self::Cidr(cidr) => write!(f, "{}/{}", cidr.address, cidr.length),
            other => f.write_str(other.type_name()),
        }
    }
}
