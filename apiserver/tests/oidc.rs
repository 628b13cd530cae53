//! Tokens of OpenID Connect issuers, through a real server and small issuers of our own on loopback.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::Server;
use support::issuer::{Issuer, Told};
use support::raw::{Raw, Reply};

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
/// Longer than the server waits before it asks an issuer again.
const PATIENCE: Duration = Duration::from_secs(45);

fn raw(server: &Server, own: bool) -> Raw {
    let read = |name: &str| std::fs::read_to_string(server.dir.join("pki").join(name)).unwrap();
    let own = own.then(|| (read("admin.crt"), read("admin.key")));
    let own = own.as_ref().map(|(certificate, key)| (certificate.as_str(), key.as_str()));
    Raw::new(&server.dir.join("pki/ca.crt"), server.port, own)
}

fn body(reply: &Reply) -> Value {
    serde_json::from_str(reply.text.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// The status of a TokenReview.
fn review(server: &Server, token: &str) -> Value {
    let sent = json!({ "spec": { "token": token } }).to_string();
    body(&raw(server, true).send("POST", REVIEWS, &[], &sent))["status"].clone()
}

fn code(server: &Server, token: &str, path: &str) -> u16 {
    let bearer = format!("Authorization: Bearer {token}");
    raw(server, false).send("GET", path, &[&bearer], "").code
}

/// Asks again until it is so.
fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
    }
}

fn write(path: &Path, jwt: &[Value], more: &Value) {
    let mut configuration =
        json!({ "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": jwt });
    configuration.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    std::fs::write(path, configuration.to_string()).unwrap();
}

#[test]
fn one_issuer_by_flags() {
    let issuer = Issuer::start();
    let server = Server::start_with("oidc-flags", None, |dir| {
        let ca = dir.join("issuer.crt");
        std::fs::write(&ca, &issuer.ca).unwrap();
        vec![
            format!("--oidc-issuer-url={}", issuer.url()),
            "--oidc-client-id=kubernetes".to_owned(),
            format!("--oidc-ca-file={}", ca.display()),
            "--oidc-username-claim=name".to_owned(),
            "--oidc-username-prefix=oidc:".to_owned(),
            "--oidc-groups-claim=groups".to_owned(),
            "--oidc-groups-prefix=oidc:".to_owned(),
            "--oidc-required-claim=tenant=blue".to_owned(),
            "--oidc-signing-algs=ES256".to_owned(),
        ]
    });
    let claims = json!({ "aud": "kubernetes", "name": "jane", "groups": ["dev"], "tenant": "blue" });
    let token = issuer.token(&claims);
    until("the issuer is discovered", || review(&server, &token)["authenticated"] == true);
    let user = review(&server, &token)["user"].clone();
    assert_eq!(user["username"], "oidc:jane");
    assert_eq!(user["groups"], json!(["oidc:dev", "system:authenticated"]));
    let subject = ["create", "clusterrolebinding", "devs", "--clusterrole=view", "--group=oidc:dev"];
    server.ok(&subject, "");
    until("the binding is known", || code(&server, &token, "/api/v1/namespaces/default/pods") == 200);
    assert_eq!(code(&server, &token, "/api/v1/namespaces/default/secrets"), 403);
    let flag = format!("--token={token}");
    let asked = [
        "--kubeconfig=/dev/null",
        "--server",
        &format!("https://127.0.0.1:{}", server.port),
        "--insecure-skip-tls-verify",
        &flag,
    ];
    let who = server.ok(&[&asked[..], &["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]].concat(), "");
    assert_eq!(who, "oidc:jane");

    let with = |field: &str, value: Value| {
        let mut claims = claims.clone();
        claims[field] = value;
        issuer.token(&claims)
    };
    for (token, why) in [
        (with("aud", json!("else")), "oidc: verify token: oidc: expected audience \"kubernetes\" got [\"else\"]"),
        (
            with("exp", json!(1)),
            "oidc: verify token: oidc: token is expired (Token Expiry: 1970-01-01 00:00:01 +0000 UTC)",
        ),
        (with("tenant", json!("red")), "oidc: required claim tenant value does not match. Got = red, want = blue"),
        (
            issuer.stranger(&claims),
            "oidc: verify token: failed to verify signature: failed to verify id token signature",
        ),
    ] {
        assert_eq!(review(&server, &token)["error"], format!("[invalid bearer token, {why}]"));
        assert_eq!(code(&server, &token, "/api"), 401);
    }
    // A new key is fetched when a token names it; what was signed with the old one is then good no more.
    issuer.rotate();
    let renewed = issuer.token(&json!({ "aud": "kubernetes", "name": "joe", "tenant": "blue" }));
    assert_eq!(review(&server, &renewed)["user"]["username"], "oidc:joe");
    let old = review(&server, &token);
    assert_eq!(old["authenticated"], Value::Null, "{old}");
    // Keys that are known are enough while the issuer is away.
    issuer.down(true);
    let again = issuer.token(&json!({ "aud": "kubernetes", "name": "jim", "tenant": "blue" }));
    assert_eq!(review(&server, &again)["user"]["username"], "oidc:jim");
}

#[test]
fn several_issuers_by_a_file_that_changes() {
    let (first, second, third) = (Issuer::start(), Issuer::start(), Issuer::start());
    second.down(true);
    let jwt = |issuer: &Issuer, name: &str| {
        json!({
            "issuer": { "url": issuer.url(), "certificateAuthority": issuer.ca, "audiences": ["a", "b"], "audienceMatchPolicy": "MatchAny" },
            "claimMappings": {
                "username": { "expression": format!("'{name}:' + claims.sub") },
                "groups": { "expression": "claims.?roles.orValue([])" },
                "uid": { "claim": "sub" },
                "extra": [{ "key": "example.org/level", "valueExpression": "string(int(claims.level))" }],
            },
            "claimValidationRules": [{ "expression": "claims.level < 5", "message": "level is too high" }],
            "userValidationRules": [{ "expression": "!('system:masters' in user.groups)", "message": "no" }],
        })
    };
    let anonymous = json!({ "anonymous": { "enabled": true, "conditions": [{ "path": "/livez" }] } });
    let mut file = std::path::PathBuf::new();
    let server = Server::start_with("oidc-file", None, |dir| {
        file = dir.join("authentication.yaml");
        write(&file, &[jwt(&first, "first"), jwt(&second, "second")], &anonymous);
        vec![format!("--authentication-config={}", file.display())]
    });
    let claims = |level: u32| json!({ "aud": ["b", "x"], "sub": "jane", "roles": ["dev"], "level": level });
    let (good, other) = (first.token(&claims(1)), second.token(&claims(1)));
    until("the first issuer is discovered", || review(&server, &good)["authenticated"] == true);
    let user = review(&server, &good)["user"].clone();
    assert_eq!((&user["username"], &user["uid"]), (&json!("first:jane"), &json!("jane")));
    assert_eq!(user["groups"], json!(["dev", "system:authenticated"]));
    assert_eq!(user["extra"]["example.org/level"], json!(["1"]));
    let high = review(&server, &first.token(&claims(7)))["error"].clone();
    assert_eq!(
        high,
        "[invalid bearer token, oidc: error evaluating claim validation expression: validation expression 'claims.level < 5' failed: level is too high]"
    );
    let mut masters = claims(1);
    masters["roles"] = json!(["system:masters"]);
    let masters = review(&server, &first.token(&masters));
    assert!(masters["error"].as_str().unwrap().contains("error evaluating user info validation rule"), "{masters}");

    // The one that is away keeps nobody else from coming in.
    assert_eq!(review(&server, &other)["error"], "[invalid bearer token, oidc: authenticator not initialized]");
    assert_eq!(code(&server, &good, "/api"), 200);
    second.down(false);
    until("the second issuer is discovered", || review(&server, &other)["user"]["username"] == "second:jane");

    // Without credentials to one path only.
    let nobody = raw(&server, false);
    assert_eq!(nobody.send("GET", "/livez", &[], "").code, 200);
    assert_eq!(nobody.send("GET", "/readyz", &[], "").code, 401);

    // What makes no sense changes nothing; what does is in force without a restart.
    std::fs::write(&file, "kind: Nonsense").unwrap();
    write(&file, &[jwt(&third, "third"), jwt(&first, "anew")], &anonymous);
    until("the new file is in force", || review(&server, &third.token(&claims(1)))["user"]["username"] == "third:jane");
    assert_eq!(review(&server, &good)["user"]["username"], "anew:jane");
    assert_eq!(code(&server, &other, "/api"), 401, "its issuer is gone");
    assert_eq!(review(&server, &other)["error"], "invalid bearer token");
}

/// Groups that another server tells, which signs them with keys of its own.
#[test]
fn distributed_claims() {
    let (issuer, teller) = (Issuer::start(), Issuer::start());
    let server = Server::start_with("oidc-distributed", None, |dir| {
        let ca = dir.join("issuers.crt");
        std::fs::write(&ca, format!("{}{}", issuer.ca, teller.ca)).unwrap();
        vec![
            format!("--oidc-issuer-url={}", issuer.url()),
            "--oidc-client-id=kubernetes".to_owned(),
            format!("--oidc-ca-file={}", ca.display()),
            "--oidc-username-prefix=-".to_owned(),
            "--oidc-groups-claim=groups".to_owned(),
            "--oidc-groups-prefix=g:".to_owned(),
            "--oidc-signing-algs=ES256".to_owned(),
        ]
    });
    let plain = issuer.token(&json!({ "aud": "kubernetes", "sub": "jane" }));
    until("the issuer is discovered", || review(&server, &plain)["authenticated"] == true);
    let token = |source: Value| {
        issuer.token(&json!({ "aud": "kubernetes", "sub": "jane",
            "_claim_names": { "groups": "s" }, "_claim_sources": { "s": source } }))
    };
    let groups = |groups: Value| json!({ "aud": "kubernetes", "groups": groups });
    let good = teller.token(&groups(json!(["dev", "ops"])));

    // The first of these tokens waits for the other issuer to be discovered; nothing is told of who has no access token.
    let url = teller.tell("/secret", Told::Secret("f005ba11", format!("{good}\n")));
    let user = review(&server, &token(json!({ "endpoint": url, "access_token": "f005ba11" })))["user"].clone();
    assert_eq!(user["groups"], json!(["g:dev", "g:ops", "system:authenticated"]));
    assert_eq!(teller.asked(), ["/secret", "/.well-known/openid-configuration", "/keys"]);
    let open = teller.tell("/open", Told::Text(good.clone()));
    // As long as its name allows; the access token goes along to the same host.
    let moved = teller.tell("/moved", Told::At("/secret".to_owned()));
    let many: Vec<String> = (0..4000).map(|number| format!("{number:020}")).collect();
    let many = teller.tell("/many", Told::Text(teller.token(&groups(json!(many)))));
    let own = issuer.tell("/own", Told::Text(issuer.token(&groups(json!("one")))));
    for (source, count) in [
        (json!({ "endpoint": open }), 2),
        (json!({ "endpoint": moved, "access_token": "f005ba11" }), 2),
        (json!({ "endpoint": many }), 4000),
        (json!({ "endpoint": own }), 1),
        // Within the token, which is not read.
        (json!({ "JWT": good }), 0),
    ] {
        let user = review(&server, &token(source.clone()))["user"].clone();
        assert_eq!(user["groups"].as_array().map(Vec::len), Some(count + 1), "{source}");
    }
    teller.asked();
    let both = issuer.token(&json!({ "aud": "kubernetes", "sub": "jane", "groups": ["here"],
        "_claim_names": { "groups": "s" }, "_claim_sources": { "s": { "endpoint": open } } }));
    assert_eq!(review(&server, &both)["user"]["groups"], json!(["g:here", "system:authenticated"]));
    assert!(teller.asked().is_empty(), "the claim was there already");

    let text = |path: &str, text: &str| teller.tell(path, Told::Text(text.to_owned()));
    let claims = |path: &str, claims: &Value| text(path, &teller.token(claims));
    let gone = teller.url() + "/none";
    let (junk, stranger) = (text("/junk", "a.b"), text("/stranger", &teller.stranger(&groups(json!(["x"])))));
    let long = text("/long", &"a".repeat(1024 * 1024 + 1));
    let other = claims("/other", &json!({ "aud": "kubernetes", "roles": ["x"] }));
    let foreign = claims("/foreign", &json!({ "aud": "else", "groups": ["x"] }));
    let nobody = claims("/nobody", &json!({ "aud": "kubernetes", "groups": ["x"], "iss": "https://127.0.0.1:1" }));
    let getting = "while getting distributed claim \"groups\": ";
    for (source, why) in [
        (json!({ "endpoint": gone }), format!("{getting}error while getting distributed claim JWT: 404 Not Found")),
        (
            json!({ "endpoint": url, "access_token": "wrong" }),
            format!("{getting}error while getting distributed claim JWT: 401 Unauthorized"),
        ),
        (
            json!({ "endpoint": "https://127.0.0.1:1/" }),
            format!("{getting}Get \"https://127.0.0.1:1/\": dial tcp 127.0.0.1:1: connect: connection refused"),
        ),
        (json!({ "endpoint": long }), format!("{getting}Get {long:?}: length limit exceeded")),
        (
            json!({ "endpoint": junk }),
            format!("getting untrusted issuer from endpoint {junk} failed for claim \"groups\": malformed token"),
        ),
        (
            json!({ "endpoint": nobody }),
            "verifying untrusted issuer https://127.0.0.1:1 failed: verifier not initialized for issuer: \"https://127.0.0.1:1\""
                .to_owned(),
        ),
        (
            json!({ "endpoint": stranger }),
            "verify distributed claim token: failed to verify signature: failed to verify id token signature".to_owned(),
        ),
        (
            json!({ "endpoint": foreign }),
            "verify distributed claim token: oidc: expected audience \"kubernetes\" got [\"else\"]".to_owned(),
        ),
        (
            json!({ "endpoint": other }),
            format!("jwt returned by distributed claim endpoint {other:?} did not contain claim: groups"),
        ),
    ] {
        let told = review(&server, &token(source))["error"].clone();
        assert_eq!(told, format!("[invalid bearer token, oidc: could not expand distributed claims: {why}]"));
    }
}
