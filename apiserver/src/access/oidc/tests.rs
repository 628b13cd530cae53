use serde_json::{Value, json};

use super::config::Configuration;
use super::distributed::{Endpoint, endpoint};
use super::validate::{Compiled, compile};
use super::{aggregate, claims};

fn parse(jwt: &Value) -> Configuration {
    let header = json!({ "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration" });
    let mut whole = header;
    whole["jwt"] = jwt.clone();
    Configuration::parse(&whole.to_string()).unwrap()
}

fn one(issuer: Value, mappings: Value, more: Value) -> Value {
    let mut jwt = json!({ "issuer": { "url": "https://i", "audiences": ["c"] }, "claimMappings": { "username": { "claim": "sub", "prefix": "" } } });
    for (into, from) in [("issuer", issuer), ("claimMappings", mappings)] {
        for (field, value) in from.as_object().unwrap() {
            jwt[into][field] = value.clone();
        }
    }
    jwt.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    jwt
}

fn errors(jwt: &Value) -> String {
    match compile(&parse(jwt), &["https://own".to_owned()]) {
        Ok(_) => String::new(),
        Err(errors) => aggregate(&errors),
    }
}

#[test]
fn validation() {
    let none = || json!({});
    let email = "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression";
    let expression = |text: &str| json!({ "username": { "claim": "", "expression": text, "prefix": null } });
    let rows = [
        (one(none(), none(), none()), ""),
        (one(json!({ "url": "" }), none(), none()), "jwt[0].issuer.url: Required value"),
        (
            one(json!({ "url": "http://i" }), none(), none()),
            "jwt[0].issuer.url: Invalid value: \"http://i\": URL scheme must be https",
        ),
        (
            one(json!({ "url": "https://a:b@i" }), none(), none()),
            "jwt[0].issuer.url: Invalid value: \"https://a:b@i\": URL must not contain a username or password",
        ),
        (
            one(json!({ "url": "https://i?a=b" }), none(), none()),
            "jwt[0].issuer.url: Invalid value: \"https://i?a=b\": URL must not contain a query",
        ),
        (
            one(json!({ "url": "https://i#a" }), none(), none()),
            "jwt[0].issuer.url: Invalid value: \"https://i#a\": URL must not contain a fragment",
        ),
        (
            one(json!({ "url": "https://own" }), none(), none()),
            "jwt[0].issuer.url: Invalid value: \"https://own\": URL must not overlap with disallowed issuers: [https://own]",
        ),
        (
            one(json!({ "discoveryURL": "https://i/" }), none(), none()),
            "jwt[0].issuer.discoveryURL: Invalid value: \"https://i/\": discoveryURL must be different from URL",
        ),
        (
            one(json!({ "audiences": [] }), none(), none()),
            "jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required",
        ),
        (
            one(json!({ "audiences": ["c", ""], "audienceMatchPolicy": "MatchAny" }), none(), none()),
            "jwt[0].issuer.audiences[1]: Required value",
        ),
        (
            one(json!({ "audiences": ["a", "b"] }), none(), none()),
            "jwt[0].issuer.audienceMatchPolicy: Invalid value: \"\": audienceMatchPolicy must be MatchAny for multiple audiences",
        ),
        (
            one(json!({ "audienceMatchPolicy": "All" }), none(), none()),
            "jwt[0].issuer.audienceMatchPolicy: Invalid value: \"All\": audienceMatchPolicy must be empty or MatchAny for single audience",
        ),
        (
            one(json!({ "certificateAuthority": "junk" }), none(), none()),
            "jwt[0].issuer.certificateAuthority: Invalid value: \"<omitted>\": data does not contain any valid RSA or ECDSA certificates",
        ),
        (
            one(json!({ "egressSelectorType": "x" }), none(), none()),
            "jwt[0].issuer.egressSelectorType: Invalid value: \"x\": egress selector must be either controlplane or cluster",
        ),
        (
            one(none(), json!({ "username": {} }), none()),
            "jwt[0].claimMappings.username: Required value: claim or expression is required",
        ),
        (
            one(none(), json!({ "username": { "claim": "sub" } }), none()),
            "jwt[0].claimMappings.username.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing",
        ),
        (
            one(none(), json!({ "groups": { "claim": "g", "expression": "claims.g" } }), none()),
            "jwt[0].claimMappings.groups: Invalid value: \"\": claim and expression can't both be set",
        ),
        (
            one(none(), json!({ "groups": { "prefix": "p", "expression": "claims.g" } }), none()),
            "jwt[0].claimMappings.groups.prefix: Invalid value: \"p\": may not be specified when expression is set",
        ),
        (
            one(none(), json!({ "uid": { "claim": "g", "expression": "claims.g" } }), none()),
            "jwt[0].claimMappings.uid: Invalid value: \"\": claim and expression can't both be set",
        ),
        (
            one(none(), json!({ "uid": { "expression": "claim.g" } }), none()),
            "jwt[0].claimMappings.uid.expression: Invalid value: \"claim.g\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'claim' (in container '')\n | claim.g\n | ^",
        ),
        (
            one(none(), json!({ "extra": [{ "key": "x", "valueExpression": "'a'" }] }), none()),
            "jwt[0].claimMappings.extra[0].key: Invalid value: \"x\": must be a domain-prefixed path (such as \"acme.io/foo\")",
        ),
        (
            one(none(), json!({ "extra": [{ "key": "a.io/X", "valueExpression": "'a'" }] }), none()),
            "jwt[0].claimMappings.extra[0].key: Invalid value: \"a.io/X\": must be lowercase",
        ),
        (
            one(none(), json!({ "extra": [{ "key": "a.k8s.io/x", "valueExpression": "'a'" }] }), none()),
            "jwt[0].claimMappings.extra[0].key: Invalid value: \"a.k8s.io/x\": k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use",
        ),
        (
            one(none(), json!({ "extra": [{ "key": "a.io/x" }] }), none()),
            "jwt[0].claimMappings.extra[0].valueExpression: Required value",
        ),
        (
            one(none(), expression("claims.email"), none()),
            &*format!("jwt[0].claimMappings.username.expression: Invalid value: \"claims.email\": {email}"),
        ),
        (
            one(
                none(),
                expression("claims.email"),
                json!({ "claimValidationRules": [{ "expression": "claims.email_verified == true" }] }),
            ),
            "",
        ),
        (
            one(none(), none(), json!({ "claimValidationRules": [{}] })),
            "jwt[0].claimValidationRules[0]: Required value: claim or expression is required",
        ),
        (
            one(none(), none(), json!({ "claimValidationRules": [{ "claim": "a", "expression": "true" }] })),
            "jwt[0].claimValidationRules[0]: Invalid value: \"a\": claim and expression can't both be set",
        ),
        (
            one(none(), none(), json!({ "claimValidationRules": [{ "claim": "a", "message": "m" }] })),
            "jwt[0].claimValidationRules[0].message: Invalid value: \"m\": may not be specified when claim is set",
        ),
        (
            one(none(), none(), json!({ "claimValidationRules": [{ "expression": "true", "requiredValue": "m" }] })),
            "jwt[0].claimValidationRules[0].requiredValue: Invalid value: \"m\": may not be specified when expression is set",
        ),
        (
            one(none(), none(), json!({ "claimValidationRules": [{ "claim": "a" }, { "claim": "a" }] })),
            "jwt[0].claimValidationRules[1].claim: Duplicate value: \"a\"",
        ),
        (
            one(none(), none(), json!({ "claimValidationRules": [{ "expression": "claims.a" }] })),
            "jwt[0].claimValidationRules[0].expression: Invalid value: \"claims.a\": must evaluate to bool",
        ),
        (
            one(none(), none(), json!({ "userValidationRules": [{ "expression": "" }] })),
            "jwt[0].userValidationRules[0].expression: Required value",
        ),
        (
            one(
                none(),
                none(),
                json!({ "userValidationRules": [{ "expression": "'a' in user.groups" }, { "expression": "'a' in user.groups" }] }),
            ),
            "jwt[0].userValidationRules[1].expression: Duplicate value: \"'a' in user.groups\"",
        ),
    ];
    for (jwt, expected) in rows {
        assert_eq!(errors(&json!([jwt])), expected, "{jwt}");
    }
    let twice = one(json!({ "discoveryURL": "https://d" }), json!({}), json!({}));
    assert_eq!(
        errors(&json!([twice, twice])),
        "[jwt[1].issuer.url: Duplicate value: \"https://i\", jwt[1].issuer.discoveryURL: Duplicate value: \"https://d\"]"
    );
    assert_eq!(errors(&json!(vec![twice; 65])), "jwt: Too many: 65: must have at most 64 items");
}

#[test]
fn anonymous_conditions_need_anonymous() {
    let mut configuration = parse(&json!([]));
    let condition = super::config::Condition { path: "/livez".to_owned() };
    configuration.anonymous = Some(super::config::Anonymous { enabled: false, conditions: vec![condition] });
    let errors = compile(&configuration, &[]).unwrap_err();
    assert!(aggregate(&errors).ends_with("enabled should be set to true when conditions are defined"), "{errors:?}");
}

fn compiled(mappings: Value, more: Value) -> Compiled {
    compile(&parse(&json!([one(json!({}), mappings, more)])), &[]).unwrap().remove(0)
}

#[test]
fn times_and_audiences() {
    let several = json!({ "audiences": ["c", "a"], "audienceMatchPolicy": "MatchAny" });
    let several = compile(&parse(&json!([one(several, json!({}), json!({}))])), &[]).unwrap().remove(0);
    let single = compiled(json!({}), json!({}));
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let base = json!({ "iss": "https://i", "aud": "c", "exp": 1_767_225_601 });
    let check = |compiled: &Compiled, more: Value| {
        let mut claims = base.as_object().unwrap().clone();
        claims.extend(more.as_object().unwrap().clone());
        claims.retain(|_, value| !value.is_null());
        claims::check(&claims, &compiled.issuer.url, &compiled.issuer.audiences, now).err().unwrap_or_default()
    };
    for (more, expected) in [
        (json!({}), ""),
        (json!({ "aud": ["x", "c"] }), ""),
        (
            json!({ "iss": "https://j" }),
            "oidc: id token issued by a different provider, expected \"https://i\" got \"https://j\"",
        ),
        (json!({ "aud": ["x", "y"] }), "oidc: expected audience \"c\" got [\"x\" \"y\"]"),
        (json!({ "exp": 1_767_225_599 }), "oidc: token is expired (Token Expiry: 2025-12-31 23:59:59 +0000 UTC)"),
        (json!({ "exp": null }), "oidc: token is expired (Token Expiry: 0001-01-01 00:00:00 +0000 UTC)"),
        (
            json!({ "exp": "soon" }),
            "oidc: failed to unmarshal claims: json: cannot unmarshal string into Go value of type float64",
        ),
        (json!({ "nbf": 1_767_225_660 }), ""),
        (
            json!({ "nbf": 1_767_225_661 }),
            "oidc: current time 2026-01-01 00:00:00 +0000 UTC before the nbf (not before) time: 2026-01-01 00:01:01 +0000 UTC",
        ),
    ] {
        assert_eq!(check(&single, more.clone()), expected, "{more}");
    }
    assert_eq!(check(&several, json!({ "aud": "a" })), "");
    assert_eq!(check(&several, json!({ "aud": "x" })), "oidc: expected audience in [\"a\" \"c\"] got [\"x\"]");
}

#[test]
fn claims_that_are_elsewhere() {
    let compiled = compiled(json!({}), json!({}));
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let told = |more: Value| {
        let mut claims = json!({ "iss": "https://i", "aud": "c", "exp": 1_767_225_601 }).as_object().unwrap().clone();
        claims.extend(more.as_object().unwrap().clone());
        claims::check(&claims, &compiled.issuer.url, &compiled.issuer.audiences, now)
            .and_then(|()| endpoint(&claims, "groups"))
    };
    let at = |url: &str, token: &str| Ok(Some(Endpoint { url: url.to_owned(), access_token: token.to_owned() }));
    let names = json!({ "groups": "s" });
    for (more, expected) in [
        (json!({ "_claim_names": names, "_claim_sources": { "s": { "endpoint": "https://e" } } }), at("https://e", "")),
        (
            json!({ "_claim_names": { "groups": "s", "x": "t" },
                "_claim_sources": { "s": { "endpoint": "https://e", "access_token": "a" }, "t": {} } }),
            at("https://e", "a"),
        ),
        // It is here already, is another's, or is within the token.
        (
            json!({ "groups": "g", "_claim_names": names, "_claim_sources": { "s": { "endpoint": "https://e" } } }),
            Ok(None),
        ),
        (json!({ "_claim_names": { "x": "s" }, "_claim_sources": { "s": { "endpoint": "https://e" } } }), Ok(None)),
        (json!({ "_claim_names": names, "_claim_sources": { "s": { "JWT": "a.b.c" } } }), Ok(None)),
        (json!({ "_claim_names": names, "_claim_sources": { "s": null } }), Ok(None)),
        (json!({ "_claim_sources": { "s": { "endpoint": "https://e" } } }), Ok(None)),
    ] {
        assert_eq!(told(more.clone()), expected, "{more}");
    }
    for (more, expected) in [
        (json!({ "_claim_names": names }), "oidc: source does not exist"),
        (json!({ "_claim_names": names, "_claim_sources": { "t": {} } }), "oidc: source does not exist"),
        (json!({ "_claim_names": { "x": "" } }), "oidc: failed to obtain source from claim name"),
        (json!({ "_claim_names": {} }), "oidc: no claim sources"),
        (
            json!({ "_claim_names": "x" }),
            "oidc: failed to unmarshal claims: json: cannot unmarshal string into Go struct field idToken._claim_names of type map[string]string",
        ),
        (
            json!({ "_claim_names": names, "_claim_sources": { "s": { "endpoint": 1 } } }),
            "oidc: failed to unmarshal claims: json: cannot unmarshal number into Go struct field claimSource._claim_sources.endpoint of type string",
        ),
        (
            json!({ "_claim_names": names, "_claim_sources": { "s": { "JWT": {} } } }),
            "oidc: could not parse claim sources: json: cannot unmarshal object into Go struct field endpoint.JWT of type string",
        ),
    ] {
        assert_eq!(told(more.clone()), Err(expected.to_owned()), "{more}");
    }
}

#[test]
fn users() {
    let user = |compiled: &Compiled, claims: Value| match claims::user(claims.as_object().unwrap(), compiled) {
        Ok(user) => serde_json::to_value(user).unwrap(),
        Err(why) => json!(why),
    };
    let plain = compiled(
        json!({ "username": { "claim": "sub", "prefix": "i#" }, "groups": { "claim": "roles", "prefix": "g:" }, "uid": { "claim": "id" } }),
        json!({ "claimValidationRules": [{ "claim": "hd", "requiredValue": "x.org" }] }),
    );
    for (claims, expected) in [
        (
            json!({ "sub": "a", "roles": ["b", "c"], "id": "7", "hd": "x.org", "jti": "j" }),
            json!({ "username": "i#a", "uid": "7", "groups": ["g:b", "g:c"],
                "extra": { "authentication.kubernetes.io/credential-id": ["JTI=j"] } }),
        ),
        (
            json!({ "sub": "a", "roles": "b", "id": "7", "hd": "x.org" }),
            json!({ "username": "i#a", "uid": "7", "groups": ["g:b"] }),
        ),
        (json!({ "roles": "b" }), json!("oidc: parse username claims \"sub\": claim not present")),
        (
            json!({ "sub": 1 }),
            json!("oidc: parse username claims \"sub\": json: cannot unmarshal number into Go value of type string"),
        ),
        (
            json!({ "sub": "a", "roles": 1 }),
            json!("oidc: parse groups claim \"roles\": json: cannot unmarshal number into Go value of type string"),
        ),
        (json!({ "sub": "a" }), json!("oidc: parse uid claim \"id\": claim not present")),
        (json!({ "sub": "a", "id": "7" }), json!("oidc: required claim hd not present in ID token")),
        (
            json!({ "sub": "a", "id": "7", "hd": "y" }),
            json!("oidc: required claim hd value does not match. Got = y, want = x.org"),
        ),
    ] {
        assert_eq!(user(&plain, claims.clone()), expected, "{claims}");
    }
    let email = compiled(json!({ "username": { "claim": "email", "prefix": "" } }), json!({}));
    for (claims, expected) in [
        (json!({ "email": "a@b" }), json!({ "username": "a@b" })),
        (json!({ "email": "a@b", "email_verified": true }), json!({ "username": "a@b" })),
        (json!({ "email": "a@b", "email_verified": false }), json!("oidc: email not verified")),
        (
            json!({ "email": "a@b", "email_verified": "yes" }),
            json!("oidc: parse 'email_verified' claim: json: cannot unmarshal string into Go value of type bool"),
        ),
    ] {
        assert_eq!(user(&email, claims.clone()), expected, "{claims}");
    }
    let expressions = compiled(
        json!({
            "username": { "claim": "", "prefix": null, "expression": "claims.sub + ':' + claims.nested.org__dot__unit" },
            "groups": { "expression": "claims.roles.map(r, 'x:' + r)" },
            "uid": { "expression": "claims.?uid.orValue('')" },
            "extra": [{ "key": "a.io/one", "valueExpression": "claims.one" }, { "key": "a.io/none", "valueExpression": "''" }],
        }),
        json!({
            "claimValidationRules": [{ "expression": "claims.exp - claims.iat <= 60", "message": "too long" }],
            "userValidationRules": [{ "expression": "!user.username.startsWith('system:')", "message": "reserved" },
                { "expression": "user.extra[?'a.io/one'].hasValue()", "message": "one" }],
        }),
    );
    let base = json!({ "sub": "a", "nested": { "org.unit": "u" }, "roles": ["r", "", "s"], "one": ["1", ""], "exp": 70, "iat": 10 });
    let with = |field: &str, value: Value| {
        let mut claims = base.clone();
        claims[field] = value;
        claims
    };
    for (claims, expected) in [
        (base.clone(), json!({ "username": "a:u", "groups": ["x:r", "x:", "x:s"], "extra": { "a.io/one": ["1"] } })),
        (
            with("sub", json!(5)),
            json!(
                "oidc: error evaluating username claim expression: expression 'claims.sub + ':' + claims.nested.org__dot__unit' resulted in error: no such overload"
            ),
        ),
        (
            with("roles", json!("r")),
            json!(
                "oidc: error evaluating group claim expression: expression 'claims.roles.map(r, 'x:' + r)' resulted in error: got 'types.String', expected iterable type"
            ),
        ),
        (
            with("uid", json!(5)),
            json!("oidc: error evaluating uid claim expression: uid claim expression must return a string"),
        ),
        (
            with("one", json!(5)),
            json!(
                "oidc: error evaluating extra claim expression: claims.one: expression must return a string or a list of strings"
            ),
        ),
        (
            with("exp", json!(71)),
            json!(
                "oidc: error evaluating claim validation expression: validation expression 'claims.exp - claims.iat <= 60' failed: too long"
            ),
        ),
        (
            with("sub", json!("system:x")),
            json!(
                "oidc: error evaluating user info validation rule: validation expression '!user.username.startsWith('system:')' failed: reserved"
            ),
        ),
    ] {
        assert_eq!(user(&expressions, claims.clone()), expected, "{claims}");
    }
}
