use std::sync::Mutex;

use super::*;

/// Sees nothing.
struct Blind;

impl Witness for Blind {
    fn saw(&self, _: Direction, _: Option<&[u8]>, _: Duration, _: bool) {}
}

/// What was seen: the direction, the prefix, and whether it went well.
#[derive(Default)]
struct Seen(Mutex<Vec<(Direction, Option<String>, bool)>>);

impl Witness for Seen {
    fn saw(&self, direction: Direction, prefix: Option<&[u8]>, _: Duration, well: bool) {
        let prefix = prefix.map(|prefix| String::from_utf8(prefix.to_vec()).unwrap());
        self.0.lock().unwrap().push((direction, prefix, well));
    }
}

fn bytes(hex: &str) -> Bytes {
    hex.as_bytes().chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn gcm(length: usize, byte: u8) -> Transformer {
    Transformer::Gcm(Gcm::new(&vec![byte; length]).unwrap())
}

fn cbc(length: usize, byte: u8) -> Transformer {
    Transformer::Cbc(Cbc::new(&vec![byte; length]).unwrap())
}

fn secretbox(byte: u8) -> Transformer {
    Transformer::Secretbox(Secretbox::new(&[byte; 32]).unwrap())
}

fn one_of<const N: usize>(entries: [(&str, Transformer); N]) -> Transformer {
    let entry = |(prefix, transformer): (&str, _)| Entry { prefix: prefix.as_bytes().to_vec(), transformer };
    Transformer::OneOf(entries.into_iter().map(entry).collect(), "no matching prefix found")
}

const KEY: &str = "/registry/secrets/a/b";

fn read(transformer: &Transformer, stored: &Bytes) -> Result<Plain, String> {
    transformer.read(stored.clone(), KEY, &Blind).map_err(|why| why.to_string())
}

#[test]
fn keys_have_lengths() {
    for length in [0, 15, 16, 17, 24, 32, 33, 64] {
        let key = vec![1; length];
        let known = [16, 24, 32].contains(&length);
        assert_eq!(Gcm::new(&key).is_some(), known, "{length}");
        assert_eq!(Cbc::new(&key).is_some(), known, "{length}");
        assert_eq!(Secretbox::new(&key).is_some(), length == 32, "{length}");
    }
}

#[test]
fn what_is_written_is_read() {
    let all = [gcm(16, 1), gcm(24, 1), gcm(32, 1), cbc(16, 1), cbc(24, 1), cbc(32, 1), secretbox(1)];
    for (index, transformer) in all.iter().enumerate() {
        for length in [0, 1, 15, 16, 17, 1000] {
            let value = Bytes::from(vec![b'x'; length]);
            let stored = transformer.write(&value, KEY, &Blind).unwrap();
            assert_ne!(transformer.write(&value, KEY, &Blind).unwrap(), stored, "{index}: no nonce comes twice");
            assert_eq!(read(transformer, &stored), Ok(Plain { value, stale: false }), "{index} {length}");
        }
    }
}

/// The key of a value is made of a seed and of what is stored in front; made by OpenSSL, too.
#[test]
fn seeds_make_keys() {
    let (value, of) = (b"{\"kind\":\"Secret\"}", |byte: u8| SeededGcm::new(&[byte; 32]).unwrap());
    let stored = bytes(concat!(
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f000102030405060708090a0bd5e9b3e0",
        "abf9cb0c018979ca618c3a05f08c4bded7b70e2722e39d78e257be5f8e",
    ));
    assert_eq!(of(4).open(&stored, KEY).unwrap(), value);
    let (generated, seed) = SeededGcm::generate().unwrap();
    let sealed = generated.seal(value, KEY).unwrap();
    assert_ne!(generated.seal(value, KEY).unwrap()[..32], sealed[..32], "no value has the key of another");
    assert_eq!(SeededGcm::new(&seed).unwrap().open(&sealed, KEY).unwrap(), value);
    assert!(SeededGcm::new(&[4; 31]).is_none());
    let broken = "cipher: message authentication failed";
    for (cipher, stored, key, why) in [
        (of(4), &stored[..31], KEY, TOO_SHORT),
        (of(4), &stored[..43], KEY, TOO_SHORT),
        (of(5), &stored[..], KEY, broken),
        (of(4), &stored[..], "/registry/secrets/a/c", broken),
    ] {
        assert_eq!(cipher.open(stored, key).unwrap_err().to_string(), why);
    }
}

/// Made by others: GCM and CBC by OpenSSL, the secretbox is NaCl's own example.
#[test]
fn what_others_wrote_is_read() {
    let secret = bytes("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389");
    let secretbox = Transformer::Secretbox(Secretbox::new(&secret).unwrap());
    for (name, transformer, stored, value) in [
        (
            "gcm",
            gcm(24, 2),
            bytes("000102030405060708090a0ba7ae2ce2164458bc131e4f74e065617cfe3b51345353f5ae3503cbeb5792d2db1e"),
            Bytes::from_static(b"{\"kind\":\"Secret\"}"),
        ),
        (
            "cbc",
            cbc(32, 3),
            bytes("000102030405060708090a0b0c0d0e0f69e75666528d1034750c346c01382f03fa41a4d4af604ed75ea7e8d73dd417f7"),
            Bytes::from_static(b"{\"kind\":\"Secret\"}"),
        ),
        (
            "secretbox",
            secretbox,
            bytes(concat!(
                "69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37",
                "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac0dfc17c98",
                "dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6b",
                "b3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5",
            )),
            bytes(concat!(
                "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cdc3c0123",
                "3561f41db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924",
                "ca1c60902e52f0a089bc76897040e082f937763848645e0705",
            )),
        ),
    ] {
        assert_eq!(read(&transformer, &stored), Ok(Plain { value, stale: false }), "{name}");
    }
}

#[test]
fn what_is_wrong_is_told_in_upstreams_words() {
    let value = Bytes::from_static(b"value");
    let sealed = |transformer: &Transformer| transformer.write(&value, KEY, &Blind).unwrap();
    let cut = |stored: Bytes, end: usize| stored.slice(..end);
    let (aead, broken_box) =
        ("cipher: message authentication failed", "output array was not large enough for encryption");
    for (transformer, stored, why) in [
        (gcm(16, 1), cut(sealed(&gcm(16, 1)), 11), TOO_SHORT),
        (gcm(16, 1), cut(sealed(&gcm(16, 1)), 12), aead),
        (gcm(16, 1), sealed(&gcm(16, 2)), aead),
        (secretbox(1), cut(sealed(&secretbox(1)), 39), TOO_SHORT),
        (secretbox(1), sealed(&secretbox(2)), broken_box),
        (cbc(16, 1), cut(sealed(&cbc(16, 1)), 15), TOO_SHORT),
        (cbc(16, 1), cut(sealed(&cbc(16, 1)), 31), "the stored data is not a multiple of the block size"),
        (cbc(16, 1), cut(sealed(&cbc(16, 1)), 16), "invalid PKCS7 data (empty or not padded)"),
        (Transformer::Identity, Bytes::from_static(b"k8s:enc:x"), "identity transformer tried to read encrypted data"),
    ] {
        assert_eq!(read(&transformer, &stored), Err(why.to_owned()));
    }
    // With the initialisation vector the last byte of the only block can be chosen: 11 becomes 0, and 2.
    for (flip, why) in [(11, "invalid PKCS7 data (empty or not padded)"), (11 ^ 2, "invalid padding on input")] {
        let mut stored = sealed(&cbc(16, 1)).to_vec();
        stored[15] ^= flip;
        assert_eq!(read(&cbc(16, 1), &stored.into()), Err(why.to_owned()));
    }
}

#[test]
fn only_gcm_binds_a_value_to_its_key() {
    let value = Bytes::from_static(b"value");
    for (transformer, bound) in [(gcm(32, 1), true), (cbc(32, 1), false), (secretbox(1), false)] {
        let stored = transformer.write(&value, KEY, &Blind).unwrap();
        assert_eq!(transformer.read(stored, "/registry/secrets/a/c", &Blind).is_err(), bound);
    }
}

#[test]
fn the_first_writes_and_all_read() {
    let value = Bytes::from_static(b"{}");
    let old = || one_of([("k1:", cbc(16, 1))]);
    let new = one_of([
        ("k8s:enc:aescbc:v1:", one_of([("k2:", cbc(16, 2)), ("k1:", cbc(16, 1))])),
        ("", Transformer::Identity),
        ("k8s:enc:secretbox:v1:", one_of([("k1:", secretbox(1))])),
    ]);
    let written = |transformer: &Transformer| transformer.write(&value, KEY, &Blind).unwrap();
    assert!(written(&new).starts_with(b"k8s:enc:aescbc:v1:k2:"));
    for (stored, stale) in [
        (written(&new), false),
        (written(&one_of([("k8s:enc:aescbc:v1:", old())])), true),
        (written(&one_of([("k8s:enc:secretbox:v1:", one_of([("k1:", secretbox(1))]))])), true),
        (value.clone(), true),
    ] {
        assert_eq!(read(&new, &stored), Ok(Plain { value: value.clone(), stale }));
    }
    // The same provider twice is how keys change, too.
    let twice = one_of([("k8s:enc:aescbc:v1:", one_of([("k2:", cbc(16, 2))])), ("k8s:enc:aescbc:v1:", old())]);
    let stored = written(&one_of([("k8s:enc:aescbc:v1:", old())]));
    assert_eq!(read(&twice, &stored), Ok(Plain { value: value.clone(), stale: true }));
    // What nobody can read is told once.
    let stored = Bytes::from_static(b"k8s:enc:aescbc:v1:k3:x");
    assert_eq!(read(&twice, &stored), Err("no matching prefix found".to_owned()));
    assert_eq!(read(&new, &Bytes::from_static(b"k8s:enc:kms:v2:a:x")), Err("no matching prefix found".to_owned()));
    let both = one_of([("k8s:enc:aescbc:v1:", one_of([("x:", cbc(16, 1))])), ("k8s:enc:aescbc:v1:", old())]);
    assert_eq!(
        read(&both, &Bytes::from_static(b"k8s:enc:aescbc:v1:x:y")),
        Err(format!("[{TOO_SHORT}, no matching prefix found]"))
    );
}

#[test]
fn each_step_is_seen() {
    use Direction::{FromStorage, ToStorage};
    let transformer = one_of([("", Transformer::Identity), ("k8s:enc:aescbc:v1:", one_of([("k:", cbc(16, 1))]))]);
    let check = |stored: &[u8], expected: &[(Direction, Option<&str>, bool)]| {
        let seen = Seen::default();
        let _ = transformer.read(Bytes::copy_from_slice(stored), KEY, &seen);
        let seen = seen.0.into_inner().unwrap();
        let seen: Vec<_> = seen.iter().map(|(way, prefix, well)| (*way, prefix.as_deref(), *well)).collect();
        assert_eq!(seen, expected);
    };
    check(b"{}", &[(FromStorage, Some(""), true)]);
    check(b"k8s:enc:x", &[(FromStorage, None, false)]);
    check(
        b"k8s:enc:aescbc:v1:k:x",
        &[(FromStorage, Some("k:"), false), (FromStorage, Some("k8s:enc:aescbc:v1:"), false)],
    );
    let seen = Seen::default();
    transformer.write(&Bytes::from_static(b"{}"), KEY, &seen).unwrap();
    assert_eq!(seen.0.into_inner().unwrap(), [(ToStorage, Some(String::new()), true)]);
}
