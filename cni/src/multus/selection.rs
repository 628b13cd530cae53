//! The annotation `k8s.v1.cni.cncf.io/networks`: which networks a pod wants besides the cluster's (pure).
//!
//! Kubernetes Network Custom Resource Definition De-facto Standard v1.3, section 4.1: either a comma-separated list of
//! `[namespace/]name[@interface]`, or a JSON list of objects.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Map, Value};

/// One requested attachment.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Selection {
    pub name: String,
    /// The pod's own when the annotation leaves it out.
    pub namespace: String,
    /// The interface's name in the pod; `net<n>` when left out.
    pub interface: Option<String>,
    pub ips: Vec<String>,
    pub mac: Option<String>,
    #[serde(rename = "cni-args")]
    pub cni_args: Option<Map<String, Value>>,
    #[serde(rename = "default-route")]
    pub default_route: Vec<IpAddr>,
}

/// What is wrong with the annotation; the words are upstream's.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Error {
    #[error("failed to parse pod Network Attachment Selection Annotation JSON format: {0}")]
    Json(String),
    #[error("Invalid network object (failed at '{0}')")]
    Form(char),
    #[error(
        "Failed to parse: one or more items did not match comma-delimited format (must consist of lower case alphanumeric characters). Must start and end with an alphanumeric character), mismatch @ '{0}'"
    )]
    Name(String),
    #[error(
        "Failed to parse interface name: must be less than 15 chars and not contain '/' or spaces. interface name '{0}'"
    )]
    Interface(String),
    #[error("failed to mac: address {0}: invalid MAC address")]
    Mac(String),
    #[error("failed to parse IP address {0:?}")]
    Ip(String),
}

/// Reads the annotation's text; `own` is the pod's namespace.
pub fn parse(text: &str, own: &str) -> Result<Vec<Selection>, Error> {
    let mut all: Vec<Selection> = if text.contains(['[', '{', '"']) {
        serde_json::from_str(text).map_err(|error| Error::Json(error.to_string()))?
    } else {
        text.split(',').map(|item| short(item.trim())).collect::<Result<_, _>>()?
    };
    for selection in &mut all {
        if selection.namespace.is_empty() {
            own.clone_into(&mut selection.namespace);
        }
        if let Some(mac) = selection.mac.as_deref().filter(|mac| !is_mac(mac)) {
            return Err(Error::Mac(mac.to_owned()));
        }
        if let Some(ip) = selection.ips.iter().find(|ip| ip.parse::<IpNet>().is_err() && ip.parse::<IpAddr>().is_err())
        {
            return Err(Error::Ip(ip.clone()));
        }
    }
    Ok(all)
}

fn short(item: &str) -> Result<Selection, Error> {
    let (namespace, rest) = match item.split('/').collect::<Vec<_>>()[..] {
        [namespace, rest] => (namespace.trim(), rest),
        [rest] => ("", rest),
        _ => return Err(Error::Form('/')),
    };
    let (name, interface) = match rest.split('@').collect::<Vec<_>>()[..] {
        [name, interface] => (name.trim(), Some(interface.trim())),
        [name] => (name.trim(), None),
        _ => return Err(Error::Form('@')),
    };
    if let Some(bad) = [namespace, name].into_iter().find(|word| !word.is_empty() && !is_label(word)) {
        return Err(Error::Name(bad.to_owned()));
    }
    // IFNAMSIZ counts the terminating zero.
    let fits = |name: &str| name.len() < 16 && !name.contains(['/', ' ', '\t', '\n']);
    if let Some(bad) = interface.filter(|name| !fits(name)) {
        return Err(Error::Interface(bad.to_owned()));
    }
    let interface = interface.filter(|name| !name.is_empty()).map(str::to_owned);
    Ok(Selection { name: name.to_owned(), namespace: namespace.to_owned(), interface, ..Default::default() })
}

fn is_label(word: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    word.starts_with(inner) && word.ends_with(inner) && word.chars().all(|c| inner(c) || c == '-')
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    parts.len() == 6 && parts.iter().all(|part| part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<(String, String, Option<String>)> {
        let all = parse(text, "own").unwrap();
        all.into_iter().map(|s| (s.namespace, s.name, s.interface)).collect()
    }

    #[test]
    fn both_forms() {
        let owned = |ns: &str, name: &str, interface: Option<&str>| (ns.into(), name.into(), interface.map(Into::into));
        for (text, wanted) in [
            ("a", vec![owned("own", "a", None)]),
            ("a, other/b@eth7", vec![owned("own", "a", None), owned("other", "b", Some("eth7"))]),
            (
                r#"[{"name":"a"},{"name":"b","namespace":"x","interface":"n7"}]"#,
                vec![owned("own", "a", None), owned("x", "b", Some("n7"))],
            ),
        ] {
            assert_eq!(names(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        for (text, words) in [
            ("a/b/c", "Invalid network object (failed at '/')"),
            ("a@b@c", "Invalid network object (failed at '@')"),
            ("Big", "mismatch @ 'Big'"),
            ("a@averylonginterfacename", "interface name 'averylonginterfacename'"),
            ("[{", "failed to parse pod Network Attachment Selection Annotation JSON format"),
            (r#"[{"name":"a","mac":"zz"}]"#, "failed to mac: address zz: invalid MAC address"),
            (r#"[{"name":"a","ips":["1.2.3"]}]"#, "failed to parse IP address \"1.2.3\""),
        ] {
            let error = parse(text, "own").unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
