use super::*;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use ring::signature;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::process::Command;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn seconds(count: i64) -> SignedDuration {
    SignedDuration::from_secs(count)
}

fn signer() -> Signer {
    let pem = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
    Signer::new(SigningKey::from_pem(pem.as_bytes()).unwrap(), DEFAULT_ISSUER)
}

fn verifier(signers: &[&Signer]) -> Verifier {
    let keys = signers.iter().map(|signer| signer.public_key()).collect();
    Verifier::new(keys, vec![DEFAULT_ISSUER.into()], vec![DEFAULT_ISSUER.into()])
}

fn reference(name: &str, uid: &str) -> BoundRef {
    BoundRef { name: name.into(), uid: uid.into() }
}

fn request() -> TokenRequest {
    TokenRequest {
        namespace: "web".into(),
        serviceaccount: reference("bot", "u1"),
        pod: Some(reference("pod", "u2")),
        node: Some(reference("c0w1", "u3")),
        audiences: vec![DEFAULT_ISSUER.into(), "vault".into()],
        expires_in: seconds(3600),
        warn_after: Some(seconds(600)),
        ..TokenRequest::default()
    }
}

fn part(token: &str, at: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(at).unwrap()).unwrap()).unwrap()
}

#[test]
fn tokens_have_upstreams_layout() {
    let signer = signer();
    let (token, claims) = signer.issue(request(), now()).unwrap();
    assert_eq!(part(&token, 0), json!({"alg": "ES256", "kid": signer.public_key().id()}));
    assert_eq!(
        part(&token, 1),
        json!({
            "aud": [DEFAULT_ISSUER, "vault"],
            "exp": 1_800_003_600, "iat": 1_800_000_000, "nbf": 1_800_000_000,
            "iss": DEFAULT_ISSUER,
            "jti": claims.jti,
            "kubernetes.io": {
                "namespace": "web",
                "node": {"name": "c0w1", "uid": "u3"},
                "pod": {"name": "pod", "uid": "u2"},
                "serviceaccount": {"name": "bot", "uid": "u1"},
                "warnafter": 1_800_000_600,
            },
            "sub": "system:serviceaccount:web:bot",
        })
    );
    let verified = verifier(&[&signer]).verify(&token, &[], now()).unwrap();
    assert_eq!((&verified.claims, &verified.audiences[..]), (&claims, &[DEFAULT_ISSUER.to_owned()][..]));
    let user = verified.user();
    assert_eq!((&*user.username, &*user.uid), ("system:serviceaccount:web:bot", "u1"));
    assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:web", "system:authenticated"]);
    assert_eq!(
        serde_json::to_value(&user.extra).unwrap(),
        json!({
            "authentication.kubernetes.io/pod-name": ["pod"],
            "authentication.kubernetes.io/pod-uid": ["u2"],
            "authentication.kubernetes.io/node-name": ["c0w1"],
            "authentication.kubernetes.io/node-uid": ["u3"],
            "authentication.kubernetes.io/credential-id": [format!("JTI={}", claims.jti)],
        })
    );
    assert_eq!((verified.stale(now() + seconds(600)), verified.stale(now() + seconds(601))), (None, Some(1)));
}

#[test]
fn time_audience_issuer_and_key_matter() {
    let (signer, other) = (signer(), signer());
    let (token, _) = signer.issue(request(), now()).unwrap();
    let both = verifier(&[&other, &signer]);
    let verify = |audiences: &[&str], at| {
        let audiences: Vec<_> = audiences.iter().map(ToString::to_string).collect();
        both.verify(&token, &audiences, at)
    };
    assert!(verify(&[], now() + seconds(3600 + 60)).is_ok());
    assert!(matches!(verify(&[], now() + seconds(3600 + 61)), Err(TokenError::Expired)));
    assert!(verify(&[], now() - seconds(60)).is_ok());
    assert!(matches!(verify(&[], now() - seconds(61)), Err(TokenError::NotYet)));
    assert_eq!(verify(&["vault", "x"], now()).unwrap().audiences, ["vault"]);
    let foreign = verify(&["x", "y"], now()).unwrap_err().to_string();
    assert!(foreign.ends_with(" is invalid for the target audiences [\"x\" \"y\"]"), "{foreign}");
    assert!(matches!(verifier(&[&other]).verify(&token, &[], now()), Err(TokenError::Signature)));
    let elsewhere = Verifier::new(vec![signer.public_key()], vec!["https://else".into()], vec![]);
    assert!(matches!(elsewhere.verify(&token, &[], now()), Err(TokenError::Foreign)));
    for foreign in ["", "a", "a.b", "a.b.c", "....", "e30.e30.e30"] {
        assert!(matches!(both.verify(foreign, &[], now()), Err(TokenError::Foreign)), "{foreign}");
    }
}

#[test]
fn what_is_signed_cannot_be_exchanged() {
    let signer = signer();
    let verifier = verifier(&[&signer]);
    let (token, _) = signer.issue(request(), now()).unwrap();
    let parts: Vec<_> = token.split('.').collect();
    let mut claims = part(&token, 1);
    claims["sub"] = "system:serviceaccount:kube-system:admin".into();
    let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
    let forged = format!("{}.{claims}.{}", parts[0], parts[2]);
    assert!(matches!(verifier.verify(&forged, &[], now()), Err(TokenError::Signature)));
    for alg in ["none", "HS256", "RS256"] {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": alg}).to_string());
        for signature in ["", parts[2]] {
            let forged = format!("{header}.{}.{signature}", parts[1]);
            assert!(matches!(verifier.verify(&forged, &[], now()), Err(TokenError::Signature)), "{alg}");
        }
    }
}

struct Objects(HashMap<(String, String), BoundState>);

#[async_trait]
impl BoundObjects for Objects {
    async fn find(&self, resource: &str, _: &str, name: &str) -> anyhow::Result<Option<BoundState>> {
        Ok(self.0.get(&(resource.to_owned(), name.to_owned())).cloned())
    }
}

#[tokio::test]
async fn bound_objects_must_be_there() {
    let signer = signer();
    let (token, _) = signer.issue(request(), now()).unwrap();
    let verified = verifier(&[&signer]).verify(&token, &[], now()).unwrap();
    let state = |uid: &str| BoundState { uid: uid.into(), deletion_timestamp: None };
    let key = |resource: &str, name: &str| (resource.to_owned(), name.to_owned());
    let mut objects =
        Objects(HashMap::from([(key("serviceaccounts", "bot"), state("u1")), (key("pods", "pod"), state("u2"))]));
    assert_eq!(verified.bound(&objects, now()).await.unwrap(), verified.user(), "the pod's node is not looked for");

    let deleted = BoundState { deletion_timestamp: Some(now()), ..state("u2") };
    objects.0.insert(key("pods", "pod"), deleted);
    assert!(verified.bound(&objects, now() + seconds(60)).await.is_ok());
    let refused = async |objects: &Objects, at| verified.bound(objects, at).await.unwrap_err().to_string();
    let invalidated = "service account token has been invalidated";
    assert_eq!(refused(&objects, now() + seconds(61)).await, invalidated);
    objects.0.insert(key("pods", "pod"), state("another"));
    let replaced = "pod UID (another) does not match service account pod ref claim (u2)";
    assert_eq!(refused(&objects, now()).await, replaced);
    objects.0.remove(&key("pods", "pod"));
    assert_eq!(refused(&objects, now()).await, invalidated);
    objects.0.insert(key("serviceaccounts", "bot"), state("another"));
    assert_eq!(refused(&objects, now()).await, "service account UID (another) does not match claim (u1)");
    objects.0.clear();
    assert_eq!(refused(&objects, now()).await, "serviceaccounts \"bot\" not found");
}

#[test]
fn keys_are_read_from_both_halves() {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let private = SigningKey::from_pem(pair.serialize_pem().as_bytes()).unwrap().public_key();
    let public = PublicKey::all_from_pem(pair.public_key_pem().as_bytes()).unwrap();
    assert_eq!(public, std::slice::from_ref(&private));
    assert_eq!(PublicKey::all_from_pem(pair.serialize_pem().as_bytes()).unwrap(), std::slice::from_ref(&private));
    // The older form is what the newer one wraps.
    const WRAPPING: usize = 29;
    let older = base64::engine::general_purpose::STANDARD.encode(&pair.serialize_der()[WRAPPING..]);
    let older = format!("-----BEGIN EC PRIVATE KEY-----\n{older}\n-----END EC PRIVATE KEY-----\n");
    assert_eq!(SigningKey::from_pem(older.as_bytes()).unwrap().public_key(), private);
    use sha2::Digest;
    let spki = sha2::Sha256::digest(pair.subject_public_key_info());
    assert_eq!(private.id(), URL_SAFE_NO_PAD.encode(spki));
    let two = format!("{}{}", pair.public_key_pem(), KeyPair::generate().unwrap().public_key_pem());
    assert_eq!(PublicKey::all_from_pem(two.as_bytes()).unwrap().len(), 2);
    assert!(PublicKey::all_from_pem(b"nothing").is_err());
    assert!(SigningKey::from_pem(pair.public_key_pem().as_bytes()).is_err());
}

#[test]
fn documents_describe_the_keys() {
    let signer = signer();
    let keys = [signer.public_key()];
    let document = jwks(&keys).unwrap();
    let key = &document["keys"][0];
    assert_eq!(
        (&key["kty"], &key["crv"], &key["alg"], &key["use"]),
        (&"EC".into(), &"P-256".into(), &"ES256".into(), &"sig".into())
    );
    assert_eq!(key["kid"], keys[0].id());
    // The document alone must be enough to verify a token.
    let number = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let point = [vec![4], number("x"), number("y")].concat();
    let (token, _) = signer.issue(request(), now()).unwrap();
    let (signed, signed_by) = token.rsplit_once('.').unwrap();
    let key = signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point);
    key.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signed_by).unwrap()).unwrap();

    let configuration = openid_configuration(DEFAULT_ISSUER, "https://10.0.0.10:6443/openid/v1/jwks", &keys);
    assert_eq!(configuration["issuer"], DEFAULT_ISSUER);
    assert_eq!(configuration["id_token_signing_alg_values_supported"], json!(["ES256"]));
}

#[test]
fn rsa_keys_work_too() {
    let made =
        Command::new("openssl").args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]).output();
    let Some(made) = made.ok().filter(|made| made.status.success()) else {
        eprintln!("SKIPPED rsa_keys_work_too: there is no openssl to make an RSA key");
        return;
    };
    let signer = Signer::new(SigningKey::from_pem(&made.stdout).unwrap(), DEFAULT_ISSUER);
    let (token, _) = signer.issue(request(), now()).unwrap();
    assert_eq!(part(&token, 0)["alg"], "RS256");
    assert!(verifier(&[&signer]).verify(&token, &[], now()).is_ok());
    let document = jwks(&[signer.public_key()]).unwrap();
    assert_eq!((&document["keys"][0]["kty"], &document["keys"][0]["e"]), (&"RSA".into(), &"AQAB".into()));
    assert_eq!(URL_SAFE_NO_PAD.decode(document["keys"][0]["n"].as_str().unwrap()).unwrap().len(), 256);

    // The id must be the hash of what openssl says the public key is.
    let dir = std::env::temp_dir().join(format!("knetsim-auth-rsa-{}", std::process::id()));
    std::fs::write(&dir, &made.stdout).unwrap();
    let public = Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&dir).output().unwrap();
    std::fs::remove_file(&dir).unwrap();
    assert_eq!(PublicKey::all_from_pem(&public.stdout).unwrap(), [signer.public_key()]);
}

#[test]
fn usernames() {
    assert_eq!(split_username(&username("a", "b")), Some(("a", "b")));
    for bad in [
        "system:serviceaccount:a",
        "system:serviceaccount::b",
        "system:serviceaccount:a:",
        "system:serviceaccount:a:b:c",
        "a:b",
    ] {
        assert_eq!(split_username(bad), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn nothing_makes_the_verifier_panic(token in ".*", header in ".*", payload in ".*") {
        let signer = signer();
        let verifier = verifier(&[&signer]);
        prop_assert!(verifier.verify(&token, &[], now()).is_err());
        let encoded = [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let token = format!("{encoded}.AAAA");
        prop_assert!(verifier.verify(&token, &[], now()).is_err());
    }
}

#[test]
fn tokens_in_secrets() {
    let (signer, other) = (signer(), signer());
    let verifier = verifier(&[&signer]);
    let claims = LegacyClaims::new("web", "bot", "u1", "s");
    let token = signer.issue_legacy(&claims).unwrap();
    assert_eq!(
        part(&token, 1),
        json!({
            "iss": "kubernetes/serviceaccount",
            "kubernetes.io/serviceaccount/namespace": "web",
            "kubernetes.io/serviceaccount/secret.name": "s",
            "kubernetes.io/serviceaccount/service-account.name": "bot",
            "kubernetes.io/serviceaccount/service-account.uid": "u1",
            "sub": "system:serviceaccount:web:bot",
        })
    );
    assert!(matches!(verifier.verify(&token, &[], now()), Err(TokenError::Foreign)));
    assert_eq!(verifier.verify_legacy(&token, &[]).unwrap(), (claims.clone(), vec![DEFAULT_ISSUER.to_owned()]));
    assert!(matches!(verifier.verify_legacy(&token, &["vault".into()]), Err(TokenError::Audience { .. })));
    let forged = other.issue_legacy(&claims).unwrap();
    assert!(matches!(verifier.verify_legacy(&forged, &[]), Err(TokenError::Signature)));
    for (name, broken) in [
        ("secretName claim is missing", LegacyClaims { secret: String::new(), ..claims.clone() }),
        ("serviceAccountUID claim is missing", LegacyClaims { account_uid: String::new(), ..claims.clone() }),
        ("sub claim is invalid", LegacyClaims { account: "else".into(), ..claims.clone() }),
    ] {
        let broken = signer.issue_legacy(&broken).unwrap();
        assert_eq!(verifier.verify_legacy(&broken, &[]).unwrap_err().to_string(), name);
    }

    let secret = |more: Value| {
        let data = base64::engine::general_purpose::STANDARD.encode(&token);
        let mut secret = json!({"metadata": {"labels": {}}, "data": {"token": data}});
        json_merge(&mut secret, more);
        secret
    };
    let account = json!({"metadata": {"uid": "u1"}, "secrets": [{"name": "x"}]});
    let judge = |secret: Option<&Value>, account: Option<&Value>| claims.judge(&token, secret, account);
    let good = judge(Some(&secret(json!({}))), Some(&account));
    let user = good.user.unwrap();
    assert_eq!((&*user.username, &*user.uid, good.used), ("system:serviceaccount:web:bot", "u1", true));
    assert_eq!(good.annotations, [("authentication.k8s.io/legacy-token-manual-secret", "s".to_owned())]);
    assert_eq!(good.warning, None);
    let listed = judge(Some(&secret(json!({}))), Some(&json!({"metadata": {"uid": "u1"}, "secrets": [{"name": "s"}]})));
    assert_eq!(listed.annotations, [("authentication.k8s.io/legacy-token-autogenerated-secret", "s".to_owned())]);
    assert!(listed.user.is_ok() && listed.warning.unwrap().starts_with("Use tokens from the TokenRequest API"));
    let invalid = json!({"metadata": {"labels": {"kubernetes.io/legacy-token-invalid-since": "2026-01-01"}}});
    let invalid = judge(Some(&secret(invalid)), Some(&account));
    assert_eq!(invalid.annotations, [("authentication.k8s.io/legacy-token-invalidated", "s/web".to_owned())]);
    assert!(invalid.used && invalid.user.unwrap_err().to_string().contains("has been marked invalid"));
    let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let anew = json!({"metadata": {"uid": "u2"}});
    for (secret, account, why) in [
        (None, Some(&account), "Token has been invalidated"),
        (Some(secret(deleted)), Some(&account), "Token has been invalidated"),
        (Some(secret(json!({"data": {"token": "eA=="}}))), Some(&account), "Token does not match server's copy"),
        (Some(secret(json!({}))), None, "serviceaccounts \"bot\" not found"),
        (Some(secret(json!({}))), Some(&anew), "ServiceAccount UID (u2) does not match claim (u1)"),
    ] {
        let judged = judge(secret.as_ref(), account);
        assert_eq!(judged.user.unwrap_err().to_string(), why);
        assert!(!judged.used && judged.annotations.is_empty());
    }
}

fn json_merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.into_iter().for_each(|(key, value)| json_merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, from) => *into = from,
    }
}

#[test]
fn the_last_use_is_a_day() {
    let now = "2026-02-28T23:30:00Z".parse().unwrap();
    let of = |label: &str| last_used(&json!({"metadata": {"labels": {LAST_USED_LABEL: label}}}), now);
    assert_eq!(last_used(&json!({}), now).as_deref(), Some("2026-02-28"));
    assert_eq!(of("2026-02-27").as_deref(), Some("2026-02-28"));
    assert_eq!((of("2026-02-28"), of("2026-03-01")), (None, None));
}
