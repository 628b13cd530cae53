//! What only Go's struct tags know: inlined structs, pointers, what is left out when empty, patch strategies.

use std::{collections::BTreeMap, fs, io, path::Path};

#[derive(Debug, Default)]
pub struct Struct {
    /// Has an inlined TypeMeta: it is a kind.
    pub kind: bool,
    /// By protobuf field number.
    pub fields: BTreeMap<u32, Tags>,
}

#[derive(Clone, Debug, Default)]
pub struct Tags {
    pub json: String,
    pub inline: bool,
    pub pointer: bool,
    pub omit_empty: bool,
    pub omit_zero: bool,
    pub patch_strategy: String,
    pub patch_merge_key: String,
}

pub fn read(folder: &Path) -> io::Result<BTreeMap<String, Struct>> {
    let mut structs = BTreeMap::new();
    let mut files: Vec<_> = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    for file in files {
        let name = file.file_name().to_string_lossy().into_owned();
        let generated = name.starts_with("zz_") || name.starts_with("generated") || name.ends_with("_test.go");
        if name.ends_with(".go") && !generated {
            parse(&fs::read_to_string(file.path())?, &mut structs);
        }
    }
    Ok(structs)
}

fn parse(text: &str, structs: &mut BTreeMap<String, Struct>) {
    let mut current: Option<String> = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("type ").and_then(|rest| rest.strip_suffix(" struct {")) {
            current = Some(name.to_owned());
            structs.entry(name.to_owned()).or_default();
        } else if line.starts_with('}') {
            current = None;
        } else if let Some(name) = &current
            && let Some(entry) = structs.get_mut(name)
        {
            field(line.trim(), entry);
        }
    }
}

fn field(line: &str, owner: &mut Struct) {
    if line.starts_with("//") {
        return;
    }
    let Some((declaration, tags)) = line.split_once('`') else { return };
    let tags = tags.split('`').next().unwrap_or_default();
    let words: Vec<&str> = declaration.split_whitespace().collect();
    let json = tag(tags, "json").unwrap_or_default();
    let mut options = json.split(',');
    let name = options.next().unwrap_or_default().to_owned();
    let options: Vec<&str> = options.collect();
    if words.first().is_some_and(|word| word.ends_with("TypeMeta")) {
        owner.kind = true;
        return;
    }
    let Some(number) = tag(tags, "protobuf").and_then(|tag| tag.split(',').nth(1)?.parse().ok()) else { return };
    owner.fields.insert(
        number,
        Tags {
            inline: name.is_empty() && words.len() == 1,
            json: name,
            pointer: words.last().is_some_and(|ty| ty.starts_with('*')),
            omit_empty: options.contains(&"omitempty"),
            omit_zero: options.contains(&"omitzero"),
            patch_strategy: tag(tags, "patchStrategy").unwrap_or_default().to_owned(),
            patch_merge_key: tag(tags, "patchMergeKey").unwrap_or_default().to_owned(),
        },
    );
}

fn tag<'a>(tags: &'a str, name: &str) -> Option<&'a str> {
    let start = tags.find(&format!("{name}:\""))? + name.len() + 2;
    tags[start..].split('"').next()
}
