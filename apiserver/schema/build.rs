//! Collects the descriptions that `kubectl explain` shows from the doc comments of `k8s-openapi`, which carries those of the
//! published API, into one text for the executable's read-only pages: `type<TAB>field<TAB>text` lines, the field empty for the
//! type's own, newlines in the text as `\n`.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The API version, as that crate names its modules.
const VERSION: &str = "v1_35";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../../Cargo.lock");
    let sources = package("k8s-openapi").join("src").join(VERSION);
    assert!(sources.is_dir(), "k8s-openapi has no {VERSION}: {} is not there", sources.display());
    let mut out = String::new();
    collect(&sources, &mut out);
    let file = Path::new(&env::var_os("OUT_DIR").expect("cargo sets it")).join("descriptions.txt");
    fs::write(&file, out).expect("OUT_DIR can be written to");
}

/// Where the source of a package of the lock file is, downloaded or vendored. Not `--offline`: cargo wants all packages of the
/// workspace for its answer, and on a new machine those of the tests alone are not there yet; it fetches them then.
fn package(name: &str) -> PathBuf {
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets it"));
    cargo.args(["metadata", "--format-version=1", "--locked", "--filter-platform"]);
    cargo.arg(env::var_os("TARGET").expect("cargo sets it"));
    let said = cargo.output().expect("cargo runs");
    assert!(said.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&said.stderr));
    let text = String::from_utf8_lossy(&said.stdout);
    // A whole JSON reader only for this would have to be built before everything else.
    let mut manifests = text.split(r#""manifest_path":""#).skip(1).filter_map(|rest| rest.split('"').next());
    let ours = |path: &&str| {
        let folder = Path::new(path).parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let version = folder.strip_prefix(name).map(|rest| rest.strip_prefix('-').unwrap_or(rest));
        version.is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
    };
    let manifest = manifests.find(ours).unwrap_or_else(|| panic!("{name} is not among the packages of the workspace"));
    Path::new(manifest).parent().expect("a manifest lies in a folder").to_owned()
}

fn collect(folder: &Path, out: &mut String) {
    let mut entries: Vec<_> = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, out);
        } else if let Ok(source) = fs::read_to_string(&path) {
            definition(&source, out);
        }
    }
}

/// One file is one definition: its name in the first line, then the struct, then how it is read, where the names of fields are.
fn definition(source: &str, out: &mut String) {
    let Some(name) = source.lines().find_map(|line| line.strip_prefix("// Generated from definition io.k8s.")) else {
        return;
    };
    let names: HashMap<&str, &str> = source
        .lines()
        .filter_map(|line| line.trim().trim_end_matches(',').split_once(" => Field::Key_"))
        .map(|(text, field)| (field, text.trim_matches('"')))
        .collect();
    let mut doc = String::new();
    let mut inside = false;
    for line in source.lines() {
        let text = line.trim();
        if let Some(words) = text.strip_prefix("///") {
            if !doc.is_empty() {
                doc.push_str("\\n");
            }
            // Escaped for rustdoc, as Markdown.
            let words = words.strip_prefix(' ').unwrap_or(words).replace('\t', " ");
            let plain = ["[", "]", "<", ">"].iter().fold(words, |text, c| text.replace(&format!("\\{c}"), c));
            doc.push_str(&plain.replace('\\', "\\\\"));
            continue;
        }
        if text.starts_with("pub struct ") || text.starts_with("pub enum ") {
            inside = text.ends_with('{');
            let _ = writeln!(out, "{name}\t\t{}", std::mem::take(&mut doc));
            if !inside {
                return;
            }
        } else if line == "}" && inside {
            return;
        } else if let Some(field) = text.strip_prefix("pub ").and_then(|rest| rest.split(':').next()) {
            if let Some(json) = names.get(field) {
                let _ = writeln!(out, "{name}\t{json}\t{}", std::mem::take(&mut doc));
            }
            doc.clear();
        } else if !text.starts_with("#[") {
            doc.clear();
        }
    }
}
