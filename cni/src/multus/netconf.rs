//! The plugin's own configuration, and the configurations of its delegates (pure but for reading `confDir`).

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::selection::Selection;
use crate::libcni::NetworkList;

/// What stands in 00-multus.conf, under upstream's names.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetConf {
    #[serde(default)]
    pub cni_version: String,
    pub kubeconfig: PathBuf,
    /// The first is the cluster's network, a plugin's configuration or a list.
    #[serde(default)]
    pub delegates: Vec<Value>,
    #[serde(default = "conf_dir")]
    pub conf_dir: PathBuf,
    #[serde(default = "cni_dir")]
    pub cni_dir: PathBuf,
    #[serde(default)]
    pub bin_dir: Option<PathBuf>,
    /// Whether pods may only use networks of their own namespace.
    #[serde(default)]
    pub namespace_isolation: bool,
    #[serde(default)]
    pub runtime_config: Value,
    #[serde(default, rename = "cni.dev/valid-attachments")]
    pub valid_attachments: Option<Vec<Valid>>,
    /// Not supported: refused rather than ignored.
    #[serde(default)]
    pub cluster_network: String,
}

/// One entry of GC's `cni.dev/valid-attachments`.
#[derive(Debug, Deserialize)]
pub struct Valid {
    #[serde(rename = "containerID")]
    pub container_id: String,
}

fn conf_dir() -> PathBuf {
    "/etc/cni/multus/net.d".into()
}

fn cni_dir() -> PathBuf {
    "/var/lib/cni/multus".into()
}

/// The network of a NetworkAttachmentDefinition: its `spec.config`, else the file of `conf_dir` with its name.
pub fn of_definition(name: &str, config: Option<&str>, conf_dir: &Path) -> Result<NetworkList, String> {
    let raw = match config.map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) => {
            serde_json::from_str(text).map_err(|error| format!("failed to unmarshal Spec.Config: {error}"))?
        }
        None => in_folder(name, conf_dir).ok_or_else(|| {
            format!(
                "could not find CNI configuration file {name:?} in the directory {:?}",
                conf_dir.display().to_string()
            )
        })?,
    };
    named(raw, name).ok_or_else(|| format!("the configuration of {name} is neither a plugin's nor a list of plugins"))
}

/// A configuration that has no name gets that of its definition.
fn named(mut raw: Value, name: &str) -> Option<NetworkList> {
    if raw.is_object() && raw["name"].as_str().is_none_or(str::is_empty) {
        raw["name"] = json!(name);
    }
    NetworkList::parse(raw)
}

fn in_folder(name: &str, folder: &Path) -> Option<Value> {
    let mut files: Vec<_> = std::fs::read_dir(folder).ok()?.flatten().map(|file| file.path()).collect();
    files.sort();
    files
        .iter()
        .filter_map(|path| serde_json::from_slice::<Value>(&std::fs::read(path).ok()?).ok())
        .find(|raw| raw["name"] == name)
}

/// The capability arguments of an attachment besides the cluster's network: what its selection asks for.
pub fn runtime_config(selection: &Selection) -> Value {
    let mut config = Map::new();
    if !selection.ips.is_empty() {
        config.insert("ips".to_owned(), json!(selection.ips));
    }
    if let Some(mac) = &selection.mac {
        config.insert("mac".to_owned(), json!(mac));
    }
    Value::Object(config)
}

/// `cni-args` of a selection go into every plugin's `args.cni` (standard section 4.1.2.1.7).
pub fn with_args(mut list: NetworkList, selection: &Selection) -> NetworkList {
    let Some(args) = &selection.cni_args else { return list };
    for plugin in &mut list.plugins {
        plugin["args"]["cni"] = Value::Object(args.clone());
    }
    list.raw["plugins"] = json!(list.plugins);
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_a_plugin_a_list_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.conf"), r#"{"name":"on-disk","type":"ptp"}"#).unwrap();
        let of = |name, config| of_definition(name, config, folder.path());
        let plugin = of("m", Some(r#"{"cniVersion":"0.3.1","type":"macvlan"}"#)).unwrap();
        assert_eq!((plugin.name.as_str(), plugin.plugins.len()), ("m", 1));
        let list = of("m", Some(r#"{"name":"l","plugins":[{"type":"bridge"},{"type":"tuning"}]}"#)).unwrap();
        assert_eq!((list.name.as_str(), list.plugins.len()), ("l", 2));
        assert_eq!(of("on-disk", None).unwrap().plugins[0]["type"], "ptp");
        assert!(of("nowhere", None).unwrap_err().contains("could not find CNI configuration file"));
        assert!(of("m", Some("{")).unwrap_err().contains("failed to unmarshal Spec.Config"));
    }

    #[test]
    fn a_selections_wishes_reach_the_plugins() {
        let selection = Selection {
            ips: vec!["10.1.1.7/24".into()],
            mac: Some("02:00:00:00:00:07".into()),
            cni_args: json!({ "a": "b" }).as_object().cloned(),
            ..Default::default()
        };
        assert_eq!(runtime_config(&selection), json!({ "ips": ["10.1.1.7/24"], "mac": "02:00:00:00:00:07" }));
        let list = NetworkList::parse(json!({ "name": "n", "type": "macvlan" })).unwrap();
        assert_eq!(with_args(list, &selection).plugins[0]["args"]["cni"], json!({ "a": "b" }));
    }
}
