use super::*;

#[path = "../../../tests/support/kms.rs"]
mod server;

const KEY: &str = "/registry/secrets/a/b";
const VALUE: &[u8] = b"{\"kind\":\"Secret\"}";

/// The plugin "a" in a folder of its own.
struct Setting {
    dir: tempfile::TempDir,
    server: server::Plugin,
}

impl Setting {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = server::Plugin::start(&dir.path().join("a.sock"));
        Self { dir, server }
    }

    /// Another API server's view of it.
    async fn plugin(&self) -> Arc<Plugin> {
        let endpoint = format!("unix://{}", self.dir.path().join("a.sock").display());
        let config = Kms { name: "a".to_owned(), endpoint, timeout: Some("10s".to_owned()), ..Kms::default() };
        Plugin::start(&config, Arc::default()).await.unwrap()
    }

    fn say(&self, change: impl FnOnce(&mut server::Says)) {
        change(&mut self.server.says.lock().unwrap());
    }

    fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.server.calls.lock().unwrap())
    }
}

/// Asks anew, whatever was said a moment ago.
async fn check(plugin: &Plugin) -> Result<(), String> {
    plugin.probe.lock().await.forget();
    plugin.check().await
}

async fn read(plugin: &Arc<Plugin>, stored: &[u8]) -> Result<Plain, String> {
    if let Some(fetch) = plugin.clone().fetch(stored) {
        fetch.await.map_err(|why| why.to_string())?;
    }
    plugin.open(stored, KEY).map_err(|why| why.to_string())
}

fn plain(stale: bool) -> Result<Plain, String> {
    Ok(Plain { value: VALUE.into(), stale })
}

#[tokio::test]
async fn a_seed_is_asked_for_once() {
    let setting = Setting::new();
    let ours = setting.plugin().await;
    let stored = [(); 3].map(|()| ours.seal(VALUE, KEY).unwrap());
    assert_eq!(setting.calls(), ["encrypt"]);
    let object = EncryptedObject::read(&stored[0]).unwrap();
    assert_eq!((&*object.key_id, object.source_type, object.annotations.len()), ("first", SEED, 1));
    let seed = SeededGcm::new(&server::turned(&object.source)).unwrap();
    assert_eq!(seed.open(&object.data, KEY).unwrap(), VALUE);
    assert_ne!(EncryptedObject::read(&stored[1]).unwrap().data, object.data);
    // Another server finds it with the value; and what was written before v1.29 is to be written anew.
    let theirs = setting.plugin().await;
    let old = EncryptedObject {
        data: Gcm::new(&[7; 32]).unwrap().seal(VALUE, KEY).unwrap(),
        source: server::turned(&[7; 32]),
        source_type: 0,
        ..object
    };
    setting.calls();
    for (stored, stale) in [(&stored[0], false), (&stored[1], false), (&old.encode_to_vec(), true)] {
        assert_eq!(read(&theirs, stored).await, plain(stale));
    }
    assert_eq!(setting.calls(), ["decrypt", "decrypt"]);
    assert_eq!(read(&ours, &stored[2]).await, plain(false));
    assert_eq!(setting.calls(), [""; 0]);
}

#[tokio::test]
async fn another_key_is_another_seed() {
    let setting = Setting::new();
    let plugin = setting.plugin().await;
    let before = plugin.seal(VALUE, KEY).unwrap();
    assert_eq!(check(&plugin).await, Ok(()));
    let same = plugin.seal(VALUE, KEY).unwrap();
    setting.say(|says| says.key_id = "second".to_owned());
    assert_eq!(read(&plugin, &before).await, plain(false), "it has not been told");
    assert_eq!(check(&plugin).await, Ok(()));
    assert_eq!(setting.calls(), ["encrypt", "encrypt"]);
    let after = plugin.seal(VALUE, KEY).unwrap();
    assert_eq!(EncryptedObject::read(&after).unwrap().key_id, "second");
    for (stored, stale) in [(&before, true), (&same, true), (&after, false)] {
        assert_eq!(read(&plugin, stored).await, plain(stale));
    }
    assert_eq!(setting.calls(), [""; 0], "nothing is forgotten");
}

#[tokio::test]
async fn what_is_wrong_with_a_plugin_is_told_in_upstreams_words() {
    let setting = Setting::new();
    let good = setting.server.says.lock().unwrap().clone();
    let plugin = setting.plugin().await;
    let hash = |id: &str| object::hash_of(id);
    let long = "x".repeat(1025);
    let rotating = |why: &str, encrypted: &str| {
        format!(
            "errState=<nil>, errGen={why}, statusKeyIDHash={:?}, encryptKeyIDHash={:?}, stateKeyIDHash={:?}, expirationTimestamp=2",
            hash("second"),
            hash(encrypted),
            hash("first")
        )
    };
    type Change = Box<dyn Fn(&mut server::Says)>;
    let cases: Vec<(Change, Vec<String>)> = vec![
        (Box::new(|says| says.healthz = "sick".to_owned()), vec!["error: got unexpected healthz status: sick".to_owned()]),
        (
            Box::new(|says| (says.healthz, says.version) = (String::new(), "v1".to_owned())),
            vec!["error: [got unexpected healthz status: , expected KMSv2 API version v2, got v1]".to_owned()],
        ),
        (
            Box::new(|says| says.version = "v2beta1".to_owned()),
            vec!["KMSv2 API version should not change after the initial status response version v2, got v2beta1".to_owned()],
        ),
        (Box::new(|says| says.key_id.clear()), vec!["got invalid KMSv2 KeyID hash \"\": keyID is empty".to_owned()]),
        (
            Box::new(|says| says.key_id = "x".repeat(1025)),
            vec![format!("got invalid KMSv2 KeyID hash {:?}: keyID is 1025 bytes, which exceeds the max size of 1024", hash(&long))],
        ),
        (
            Box::new(|says| (says.key_id, says.encrypts_as) = ("second".to_owned(), Some("third".to_owned()))),
            vec!["failed to rotate DEK uid=".to_owned(), rotating("<nil>", "third")],
        ),
        (
            Box::new(|says| (says.key_id, says.refuses) = ("second".to_owned(), true)),
            vec![rotating(
                "failed to encrypt DEK, error: rpc error: code = Unavailable desc = the vault is closed",
                "",
            )],
        ),
        (
            Box::new(|says| {
                says.key_id = "second".to_owned();
                says.annotations = ["word", "a..b"].map(|name| (name.to_owned(), vec![0; 20_000])).into();
            }),
            vec![
                "errGen=failed to validate annotations: [annotations: Invalid value: \"a..b\": a lowercase RFC 1123 subdomain".to_owned(),
                "annotations: Invalid value: \"word\": should be a domain with at least two segments separated by dots, total size of \
                 annotations is 40008, which exceeds the max size of 32768]"
                    .to_owned(),
            ],
        ),
    ];
    for (change, told) in cases {
        setting.say(|says| *says = good.clone());
        setting.say(change);
        let why = check(&plugin).await.unwrap_err();
        assert!(why.starts_with("kmsv2 Provider a is not healthy, error: "), "{why}");
        assert!(told.iter().all(|told| why.contains(told)), "{why}\n{told:?}");
        // It is written with what there was.
        assert_eq!(EncryptedObject::read(&plugin.seal(VALUE, KEY).unwrap()).unwrap().key_id, "first");
    }
    setting.say(|says| *says = good.clone());
    assert_eq!(check(&plugin).await, Ok(()));
}

#[tokio::test]
async fn without_the_plugins_word_nothing_is_written_for_long() {
    let setting = Setting::new();
    let plugin = setting.plugin().await;
    let stored = plugin.seal(VALUE, KEY).unwrap();
    let until = Instant::now() - Duration::from_secs(1);
    let over = plugin.writing.load().as_ref().unwrap().until(until);
    plugin.writing.store(Some(Arc::new(over)));
    let why = plugin.seal(VALUE, KEY).unwrap_err().to_string();
    assert!(
        why.starts_with(&format!("encryptedDEKSource with keyID hash {:?} expired at 2", object::hash_of("first")))
    );
    assert_eq!(read(&plugin, &stored).await, plain(false));
    assert_eq!(check(&plugin).await, Ok(()));
    assert!(plugin.seal(VALUE, KEY).is_ok());
}

#[tokio::test]
async fn a_plugin_may_come_later_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("a.sock");
    let endpoint = format!("unix://{}", socket.display());
    let config = Kms { name: "a".to_owned(), endpoint, timeout: Some("500ms".to_owned()), ..Kms::default() };
    let plugin = Plugin::start(&config, Arc::default()).await.unwrap();
    let silent = format!(
        "failed to perform status section of the healthz check for KMS Provider a, error: rpc error: code = \
         DeadlineExceeded desc = latest balancer error: connection error: desc = \"transport: Error while dialing: dial \
         unix {}: connect: no such file or directory\"",
        socket.display()
    );
    assert_eq!(plugin.check().await.unwrap_err(), silent);
    assert_eq!(plugin.seal(VALUE, KEY).unwrap_err().to_string(), NO_STATE);
    let server = server::Plugin::start(&socket);
    assert_eq!(plugin.check().await.unwrap_err(), silent, "it is believed for a while");
    assert_eq!(check(&plugin).await, Ok(()));
    let stored = plugin.seal(VALUE, KEY).unwrap();
    drop(server);
    let server = server::Plugin::start(&socket);
    let other = Plugin::start(&config, Arc::default()).await.unwrap();
    server.says.lock().unwrap().refuses = true;
    let refused = "failed to decrypt DEK, error: rpc error: code = Unavailable desc = the vault is closed";
    assert_eq!(read(&other, &stored).await.unwrap_err(), refused);
    server.says.lock().unwrap().refuses = false;
    assert_eq!(read(&other, &stored).await, plain(false));
}

#[test]
fn what_is_stored_is_checked() {
    let good = EncryptedObject {
        data: vec![1],
        key_id: "k".to_owned(),
        source: vec![1],
        source_type: SEED,
        ..EncryptedObject::default()
    };
    assert_eq!(EncryptedObject::read(&good.encode_to_vec()), Ok(good.clone()));
    type Change = fn(&mut EncryptedObject);
    for (change, why) in [
        ((|object| object.data.clear()) as Change, "encrypted data is empty"),
        (|object| object.source.clear(), "failed to validate encrypted DEK source: encrypted DEK source is empty"),
        (
            |object| object.source = vec![0; 1025],
            "failed to validate encrypted DEK source: encrypted DEK source is 1025 bytes, which exceeds the max size of 1024",
        ),
        (|object| object.key_id.clear(), "failed to validate key id: keyID is empty"),
        (|object| object.source_type = 2, "unknown encryptedDEKSourceType: 2"),
        (
            |object| object.annotations = [(String::new(), Vec::new())].into(),
            "failed to validate annotations: annotations: Required value",
        ),
    ] {
        let mut object = good.clone();
        change(&mut object);
        assert_eq!(EncryptedObject::read(&object.encode_to_vec()).unwrap_err(), why);
    }
    assert_eq!(EncryptedObject::read(b"\x0a").unwrap_err(), "proto: cannot parse invalid wire-format data");
    for (seeded, length, why) in
        [(true, 31, "invalid seed length 31 used for key generation"), (false, 31, "crypto/aes: invalid key size 31")]
    {
        assert_eq!(Cipher::new(seeded, &vec![0; length]).err().as_deref(), Some(why));
    }
}

#[test]
fn the_oldest_keys_are_forgotten() {
    let mut keys = Keys::default();
    let cipher = || Arc::new(Cipher::new(true, &[0; 32]).ok().unwrap());
    let hash = |number: usize| EncryptedObject { source: number.to_be_bytes().to_vec(), ..Default::default() }.hash();
    for number in 0..KEYS + 5 {
        keys.add(hash(number), cipher());
        keys.add(hash(number), cipher());
    }
    assert_eq!((keys.known.len(), keys.order.len()), (KEYS, KEYS));
    assert!(!keys.known.contains_key(&hash(4)) && keys.known.contains_key(&hash(5)));
}
