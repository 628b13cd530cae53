use std::path::Path;
use std::sync::Arc;

use super::*;

const HEADER: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n";

/// A key of so many bytes.
fn key(length: usize) -> String {
    base64::engine::general_purpose::STANDARD.encode(vec![b'k'; length])
}

fn rule(resources: &str, providers: &str) -> String {
    format!("- {{resources: [{resources}], providers: [{providers}]}}\n")
}

fn aescbc(name: &str) -> String {
    format!("{{aescbc: {{keys: [{{name: {name}, secret: {}}}]}}}}", key(32))
}

fn parse(text: &str, reload: bool) -> Result<Rules, String> {
    let metrics = Arc::default();
    let parsed = Rules::parse(text, "h", Path::new("f"), reload, &metrics);
    futures::executor::block_on(parsed).map_err(|error| format!("{error:#}"))
}

#[test]
fn what_is_wrong_is_told_in_upstreams_words() {
    let decoding = "error while parsing file: error decoding encryption provider configuration file \"f\": ";
    let parsing = "error while parsing file: ";
    let overlap = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be \
                   masked";
    let none = "{\"AESGCM\":null,\"AESCBC\":null,\"Secretbox\":null,\"Identity\":null,\"KMS\":null}: provider does not contain any \
                of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity";
    let cbc = aescbc("a");
    for (text, why) in [
        ("bad: 1\nresources: [{resources: [secrets], providers: [{identity: {x: 1}}, {aescbc: {keys: [{nam: a}]}}]}]".to_owned(),
         format!("{decoding}strict decoding error: unknown field \"bad\", unknown field \"resources[0].providers[0].identity.x\", \
                  unknown field \"resources[0].providers[1].aescbc.keys[0].nam\"")),
        ("resources: [{resources: secrets}]".to_owned(),
         format!("{decoding}json: cannot unmarshal string into Go struct field ResourceConfiguration.resources.resources of type \
                  []string")),
        ("resources: 3".to_owned(),
         format!("{decoding}json: cannot unmarshal number into Go struct field EncryptionConfiguration.resources of type \
                  []v1.ResourceConfiguration")),
        (format!("resources:\n{}", rule("secrets", "{aescbc: {keys: [{name: 1, secret: s}]}}")),
         format!("{decoding}json: cannot unmarshal number into Go struct field Key.resources.providers.aescbc.keys.name of type \
                  string")),
        (String::new(), format!("{parsing}resources: Required value: at least one resources is required")),
        ("resources: [{}]".to_owned(),
         format!("{parsing}[resources[0].resources: Required value: at least one resources[0].resources is required, \
                  resources[0].providers: Required value: at least one resources[0].providers is required]")),
        (format!("resources:\n{}", rule("secrets", "{}")),
         format!("{parsing}resources[0].providers[0]: Invalid value: {none}")),
        (format!("resources:\n{}", rule("secrets", "{identity: }")),
         format!("{parsing}resources[0].providers[0]: Invalid value: {none}")),
        (format!("resources:\n{}", rule("secrets", &cbc.replacen('{', "{identity: {}, ", 1))),
         format!("{parsing}resources[0].providers[0]: Invalid value: {{\"AESGCM\":null,\"AESCBC\":{{\"Keys\":[{{\"Name\":\"a\",\
                  \"Secret\":\"REDACTED\"}}]}},\"Secretbox\":null,\"Identity\":{{}},\"KMS\":null}}: more than one provider \
                  specified in a single element, should split into different list elements")),
        (format!("resources:\n{}", rule("secrets", "{aescbc: {keys: []}}, {secretbox: {}}")),
         format!("{parsing}[resources[0].providers[0].aescbc.keys: Required value: at least one keys is required, \
                  resources[0].providers[1].secretbox.keys: Required value: at least one keys is required]")),
        (format!("resources:\n{}", rule("secrets", &format!(
            "{{aesgcm: {{keys: [{{}}, {{name: a, secret: '%'}}, {{name: b, secret: {}}}]}}}}, {{secretbox: {{keys: [{{name: a, \
             secret: {}}}]}}}}", key(17), key(16)))),
         format!("{parsing}[resources[0].providers[0].aesgcm.keys[0].name: Required value: name is a mandatory field for a key, \
                  resources[0].providers[0].aesgcm.keys[0].secret: Required value: secret is a mandatory field for a key, \
                  resources[0].providers[0].aesgcm.keys[1].secret: Invalid value: \"REDACTED\": secrets must be base64 encoded, \
                  resources[0].providers[0].aesgcm.keys[2].secret: Invalid value: \"REDACTED\": secret is not of the expected \
                  length, got 17, expected one of [16 24 32], resources[0].providers[1].secretbox.keys[0].secret: Invalid value: \
                  \"REDACTED\": secret is not of the expected length, got 16, expected one of [32]]")),
        (format!("resources:\n{}", rule("secrets, secrets, '*.*'", &cbc)),
         format!("{parsing}[resources[0].resources: Invalid value: [\"secrets\",\"secrets\",\"*.*\"]: the same resource cannot be \
                  specified multiple times, resources[0].resources: Invalid value: [\"secrets\",\"secrets\",\"*.*\"]: {overlap}]")),
        (format!("resources:\n{}", rule("'*.', secrets", &cbc)),
         format!("{parsing}resources[0].resources: Invalid value: [\"*.\",\"secrets\"]: {overlap}")),
        (format!("resources:\n{}", rule("Secrets, apiserveripinfo, a.events.k8s.io, '*.extensions', 'secrets.*'", &cbc)),
         format!("{parsing}[resources[0].resources[0]: Invalid value: \"Secrets\": resource name should not contain capital letters, \
                  resources[0].resources[1]: Invalid value: \"apiserveripinfo\": resources which do not have \
                  REST API/s cannot be encrypted, resources[0].resources[2]: Invalid value: \"a.events.k8s.io\": '*.events.k8s.io' \
                  objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file, \
                  resources[0].resources[3]: Invalid value: \"*.extensions\": 'extensions' group has been removed and cannot be used for \
                  encryption, resources[0].resources[4]: Invalid value: \"secrets.*\": encrypting the same resource across groups is not \
                  supported]")),
        (format!("resources:\n{}", rule("'*'", &cbc)),
         format!("{parsing}resources[0].resources[0]: Invalid value: \"*\": use '*.' to encrypt all the resources from core API group \
                  or *.* to encrypt all resources")),
        (format!("resources:\n{}{}", rule("'*.*'", &cbc), rule("secrets", &cbc)),
         "error while building transformers: resource \"secrets\" is masked by earlier rule \"*.*\"".to_owned()),
        (format!("resources:\n{}{}", rule("'*.'", &cbc), rule("secrets", &cbc)),
         "error while building transformers: resource \"secrets\" is masked by earlier rule \"*.\"".to_owned()),
        (format!("resources:\n{}{}", rule("'*.apps'", &cbc), rule("deployments.apps", &cbc)),
         "error while building transformers: resource \"deployments.apps\" is masked by earlier rule \"*.apps\"".to_owned()),
        (format!("resources:\n{}", rule("secrets", "{kms: {name: a, endpoint: 'unix:///x'}}")),
         "error while building transformers: KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 \
          instead.  Set --feature-gates=KMSv1=true to use the deprecated KMSv1 feature.".to_owned()),
        (format!("resources:\n{}", rule("secrets", "{kms: {apiVersion: v2, name: a, endpoint: 'unix:x'}}")),
         "error while building transformers: could not configure KMSv2-Plugin's probe \"a\", error: the endpoint \"unix:x\" has no \
          path".to_owned()),
    ] {
        assert_eq!(parse(&format!("{HEADER}{text}\n"), false).err(), Some(why), "{text}");
    }
}

#[test]
fn plugins_are_checked() {
    let plugins = "{kms: {name: 'a:b', apiVersion: v3, endpoint: 'tcp://x', timeout: -1s, cachesize: 4}}, \
                   {kms: {apiVersion: v2, endpoint: ''}}, {kms: {apiVersion: v2, name: a, endpoint: ':'}}, \
                   {kms: {name: a, cachesize: 0, endpoint: 'unix:///a'}}";
    let text = format!("{HEADER}resources:\n{}", rule("secrets", plugins));
    let at = "resources[0].providers";
    let told = |twice: &str| {
        format!(
            "error while parsing file: [{at}[0].kms.name: Invalid value: \"a:b\": invalid KMS provider name a:b, must not contain ':', \
         {at}[0].kms.timeout: Invalid value: \"-1s\": timeout should be a positive value, {at}[0].kms.endpoint: Invalid value: \
         \"tcp://x\": unsupported scheme \"tcp\" for KMS provider, only unix is supported, {at}[0].kms.cachesize: Invalid value: 4: \
         cachesize is not supported in v2, {at}[0].kms.apiVersion: Invalid value: \"v3\": unsupported apiVersion apiVersion for KMS \
         provider, only v1 and v2 are supported, {at}[1].kms.name: Required value: name is a mandatory field for a provider, \
         {at}[1].kms.endpoint: Invalid value: \"\": endpoint is a mandatory field for a kms, {at}[2].kms.endpoint: Invalid value: \
         \":\": invalid endpoint for kms provider, error: parse \":\": missing protocol scheme, {twice}{at}[3].kms.cachesize: Invalid \
         value: 0: cachesize should be a positive value, or negative to disable]"
        )
    };
    assert_eq!(parse(&text, false).err(), Some(told("")));
    let twice =
        format!("{at}[3].kms.name: Invalid value: \"a\": duplicate KMS provider name a, names must be unique, ");
    assert_eq!(parse(&text, true).err(), Some(told(&twice)));
}

#[test]
fn nothing_of_a_key_is_shown() {
    let secret = key(32);
    for text in [
        format!("resources: [{{providers: [{{aescbc: {{keys: {secret}}}}}]}}]"),
        format!("resources: [{{providers: [{{aescbc: {secret}}}]}}]"),
        format!("resources: [{{providers: [{{aescbc: {{keys: [{{name: a, secret: {secret}\n"),
        format!(
            "resources: [{{providers: [{{aescbc: {{keys: [{{name: a, secret: {secret}, secret: {secret}}}]}}}}]}}]"
        ),
        format!(
            "resources: [{{resources: [secrets], providers: [{{identity: {{}}, {}]}}]",
            aescbc("a").trim_start_matches('{')
        ),
    ] {
        let why = parse(&format!("{HEADER}{text}\n"), false).err().expect("it is wrong");
        assert!(!why.contains(&secret[..8]), "{why}");
    }
}

fn encryption(text: &str) -> Encryption {
    let rules = ArcSwap::from_pointee(parse(&format!("{HEADER}{text}"), true).expect("a good file"));
    Encryption { rules, below: "/registry/".to_owned(), metrics: Arc::default() }
}

#[test]
fn resources_are_found_by_their_keys() {
    let own = |resources: &str, name: &str| rule(resources, &format!("{}, {{identity: {{}}}}", aescbc(name)));
    let rules =
        [own("secrets, pandas.bears.example", "a"), own("'*.apps'", "b"), own("events", "e"), own("'*.*'", "c")];
    let encryption = encryption(&format!("resources:\n{}", rules.concat()));
    for (key, name) in [
        ("/registry/secrets/a/b", "a"),
        ("/registry/bears.example/pandas/a/b", "a"),
        ("/registry/bears.example/others/a/b", "c"),
        ("/registry/deployments/a/b", "b"),
        ("/registry/controllers/a/b", "c"),
        ("/registry/services/specs/a/b", "c"),
        ("/registry/events/a/b", "e"),
        ("/registry/apiextensions.k8s.io/customresourcedefinitions/a", "c"),
        // These are no resources.
        ("/registry/masterleases/10.0.0.1", ""),
        ("/registry/ranges/servicenodeports", ""),
    ] {
        let stored = encryption.write(key, &Bytes::from_static(b"{}")).expect("randomness");
        let expected = if name.is_empty() { "{}".to_owned() } else { format!("k8s:enc:aescbc:v1:{name}:") };
        assert!(stored.starts_with(expected.as_bytes()), "{key}: {stored:?}");
        let plain = encryption.read(key, stored).expect("the right key");
        assert_eq!(plain, Plain { value: Bytes::from_static(b"{}"), stale: false }, "{key}");
    }
    let mut page = Page::default();
    encryption.metrics.transformations.write(&mut page);
    let series = "apiserver_storage_transformation_operations_total{resource=\"secrets\",status=\"OK\",\
                  transformation_type=\"to_storage\",transformer_prefix=\"a:\"} 1\n";
    assert!(page.text().contains(series));
}

#[test]
fn without_a_file_nothing_is_encrypted_nor_decrypted() {
    let encryption = Encryption::none();
    let value = Bytes::from_static(b"{}");
    assert_eq!(encryption.write("/registry/secrets/a/b", &value), Ok(value));
    let why = encryption.read("/registry/secrets/a/b", Bytes::from_static(b"k8s:enc:aescbc:v1:a:x"));
    assert_eq!(why.unwrap_err().to_string(), "identity transformer tried to read encrypted data");
}

#[tokio::test]
async fn a_broken_file_leaves_the_one_before_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let secrets = |name: &str| format!("{HEADER}resources:\n{}", rule("secrets", &aescbc(name)));
    let encryption = encryption(&format!("resources:\n{}", rule("secrets", &aescbc("a"))));
    let written = || {
        let stored = encryption.write("/registry/secrets/a/b", &Bytes::new()).unwrap();
        String::from_utf8_lossy(&stored["k8s:enc:aescbc:v1:".len()..][..1]).into_owned()
    };
    let reload = async |text: Option<String>| {
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        encryption.reload(&path).await.map_err(|error| format!("{error:#}"))
    };
    assert!(reload(None).await.unwrap_err().starts_with("error reading encryption provider configuration file"));
    assert!(reload(Some(String::new())).await.unwrap_err().ends_with("is empty"));
    assert_eq!(reload(Some(secrets("b"))).await, Ok(true));
    assert_eq!(written(), "b");
    assert_eq!(reload(None).await, Ok(false));
    assert!(reload(Some(HEADER.to_owned())).await.is_err());
    assert!(reload(None).await.is_err(), "it is told until it is mended");
    assert_eq!(written(), "b");
    assert_eq!(reload(Some(secrets("b"))).await, Ok(false));
}
