//! What only Go's struct tags know: inlined structs, pointers, what is left out when empty, patch strategies.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use crate::enums;

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
    /// As Go's reflection names it, pointers left out: `v1.PodPhase`, `map[string]string`, `[]v1.Container`.
    pub ty: String,
}

/// What a file calls the packages it imports, and what they call themselves; the one it belongs to goes by no name.
type Imports = BTreeMap<String, String>;

/// Values of a string type that is marked `+enum`.
pub type Enum = BTreeSet<String>;

#[derive(Debug, Default)]
pub struct Package {
    pub structs: BTreeMap<String, Struct>,
    pub enums: BTreeMap<String, Enum>,
    /// `type A = B`: to reflection there is only B.
    aliases: BTreeMap<String, String>,
}

pub fn read(folder: &Path) -> io::Result<Package> {
    let mut found = Package::default();
    let package = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut files: Vec<_> = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    let mut texts = Vec::new();
    for file in files {
        let name = file.file_name().to_string_lossy().into_owned();
        let generated = name.starts_with("zz_") || name.starts_with("generated") || name.ends_with("_test.go");
        if name.ends_with(".go") && !generated {
            texts.push(fs::read_to_string(file.path())?);
        }
    }
    for text in &texts {
        parse(text, &package, &mut found);
        enums::types(text, &mut found.enums);
    }
    // A type may be in one file and its values in another.
    for text in &texts {
        enums::values(text, &mut found.enums);
    }
    for field in found.structs.values_mut().flat_map(|owner| owner.fields.values_mut()) {
        let at = field.ty.rfind(']').map_or(0, |at| at + 1);
        if let Some(target) = found.aliases.get(&field.ty[at..]) {
            field.ty.replace_range(at.., target);
        }
    }
    Ok(found)
}

fn parse(text: &str, package: &str, found: &mut Package) {
    let mut current: Option<String> = None;
    let mut imports = imports(text);
    imports.insert(String::new(), package.to_owned());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("type ").and_then(|rest| rest.strip_suffix(" struct {")) {
            current = Some(name.to_owned());
            found.structs.entry(name.to_owned()).or_default();
        } else if let Some((name, target)) = line.strip_prefix("type ").and_then(|rest| rest.split_once(" = ")) {
            found.aliases.insert(full(name, &imports), full(target, &imports));
        } else if line.starts_with('}') {
            current = None;
        } else if let Some(name) = &current
            && let Some(entry) = found.structs.get_mut(name)
        {
            field(line.trim(), &imports, entry);
        }
    }
}

fn imports(text: &str) -> Imports {
    let lines =
        text.lines().skip_while(|line| !line.starts_with("import ")).take_while(|line| !line.starts_with("type "));
    let import = |line: &str| {
        let (name, path) = line.trim().trim_start_matches("import ").trim_end_matches('"').split_once('"')?;
        let package = path.rsplit('/').next().unwrap_or_default().to_owned();
        Some((if name.is_empty() { package.clone() } else { name.trim().to_owned() }, package))
    };
    lines.filter_map(import).collect()
}

/// A type of the source with the real names of packages; basic types and the insides of structs have none.
fn full(ty: &str, imports: &Imports) -> String {
    if let Some(rest) = ty.strip_prefix('*') {
        return full(rest, imports);
    }
    if let Some(items) = ty.strip_prefix("[]") {
        return format!("[]{}", full(items, imports));
    }
    if let Some((key, value)) = ty.strip_prefix("map[").and_then(|rest| rest.split_once(']')) {
        return format!("map[{}]{}", full(key, imports), full(value, imports));
    }
    let (package, name) = ty.split_once('.').unwrap_or(("", ty));
    match imports.get(package) {
        Some(package) if name.starts_with(char::is_uppercase) => format!("{package}.{name}"),
        _ if name == "byte" => "uint8".to_owned(),
        _ => name.to_owned(),
    }
}

fn field(line: &str, imports: &Imports, owner: &mut Struct) {
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
            ty: words.last().map(|ty| full(ty, imports)).unwrap_or_default(),
        },
    );
}

fn tag<'a>(tags: &'a str, name: &str) -> Option<&'a str> {
    let start = tags.find(&format!("{name}:\""))? + name.len() + 2;
    tags[start..].split('"').next()
}
