//! EncryptionConfiguration (`apiserver.config.k8s.io/v1`), read in a way that shows nothing of it: there are keys in it.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::access::file;
use crate::access::typed::{self, Struct, Type};

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Configuration {
    pub resources: Vec<Rule>,
}

/// How some resources are stored.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Rule {
    pub resources: Vec<String>,
    pub providers: Vec<Provider>,
}

/// One of these.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Provider {
    pub aesgcm: Option<Keys>,
    pub aescbc: Option<Keys>,
    pub secretbox: Option<Keys>,
    pub identity: Option<Map<String, Value>>,
    pub kms: Option<Kms>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Keys {
    pub keys: Option<Vec<Key>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Key {
    pub name: String,
    /// Base64.
    pub secret: String,
}

/// A plugin that has the keys.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Kms {
    pub api_version: String,
    pub name: String,
    #[serde(rename = "cachesize")]
    pub cache_size: Option<i32>,
    pub endpoint: String,
    pub timeout: Option<String>,
}

const KEYS: Type =
    Type::List(&Type::Struct(&Struct { name: "Key", fields: &[("name", Type::Text), ("secret", Type::Text)] }));
const PROVIDER: Struct = Struct {
    name: "ProviderConfiguration",
    fields: &[
        ("aesgcm", Type::Struct(&Struct { name: "AESConfiguration", fields: &[("keys", KEYS)] })),
        ("aescbc", Type::Struct(&Struct { name: "AESConfiguration", fields: &[("keys", KEYS)] })),
        ("secretbox", Type::Struct(&Struct { name: "SecretboxConfiguration", fields: &[("keys", KEYS)] })),
        ("identity", Type::Struct(&Struct { name: "IdentityConfiguration", fields: &[] })),
        (
            "kms",
            Type::Struct(&Struct {
                name: "KMSConfiguration",
                fields: &[
                    ("apiVersion", Type::Text),
                    ("name", Type::Text),
                    ("cachesize", Type::Int32),
                    ("endpoint", Type::Text),
                    ("timeout", Type::Duration),
                ],
            }),
        ),
    ],
};
const RULE: Struct = Struct {
    name: "ResourceConfiguration",
    fields: &[("resources", Type::List(&Type::Text)), ("providers", Type::List(&Type::Struct(&PROVIDER)))],
};
const CONFIGURATION: Struct =
    Struct { name: "EncryptionConfiguration", fields: &[("resources", Type::List(&Type::Struct(&RULE)))] };

impl Configuration {
    /// Reads a file's text, and fills in the defaults.
    ///
    /// # Errors
    /// It is no such configuration, or has unknown fields.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let value = file::read(text, (file::GROUP, "EncryptionConfiguration"), &["v1"])?;
        let unknown = typed::check(&value, &CONFIGURATION).map_err(anyhow::Error::msg)?;
        anyhow::ensure!(unknown.is_empty(), "strict decoding error: {}", unknown.join(", "));
        // What serde says may show a value; that it says nothing is seen to above.
        let mut read: Self =
            serde_json::from_value(value).map_err(|_| anyhow::anyhow!("the configuration cannot be read"))?;
        let providers = read.resources.iter_mut().flat_map(|rule| &mut rule.providers);
        providers.filter_map(|provider| provider.kms.as_mut()).for_each(Kms::fill);
        Ok(read)
    }
}

impl Kms {
    fn fill(&mut self) {
        if self.api_version.is_empty() {
            self.api_version = "v1".to_owned();
        }
        if self.api_version == "v1" {
            self.cache_size.get_or_insert(1000);
        }
        self.timeout.get_or_insert_with(|| "3s".to_owned());
    }
}

impl Provider {
    /// As upstream shows it, but for the keys: it shows those, too.
    pub fn shown(&self) -> String {
        const REDACTED: &str = "REDACTED";
        let key = |key: &Key| json!({ "Name": key.name, "Secret": REDACTED }).to_string();
        let keys = |keys: &Option<Keys>| match keys {
            None => "null".to_owned(),
            Some(Keys { keys: None }) => "{\"Keys\":null}".to_owned(),
            Some(Keys { keys: Some(keys) }) => {
                format!("{{\"Keys\":[{}]}}", keys.iter().map(key).collect::<Vec<_>>().join(","))
            }
        };
        let kms = self.kms.as_ref().map_or_else(|| "null".to_owned(), |kms| {
            let text = |text: &str| Value::from(text).to_string();
            let (size, timeout) = (Value::from(kms.cache_size), text(kms.timeout.as_deref().unwrap_or_default()));
            let (version, name, endpoint) = (text(&kms.api_version), text(&kms.name), text(&kms.endpoint));
            format!(
                "{{\"APIVersion\":{version},\"Name\":{name},\"CacheSize\":{size},\"Endpoint\":{endpoint},\"Timeout\":{timeout}}}"
            )
        });
        let identity = if self.identity.is_some() { "{}" } else { "null" };
        let (gcm, cbc, secretbox) = (keys(&self.aesgcm), keys(&self.aescbc), keys(&self.secretbox));
        format!("{{\"AESGCM\":{gcm},\"AESCBC\":{cbc},\"Secretbox\":{secretbox},\"Identity\":{identity},\"KMS\":{kms}}}")
    }
}
