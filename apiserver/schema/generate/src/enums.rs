//! Types marked `+enum` and their values, as kube-openapi's generator reads them.

use std::collections::BTreeMap;

use crate::go::Enum;

/// Values that are given by the names of other packages' constants.
const ELSEWHERE: [(&str, &str); 2] = [("v1.IPv4Protocol", "IPv4"), ("v1.IPv6Protocol", "IPv6")];

/// Lines that declare something, each with the comment right above it.
fn declarations(text: &str) -> impl Iterator<Item = (String, &str)> {
    let mut comment: Vec<&str> = Vec::new();
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if let Some(words) = line.strip_prefix("//") {
            comment.push(words.trim());
            return None;
        }
        let above = std::mem::take(&mut comment);
        Some((above.join("\n"), line))
    })
}

pub fn types(text: &str, out: &mut BTreeMap<String, Enum>) {
    for (comment, line) in declarations(text) {
        let name = line.strip_prefix("type ").and_then(|rest| rest.strip_suffix(" string"));
        if let Some(name) = name.filter(|_| comment.lines().any(|line| line == "+enum")) {
            out.entry(name.to_owned()).or_default();
        }
    }
}

/// Constants: `Name Type = "value"` or `Name = Type("value")`, after `const` where one stands alone.
pub fn values(text: &str, out: &mut BTreeMap<String, Enum>) {
    for line in text.lines().map(str::trim) {
        let line = line.strip_prefix("const ").unwrap_or(line);
        let Some((declared, rest)) = line.split_once('=') else { continue };
        let ty = match declared.split_whitespace().collect::<Vec<_>>()[..] {
            [_, ty] => ty,
            [_] => rest.trim().split('(').next().unwrap_or_default(),
            _ => continue,
        };
        let elsewhere = ELSEWHERE.iter().find(|(name, _)| rest.contains(name)).map(|(_, value)| *value);
        let (Some(of), Some(value)) = (out.get_mut(ty), rest.split('"').nth(1).or(elsewhere)) else { continue };
        of.insert(value.to_owned());
    }
}
