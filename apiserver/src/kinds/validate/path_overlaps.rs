//! Files of one volume that are in each other's way: two of one path, or one that is another's folder
//! (`warningsForOverlappingVirtualPaths`).

use serde_json::Value;

use super::super::json::Json;

/// A path in a volume, and what is put there.
#[derive(PartialEq)]
struct File<'a> {
    path: &'a str,
    /// Empty where the whole volume has one source.
    source: String,
}

impl std::fmt::Display for File<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.source.as_str() {
            "" => write!(f, "{:?}", self.path),
            source => write!(f, "{:?} ({source})", self.path),
        }
    }
}

fn below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn items<'a>(source: &'a Value, called: &str) -> Vec<File<'a>> {
    source.list("items").iter().map(|item| File { path: item.text("path"), source: called.to_owned() }).collect()
}

/// What one source of a projected volume puts into it.
fn projection(source: &Value) -> Vec<File<'_>> {
    let named = |kind: &str, name: &str| format!("{kind} {name:?}");
    let one = |path, source: &str| File { path, source: source.to_owned() };
    for (field, kind) in [("configMap", "ConfigMap"), ("secret", "Secret")] {
        if source.at(field).has("items") {
            return items(source.at(field), &named(kind, source.at(field).text("name")));
        }
    }
    if source.has("downwardAPI.items") {
        return items(source.at("downwardAPI"), "DownwardAPI");
    }
    if source.has("serviceAccountToken") {
        return vec![one(source.text("serviceAccountToken.path"), "ServiceAccountToken")];
    }
    if source.has("clusterTrustBundle") {
        let bundle = source.at("clusterTrustBundle");
        let name = if bundle.has("name") { bundle.text("name") } else { bundle.text("signerName") };
        return vec![one(bundle.text("path"), &named("ClusterTrustBundle", name))];
    }
    let certificate = source.at("podCertificate");
    let parts = [
        ("certificateChainPath", "PodCertificate chain"),
        ("keyPath", "PodCertificate key"),
        ("credentialBundlePath", "PodCertificate credential bundle"),
    ];
    parts.map(|(field, what)| one(certificate.text(field), what)).into_iter().filter(|f| !f.path.is_empty()).collect()
}

/// Warns of files that are in the way of one before them.
fn overlaps(warnings: &mut Vec<String>, volume: &str, kind: &str, files: Vec<File<'_>>) {
    let mut before: Vec<File<'_>> = Vec::new();
    for mut file in files {
        file.path = file.path.trim_end_matches('/');
        let clash = |other: &&File<'_>| below(other.path, file.path) || below(file.path, other.path);
        for other in before.iter().filter(|other| !other.path.is_empty() && !file.path.is_empty()).filter(clash) {
            warnings.push(format!("volume {volume:?} ({kind}): overlapping paths: {file} with {other}"));
        }
        before.push(file);
    }
}

/// Warnings of one volume.
pub fn volume(warnings: &mut Vec<String>, volume: &Value) {
    let name = volume.text("name");
    for (field, kind, called) in [("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")] {
        let source = volume.at(field);
        overlaps(warnings, name, &format!("{kind} {:?}", source.text(called)), items(source, ""));
    }
    overlaps(warnings, name, "DownwardAPI", items(volume.at("downwardAPI"), ""));
    let mut files = Vec::new();
    for source in volume.list("projected.sources") {
        // A source that says nothing is none.
        if !source.entries("").values().any(Value::is_object) {
            warnings.push(format!("volume {name:?} (Projected) has no sources provided"));
        }
        files.extend(projection(source));
    }
    overlaps(warnings, name, "Projected", files);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn files_in_each_others_way() {
        let paths =
            |paths: &[&str]| json!(paths.iter().map(|path| json!({"key": "k", "path": path})).collect::<Vec<_>>());
        let bundle = |path: &str| json!({"clusterTrustBundle": {"signerName": "s/t", "path": path}});
        let cases = [
            (json!({"configMap": {"name": "c", "items": paths(&["a", "b", "ab/c"])}}), vec![]),
            (
                json!({"configMap": {"name": "c", "items": paths(&["a", "a/b/", "a"])}}),
                vec![
                    "volume \"v\" (ConfigMap \"c\"): overlapping paths: \"a/b\" with \"a\"",
                    "volume \"v\" (ConfigMap \"c\"): overlapping paths: \"a\" with \"a\"",
                    "volume \"v\" (ConfigMap \"c\"): overlapping paths: \"a\" with \"a/b\"",
                ],
            ),
            (
                json!({"secret": {"secretName": "s", "items": paths(&["x/y", "x"])}}),
                vec!["volume \"v\" (Secret \"s\"): overlapping paths: \"x\" with \"x/y\""],
            ),
            (
                json!({"projected": {"sources": [{"secret": {"name": "s", "items": paths(&["ca"])}}, {},
                    {"serviceAccountToken": {"path": "token"}}, bundle("ca/x"), {"podCertificate": {"keyPath": "token"}}]}}),
                vec![
                    "volume \"v\" (Projected) has no sources provided",
                    "volume \"v\" (Projected): overlapping paths: \"ca/x\" (ClusterTrustBundle \"s/t\") with \"ca\" (Secret \"s\")",
                    "volume \"v\" (Projected): overlapping paths: \"token\" (PodCertificate key) with \"token\" (ServiceAccountToken)",
                ],
            ),
        ];
        for (mut source, expected) in cases {
            source["name"] = "v".into();
            let mut warnings = Vec::new();
            volume(&mut warnings, &source);
            assert_eq!(warnings, expected);
        }
    }
}
