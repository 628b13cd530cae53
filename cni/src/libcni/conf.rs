//! Network configuration lists, found and merged as libcni does.

use std::path::Path;

use serde_json::{Value, json};

/// A parsed `*.conflist`, or a `*.conf` as a list of one.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkList {
    pub name: String,
    pub version: String,
    pub disable_check: bool,
    pub plugins: Vec<Value>,
    /// The file's own words, for the cache.
    pub raw: Value,
}

impl NetworkList {
    /// Reads a list or a single plugin's configuration; `None` when it is neither.
    #[must_use]
    pub fn parse(raw: Value) -> Option<Self> {
        let plugins = match raw.get("plugins") {
            Some(plugins) => plugins.as_array()?.clone(),
            None => vec![raw.clone()],
        };
        if plugins.is_empty() || plugins.iter().any(|plugin| plugin["type"].as_str().is_none_or(str::is_empty)) {
            return None;
        }
        Some(Self {
            name: raw["name"].as_str()?.to_owned(),
            version: raw["cniVersion"].as_str().unwrap_or("0.1.0").to_owned(),
            disable_check: raw["disableCheck"].as_bool().unwrap_or(false),
            plugins,
            raw,
        })
    }

    /// What one plugin of the list gets on standard input.
    #[must_use]
    pub fn plugin_config(&self, plugin: &Value, runtime: &Value, previous: Option<&Value>) -> Value {
        let mut config = plugin.clone();
        config["name"] = json!(self.name);
        config["cniVersion"] = json!(self.version);
        let wanted: serde_json::Map<String, Value> = plugin["capabilities"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, on)| **on == json!(true))
            .filter_map(|(name, _)| Some((name.clone(), runtime.get(name)?.clone())))
            .collect();
        if !wanted.is_empty() {
            config["runtimeConfig"] = Value::Object(wanted);
        }
        if let Some(previous) = previous {
            config["prevResult"] = previous.clone();
        }
        config
    }
}

/// The first usable configuration of a folder, by file name.
#[must_use]
pub fn first(dir: &Path) -> Option<NetworkList> {
    let mut files: Vec<_> = std::fs::read_dir(dir).ok()?.flatten().map(|file| file.path()).collect();
    files.retain(|path| {
        path.extension().and_then(|end| end.to_str()).is_some_and(|end| ["conflist", "conf", "json"].contains(&end))
    });
    files.sort();
    files.iter().find_map(|path| {
        let parsed = serde_json::from_slice(&std::fs::read(path).ok()?).ok().and_then(NetworkList::parse);
        if parsed.is_none() {
            tracing::warn!(path = %path.display(), "not a CNI network configuration");
        }
        parsed
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> NetworkList {
        let raw = json!({
            "name": "cbr0", "cniVersion": "1.0.0",
            "plugins": [{ "type": "flannel" }, { "type": "portmap", "capabilities": { "portMappings": true, "bandwidth": false } }],
        });
        NetworkList::parse(raw).expect("a list")
    }

    #[test]
    fn a_plugin_gets_what_it_is_capable_of_and_the_previous_result() {
        let list = list();
        let runtime = json!({ "portMappings": [{ "hostPort": 80 }], "bandwidth": {} });
        let first = list.plugin_config(&list.plugins[0], &runtime, None);
        assert_eq!(first, json!({ "type": "flannel", "name": "cbr0", "cniVersion": "1.0.0" }));
        let second = list.plugin_config(&list.plugins[1], &runtime, Some(&json!({ "ips": [] })));
        assert_eq!(second["runtimeConfig"], json!({ "portMappings": [{ "hostPort": 80 }] }));
        assert_eq!(second["prevResult"], json!({ "ips": [] }));
    }

    #[test]
    fn the_first_usable_file_by_name_wins() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(first(dir.path()), None);
        std::fs::write(dir.path().join("00-broken.conflist"), "{").expect("written");
        std::fs::write(dir.path().join("05-readme.txt"), "{}").expect("written");
        std::fs::write(dir.path().join("20-b.conf"), r#"{"name":"b","type":"bridge"}"#).expect("written");
        std::fs::write(dir.path().join("10-a.conflist"), list().raw.to_string()).expect("written");
        assert_eq!(first(dir.path()).expect("one").name, "cbr0");
        std::fs::remove_file(dir.path().join("10-a.conflist")).expect("removed");
        assert_eq!(first(dir.path()).expect("one").name, "b");
    }
}
