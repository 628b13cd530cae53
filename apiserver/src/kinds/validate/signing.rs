//! Certificate requests: what may be asked, and how a request moves on from there (`apis/certificates/validation`).

use auth::csr;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schema::field::{Error, ErrorList, Path};
use schema::go::quote;
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{one_of, spec};

/// The usages a certificate may be asked for.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// Conditions that are decisions: made once, at `approval`, and never taken back.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];
const FINAL: [&str; 3] = ["Approved", "Denied", "Failed"];

/// The longest path of a signer's name: a label, a dot and a subdomain; before it stand a subdomain and a slash.
const SIGNER_MAX: usize = DOMAIN_MAX + 1 + 63 + 1 + 253;
const DOMAIN_MAX: usize = 253;

/// A domain and a path (`ValidateSignerName`).
fn signer_name(errors: &mut ErrorList, at: &Path, name: &str) {
    if name.is_empty() {
        errors.push(Error::required(at, ""));
        return;
    }
    let Some((domain, path)) = name.split_once('/').filter(|(_, path)| !path.contains('/')) else {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.push(Error::invalid(at, name, detail));
        return;
    };
    // Of several parts that are wrong the first is told.
    let parts = |errors: &mut ErrorList, whole: &str, rule: fn(&str) -> Vec<String>| {
        let wrong = whole.split('.').map(|label| (label, rule(label))).find(|(_, wrong)| !wrong.is_empty());
        let told = wrong.into_iter().flat_map(|(label, wrong)| wrong.into_iter().map(move |why| (label, why)));
        errors.extend(
            told.map(|(label, why)| Error::invalid(at, whole, format!("validating label {}: {why}", quote(label)))),
        );
    };
    if domain.len() > DOMAIN_MAX {
        errors.push(Error::too_long(at, DOMAIN_MAX));
    }
    parts(errors, domain, names::dns1123_label);
    if !domain.contains('.') {
        errors.push(Error::invalid(at, domain, "should be a domain with at least two segments separated by dots"));
    }
    parts(errors, path, names::dns1123_subdomain);
    if name.len() > SIGNER_MAX {
        errors.push(Error::too_long(at, SIGNER_MAX));
    }
}

#[must_use]
pub fn request(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    if let Err(error) = csr::Request::parse(body.text("request")) {
        errors.push(Error::invalid(&path.child("request"), body.at("request").clone(), error.to_string()));
    }
    if body.list("usages").is_empty() {
        errors.push(Error::required(&path.child("usages"), ""));
    }
    let mut seen = std::collections::BTreeSet::new();
    for (i, usage) in body.texts("usages").into_iter().enumerate() {
        one_of(&mut errors, &path.child("usages").index(i), usage, &USAGES);
        if !seen.insert(usage) {
            errors.push(Error::duplicate(&path.child("usages").index(i), usage));
        }
    }
    let signer = body.text("signerName");
    signer_name(&mut errors, &path.child("signerName"), signer);
    if signer == csr::LEGACY_UNKNOWN {
        let detail = "the legacy signerName is not allowed via this API version";
        errors.push(Error::invalid(&path.child("signerName"), signer, detail));
    }
    if body.has("expirationSeconds") && body.int("expirationSeconds") < 600 {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(Error::invalid(&path.child("expirationSeconds"), body.int("expirationSeconds"), detail));
    }
    conditions(&mut errors, object);
    certificate(&mut errors, object);
    errors
}

fn conditions(errors: &mut ErrorList, request: &Value) {
    const BOTH: &str = "Approved and Denied conditions are mutually exclusive";
    let mut seen: Vec<&str> = Vec::new();
    for (i, condition) in request.list("status.conditions").iter().enumerate() {
        let path = Path::new("status").child("conditions").index(i);
        let (kind, status) = (condition.text("type"), condition.text("status"));
        if kind.is_empty() {
            errors.push(Error::required(&path.child("type"), ""));
        }
        let allowed: &[&str] = if FINAL.contains(&kind) { &["True"] } else { &["False", "True", "Unknown"] };
        if status.is_empty() {
            errors.push(Error::required(&path.child("status"), ""));
        } else {
            one_of(errors, &path.child("status"), status, allowed);
        }
        if DECISIONS.contains(&kind) && seen.iter().any(|other| *other != kind && DECISIONS.contains(other)) {
            errors.push(Error::invalid(&Path::new("status").child("conditions"), kind, BOTH));
        }
        if seen.contains(&kind) {
            errors.push(Error::duplicate(&path.child("type"), kind));
        }
        seen.push(kind);
    }
}

/// `status.certificate`: PEM of certificates, the issued one first.
fn certificate(errors: &mut ErrorList, request: &Value) {
    let text = request.text("status.certificate");
    if text.is_empty() {
        return;
    }
    let wrong = match STANDARD.decode(text) {
        Err(error) => Some(error.to_string()),
        Ok(pem) => csr::certificates(&pem).err(),
    };
    if let Some(why) = wrong {
        errors.push(Error::invalid(&Path::new("status").child("certificate"), "<certificate data>", why));
    }
}

/// What no update may do; `decide`: it may add and change decisions, `sign`: it may set the certificate.
fn moved(new: &Value, old: &Value, decide: bool, sign: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status").child("conditions");
    let of = |request: &Value, kind: &str| -> Vec<Value> {
        request.list("status.conditions").iter().filter(|c| c.text("type") == kind).cloned().collect()
    };
    for kind in FINAL {
        let (now, then) = (of(new, kind), of(old, kind));
        let free = decide || kind == "Failed";
        let what = match now.len().cmp(&then.len()) {
            std::cmp::Ordering::Less => "remove",
            std::cmp::Ordering::Greater if !free => "add",
            std::cmp::Ordering::Equal if !free && now != then => "modify",
            _ => continue,
        };
        errors.push(Error::forbidden(&path, format!("updates may not {what} a condition of type {kind:?}")));
    }
    let (now, then) = (new.text("status.certificate"), old.text("status.certificate"));
    let path = Path::new("status").child("certificate");
    if now != then && !sign {
        errors.push(Error::forbidden(&path, "updates may not set certificate content"));
    } else if now != then && !then.is_empty() {
        errors.push(Error::forbidden(&path, "updates may not modify existing certificate content"));
    }
    errors
}

#[must_use]
pub fn update(new: &Value, old: &Value) -> ErrorList {
    moved(new, old, false, false)
}

#[must_use]
pub fn approval(new: &Value, old: &Value) -> ErrorList {
    moved(new, old, true, false)
}

#[must_use]
pub fn status(new: &Value, old: &Value) -> ErrorList {
    moved(new, old, false, true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    fn with(conditions: Value) -> Value {
        json!({ "status": { "conditions": conditions } })
    }

    #[test]
    fn signers_are_a_domain_and_a_path() {
        let told = |name: &str| {
            let mut errors = ErrorList::new();
            signer_name(&mut errors, &spec().child("signerName"), name);
            texts(&errors)
        };
        assert_eq!(told("example.com/a.b-c"), Vec::<String>::new());
        assert_eq!(told(""), ["spec.signerName: Required value"]);
        let form = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        for name in ["x", "a.b/c/d"] {
            assert_eq!(told(name), [format!("spec.signerName: Invalid value: \"{name}\": {form}")]);
        }
        let few = "should be a domain with at least two segments separated by dots";
        assert_eq!(told("x/y"), [format!("spec.signerName: Invalid value: \"x\": {few}")]);
        for (name, beginning) in [
            ("A.b/c", "spec.signerName: Invalid value: \"A.b\": validating label \"A\": a lowercase RFC 1123 label"),
            (
                "a.b/c_d",
                "spec.signerName: Invalid value: \"c_d\": validating label \"c_d\": a lowercase RFC 1123 subdomain",
            ),
            ("a.b/", "spec.signerName: Invalid value: \"\": validating label \"\": a lowercase RFC 1123 subdomain"),
        ] {
            let told = told(name);
            assert!(told.len() == 1 && told[0].starts_with(beginning), "{told:?}");
        }
    }

    #[test]
    fn decisions_are_final() {
        let approved = || json!({ "type": "Approved", "status": "True" });
        let denied = || json!({ "type": "Denied", "status": "True" });
        let none = with(json!([]));
        let yes = with(json!([approved()]));
        assert_eq!(texts(&approval(&yes, &none)), Vec::<String>::new());
        assert_eq!(
            texts(&approval(&none, &yes)),
            ["status.conditions: Forbidden: updates may not remove a condition of type \"Approved\""]
        );
        assert_eq!(
            texts(&status(&yes, &none)),
            ["status.conditions: Forbidden: updates may not add a condition of type \"Approved\""]
        );
        let mut errors = ErrorList::new();
        conditions(&mut errors, &with(json!([approved(), denied()])));
        assert_eq!(
            texts(&errors),
            ["status.conditions: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive"]
        );
        let mut errors = ErrorList::new();
        conditions(&mut errors, &with(json!([{ "type": "Failed", "status": "False" }])));
        assert_eq!(
            texts(&errors),
            ["status.conditions[0].status: Unsupported value: \"False\": supported values: \"True\""]
        );
    }

    #[test]
    fn the_certificate_is_set_once_by_the_signer() {
        let signed = |text: &str| json!({ "status": { "certificate": text } });
        let none = json!({});
        assert_eq!(texts(&status(&signed("YQ=="), &none)), Vec::<String>::new());
        assert_eq!(
            texts(&status(&signed("Yg=="), &signed("YQ=="))),
            ["status.certificate: Forbidden: updates may not modify existing certificate content"]
        );
        assert_eq!(
            texts(&approval(&signed("YQ=="), &none)),
            ["status.certificate: Forbidden: updates may not set certificate content"]
        );
        let mut errors = ErrorList::new();
        certificate(&mut errors, &signed("YQ=="));
        assert_eq!(
            texts(&errors),
            [
                "status.certificate: Invalid value: \"<certificate data>\": must contain at least one CERTIFICATE PEM block"
            ]
        );
    }
}
