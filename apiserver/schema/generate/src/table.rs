//! The tables as text. `types.txt`, one type a paragraph:
//!
//! ```text
//! api.apps.v1.Deployment apps/v1          name without `io.k8s.`; the API version if it is a kind; `atomic`
//!  spec 2 api.apps.v1.DeploymentSpec o    name, number, type ([]T, {}T), flags, then attributes
//! ```
//! Flags: `r` required, `p` pointer, `o` omitempty, `z` omitzero, `i` inlined, `-` none. Attributes: `lt=` list type,
//! `lk=` list map keys, `mt=` map type, `st=` struct type, `ps=` patch strategy, `pk=` patch merge key, `d=` default, `g=` Go's name of the
//! type where it is not the one that follows from `type` (`v1.PodPhase` for `string`).
//!
//! `enums.txt`, one type of a few values a paragraph:
//!
//! ```text
//! api.core.v1.Protocol
//!  SCTP
//! ```

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{go, proto};

pub struct Package {
    pub path: &'static str,
    pub group: &'static str,
    pub messages: Vec<proto::Message>,
    pub structs: BTreeMap<String, go::Struct>,
    pub enums: BTreeMap<String, go::Enum>,
}

impl Package {
    fn name(&self) -> String {
        dotted(&self.path.replace('/', "."))
    }

    fn version(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

fn dotted(path: &str) -> String {
    path.replace("apiextensions_apiserver", "apiextensions-apiserver").replace("kube_aggregator", "kube-aggregator")
}

pub fn types(packages: &[Package]) -> String {
    let mut out = String::new();
    for package in packages {
        let name = package.name();
        for message in &package.messages {
            let go = package.structs.get(&message.name);
            let _ = write!(out, "{name}.{}", message.name);
            if go.is_some_and(|go| go.kind) {
                let group = if package.group.is_empty() { String::new() } else { format!("{}/", package.group) };
                let _ = write!(out, " {group}{}", package.version());
            }
            if marker(&message.doc, "structType") == ["atomic"] {
                out.push_str(" atomic");
            }
            out.push('\n');
            for field in &message.fields {
                let tags = go.and_then(|go| go.fields.get(&field.number).cloned()).unwrap_or_default();
                line(&mut out, &name, field, &tags);
            }
        }
    }
    out
}

/// See above; types whose values nobody has named stay out.
pub fn enums(packages: &[Package]) -> String {
    let mut out = String::new();
    for package in packages {
        for (name, values) in package.enums.iter().filter(|(_, values)| !values.is_empty()) {
            let _ = writeln!(out, "{}.{name}", package.name());
            for value in values {
                let _ = writeln!(out, " {value}");
            }
        }
    }
    out
}

fn line(out: &mut String, package: &str, field: &proto::Field, tags: &go::Tags) {
    let prefix = if field.repeated {
        "[]"
    } else if field.map {
        "{}"
    } else {
        ""
    };
    let ty = if let Some(full) = field.ty.strip_prefix('.') {
        dotted(full)
    } else if field.ty.starts_with(|c: char| c.is_ascii_uppercase()) {
        format!("{package}.{}", field.ty)
    } else {
        field.ty.clone()
    };
    let optional = has(&field.doc, "optional") || has(&field.doc, "k8s:optional");
    let required = has(&field.doc, "required") || has(&field.doc, "k8s:required");
    let shown = !tags.omit_empty && !tags.omit_zero && !tags.inline && !optional;
    let mut flags = String::new();
    for (set, flag) in [
        (required || shown, 'r'),
        (tags.pointer, 'p'),
        (tags.omit_empty, 'o'),
        (tags.omit_zero, 'z'),
        (tags.inline, 'i'),
    ] {
        if set {
            flags.push(flag);
        }
    }
    if flags.is_empty() {
        flags.push('-');
    }
    let name = if tags.json.is_empty() { &field.name } else { &tags.json };
    let _ = write!(out, " {name} {} {prefix}{ty} {flags}", field.number);
    let attributes = [
        ("lt", marker(&field.doc, "listType").join(",")),
        ("lk", marker(&field.doc, "listMapKey").join(",")),
        ("mt", marker(&field.doc, "mapType").join(",")),
        ("st", marker(&field.doc, "structType").join(",")),
        ("ps", tags.patch_strategy.clone()),
        ("pk", tags.patch_merge_key.clone()),
        ("d", marker(&field.doc, "default").first().map(|value| constant(value).to_owned()).unwrap_or_default()),
        ("g", if tags.inline || tags.ty == go_type(field, &ty) { String::new() } else { tags.ty.clone() }),
    ];
    for (key, value) in attributes {
        if !value.is_empty() {
            let _ = write!(out, " {key}={value}");
        }
    }
    out.push('\n');
}

/// Go's name of a field's type, as far as the wire form tells.
fn go_type(field: &proto::Field, ty: &str) -> String {
    let item = match ty {
        "double" => "float64".to_owned(),
        "bytes" => "[]uint8".to_owned(),
        _ => {
            let mut parts = ty.rsplit('.');
            let name = parts.next().unwrap_or_default();
            parts.next().map_or(name.to_owned(), |package| format!("{package}.{name}"))
        }
    };
    match (field.repeated, field.map) {
        (true, _) => format!("[]{item}"),
        (_, true) => format!("map[string]{item}"),
        _ => item,
    }
}

/// The two defaults that upstream gives by the name of a Go constant.
fn constant(value: &str) -> &str {
    match value {
        "ref(AzureDataDiskCachingReadWrite)" => "\"ReadWrite\"",
        "ref(AzureSharedBlobDisk)" => "\"Shared\"",
        literal => literal,
    }
}

fn has(doc: &[String], name: &str) -> bool {
    doc.iter().any(|line| line.trim().strip_prefix('+') == Some(name))
}

fn marker<'a>(doc: &'a [String], name: &str) -> Vec<&'a str> {
    doc.iter().filter_map(|line| line.trim().strip_prefix('+')?.strip_prefix(name)?.strip_prefix('=')).collect()
}
