//! The plugin's configuration, and the delegate's that follows from it (pure).

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::protocol::CniError;
use crate::subnet_env::{self, SubnetEnv};

/// What stands in the conflist under `"type": "flannel"`, after the runtime added what the specification says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetConf {
    #[serde(default)]
    cni_version: Option<String>,
    #[serde(default)]
    name: String,
    subnet_file: Option<PathBuf>,
    data_dir: Option<PathBuf>,
    #[serde(default)]
    ipam: Map<String, Value>,
    #[serde(default)]
    delegate: Map<String, Value>,
    #[serde(default)]
    runtime_config: Map<String, Value>,
    #[serde(default)]
    pub prev_result: Option<Value>,
    #[serde(default, rename = "cni.dev/valid-attachments")]
    pub valid_attachments: Vec<Attachment>,
}

/// One entry of GC's `cni.dev/valid-attachments`.
#[derive(Debug, Deserialize)]
pub struct Attachment {
    #[serde(rename = "containerID")]
    pub container_id: String,
}

impl NetConf {
    pub fn subnet_file(&self) -> PathBuf {
        self.subnet_file.clone().unwrap_or_else(|| PathBuf::from(subnet_env::PATH))
    }

    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| PathBuf::from("/var/lib/cni/flannel"))
    }

    /// The delegate's whole configuration. What the user wrote under `delegate` wins over what subnet.env says.
    pub fn delegate(&self, env: &SubnetEnv) -> Result<Value, CniError> {
        let mut conf = self.delegate.clone();
        if conf.get("type").is_some_and(|kind| !kind.is_string()) {
            return Err(CniError::config("'delegate' dictionary, if present, must have (string) 'type' field"));
        }
        for reserved in ["name", "ipam"] {
            if conf.contains_key(reserved) {
                return Err(CniError::config(format!(
                    "'delegate' dictionary must not have '{reserved}' field, it'll be set by flannel"
                )));
            }
        }
        let mut default = |key: &str, value: Value| {
            conf.entry(key).or_insert(value);
        };
        default("type", json!("bridge"));
        default("ipMasq", json!(!env.ipmasq));
        default("mtu", json!(env.mtu));
        if conf["type"] == "bridge" {
            conf.entry("isGateway").or_insert(json!(true));
        }
        conf.insert("name".into(), json!(self.name));
        if let Some(version) = &self.cni_version {
            conf.insert("cniVersion".into(), json!(version));
        }
        if !self.runtime_config.is_empty() {
            conf.insert("runtimeConfig".into(), Value::Object(self.runtime_config.clone()));
        }
        conf.insert("ipam".into(), Value::Object(self.ipam(env)));
        Ok(Value::Object(conf))
    }

    fn ipam(&self, env: &SubnetEnv) -> Map<String, Value> {
        let mut ipam = self.ipam.clone();
        ipam.entry("type").or_insert(json!("host-local"));
        push(&mut ipam, "ranges", json!([{ "subnet": env.subnet }]));
        push(&mut ipam, "routes", json!({ "dst": env.network }));
        ipam
    }
}

fn push(map: &mut Map<String, Value>, key: &str, value: Value) {
    if let Value::Array(list) = map.entry(key).or_insert(json!([])) {
        list.push(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(ipmasq: bool) -> SubnetEnv {
        SubnetEnv { network: "11.0.0.0/8".parse().unwrap(), subnet: "11.0.3.0/24".parse().unwrap(), mtu: 1450, ipmasq }
    }

    fn conf(value: Value) -> NetConf {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_manifests_configuration_becomes_a_bridge() {
        let conf = conf(json!({
            "cniVersion": "0.3.1", "name": "cbr0", "type": "flannel",
            "delegate": { "hairpinMode": true, "isDefaultGateway": true },
        }));
        assert_eq!(
            conf.delegate(&env(true)).unwrap(),
            json!({
                "cniVersion": "0.3.1", "name": "cbr0", "type": "bridge", "ipMasq": false, "mtu": 1450,
                "isGateway": true, "hairpinMode": true, "isDefaultGateway": true,
                "ipam": {
                    "type": "host-local", "ranges": [[{ "subnet": "11.0.3.0/24" }]],
                    "routes": [{ "dst": "11.0.0.0/8" }],
                },
            })
        );
        assert_eq!(conf.delegate(&env(false)).unwrap()["ipMasq"], true, "the bridge masquerades if the agent does not");
    }

    #[test]
    fn the_users_words_win() {
        let conf = conf(json!({
            "name": "n", "delegate": { "type": "macvlan", "mtu": 9000 },
            "ipam": { "routes": [{ "dst": "192.0.2.0/24" }] },
            "runtimeConfig": { "mac": "02:00:00:00:00:01" },
        }));
        let made = conf.delegate(&env(true)).unwrap();
        assert_eq!((&made["mtu"], &made["type"], made.get("isGateway")), (&json!(9000), &json!("macvlan"), None));
        assert_eq!(made["ipam"]["routes"], json!([{ "dst": "192.0.2.0/24" }, { "dst": "11.0.0.0/8" }]));
        assert_eq!(made["runtimeConfig"]["mac"], "02:00:00:00:00:01");
    }

    #[test]
    fn what_flannel_sets_may_not_be_given() {
        for key in ["name", "ipam"] {
            let error = conf(json!({ "name": "n", "delegate": { key: {} } })).delegate(&env(true)).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("'delegate' dictionary must not have '{key}' field, it'll be set by flannel")
            );
        }
    }
}
