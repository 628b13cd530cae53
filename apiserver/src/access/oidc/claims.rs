//! From the claims of a token to a user: pure (`apiserver/plugin/pkg/authenticator/token/oidc`).

use auth::UserInfo;
use cel::{Activation, EvalError, Value as Cel, untyped_escaped};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::validate::{Compiled, Expression, Source};

/// How far the clock of an issuer may be ahead of ours, in seconds.
const LEEWAY: f64 = 60.0;

/// The claims of a token.
pub type Claims = Map<String, Value>;

/// Where claims are that the token does not have itself.
pub const SOURCES: &str = "_claim_sources";

/// The time a token is judged at, and the claims that say whether it is of the issuer `wanted` and meant for one of `ours`.
///
/// # Errors
/// Upstream's words (those of go-oidc).
pub fn check(claims: &Claims, wanted: &str, ours: &[String], now: Timestamp) -> Result<(), String> {
    sources(claims)?;
    let issuer = claims.get("iss").and_then(Value::as_str).unwrap_or_default();
    if !same_issuer(wanted, issuer) {
        return Err(format!("oidc: id token issued by a different provider, expected {wanted:?} got {issuer:?}"));
    }
    let audiences = match claims.get("aud") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) if many.iter().all(Value::is_string) => strings(many),
        Some(other) => return Err(format!("oidc: failed to unmarshal claims: {}", mismatch(other, "string"))),
    };
    if !audiences.iter().any(|audience| ours.contains(audience)) {
        let got = quoted(&audiences);
        return Err(match ours {
            [only] => format!("oidc: expected audience {only:?} got {got}"),
            _ => {
                let mut ours = ours.to_vec();
                ours.sort();
                format!("oidc: expected audience in {} got {got}", quoted(&ours))
            }
        });
    }
    let time = |name: &str| match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => Ok(number.as_f64()),
        Some(other) => Err(format!("oidc: failed to unmarshal claims: {}", mismatch(other, "float64"))),
    };
    let seconds = now.as_second() as f64;
    let expires = time("exp")?;
    if expires.is_none_or(|expires| expires < seconds) {
        return Err(format!("oidc: token is expired (Token Expiry: {})", shown(expires)));
    }
    if let Some(from) = time("nbf")?.filter(|from| seconds + LEEWAY < *from) {
        let now = shown(Some(seconds));
        return Err(format!("oidc: current time {now} before the nbf (not before) time: {}", shown(Some(from))));
    }
    Ok(())
}

/// That every claim which is elsewhere (`_claim_names`) has a source, and what says so is well-formed.
fn sources(claims: &Claims) -> Result<(), String> {
    let object = |name: &str, ty: &str| match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(other) => Err(in_struct(other, &format!("idToken.{name}"), ty)),
    };
    let failed = |why: String| format!("oidc: failed to unmarshal claims: {why}");
    let names = object("_claim_names", "map[string]string").map_err(failed)?;
    let sources = object(SOURCES, "map[string]oidc.claimSource").map_err(failed)?;
    for name in names.into_iter().flat_map(Map::values) {
        if !name.is_string() && !name.is_null() {
            return Err(failed(in_struct(name, "idToken._claim_names", "string")));
        }
    }
    for source in sources.into_iter().flat_map(Map::values) {
        if !source.is_object() && !source.is_null() {
            return Err(failed(in_struct(source, &format!("idToken.{SOURCES}"), "oidc.claimSource")));
        }
        for name in ["endpoint", "access_token"] {
            field(source, name, &format!("claimSource.{SOURCES}.{name}")).map_err(failed)?;
        }
    }
    for name in names.into_iter().flat_map(Map::values) {
        let name = name.as_str().unwrap_or_default();
        if name.is_empty() {
            return Err("oidc: failed to obtain source from claim name".to_owned());
        }
        if sources.is_none_or(|sources| !sources.contains_key(name)) {
            return Err("oidc: source does not exist".to_owned());
        }
    }
    Ok(())
}

/// That a field is text, or is not there; `shown` as Go names it.
pub fn field(object: &Value, name: &str, shown: &str) -> Result<(), String> {
    match object.get(name) {
        None | Some(Value::Null | Value::String(_)) => Ok(()),
        Some(other) => Err(in_struct(other, shown, "string")),
    }
}

/// Text, or none.
pub fn text_or_empty(object: &Value, name: &str) -> String {
    object[name].as_str().unwrap_or_default().to_owned()
}

/// Google's tokens name it without the scheme.
pub fn same_issuer(wanted: &str, issuer: &str) -> bool {
    wanted == issuer || (wanted == "https://accounts.google.com" && issuer == "accounts.google.com")
}

/// A time as Go prints it.
fn shown(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else { return "0001-01-01 00:00:00 +0000 UTC".to_owned() };
    match Timestamp::from_second(seconds as i64) {
        Ok(time) => time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
        Err(_) => seconds.to_string(),
    }
}

fn quoted(list: &[String]) -> String {
    let words: Vec<String> = list.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(" "))
}

fn strings(list: &[Value]) -> Vec<String> {
    list.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::Null | Value::String(_) => "string",
    }
}

fn mismatch(value: &Value, wanted: &str) -> String {
    format!("json: cannot unmarshal {} into Go value of type {wanted}", kind(value))
}

fn in_struct(value: &Value, field: &str, wanted: &str) -> String {
    format!("json: cannot unmarshal {} into Go struct field {field} of type {wanted}", kind(value))
}

/// A claim that must be text.
fn text(claims: &Claims, name: &str) -> Result<String, String> {
    match claims.get(name) {
        None => Err("claim not present".to_owned()),
        Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(mismatch(other, "string")),
    }
}

/// The user that checked claims are about.
///
/// # Errors
/// Why they make no user, in upstream's words.
pub fn user(claims: &Claims, compiled: &Compiled) -> Result<UserInfo, String> {
    let document = Value::Object(doubled(claims));
    let activation = Activation::new().with("claims", untyped_escaped(&document));
    let mut user = UserInfo { username: username(claims, compiled, &activation)?, ..UserInfo::default() };
    user.groups = groups(claims, compiled, &activation)?;
    user.uid = uid(claims, compiled, &activation)?;
    if let Some(Value::String(id)) = claims.get("jti")
        && !id.is_empty()
    {
        user.extra.insert("authentication.kubernetes.io/credential-id".to_owned(), vec![format!("JTI={id}")]);
    }
    let extra: Result<Vec<_>, String> = compiled
        .extra
        .iter()
        .map(|(key, expression)| Ok((key, expression, evaluate(expression, &activation)?)))
        .collect();
    for (key, expression, value) in extra? {
        let values = list(&value)
            .map_err(|why| format!("oidc: error evaluating extra claim expression: {}: {why}", expression.text))?;
        if !values.is_empty() {
            user.extra.insert(key.clone(), values);
        }
    }
    for (claim, wanted) in &compiled.required {
        if !claims.contains_key(claim) {
            return Err(format!("oidc: required claim {claim} not present in ID token"));
        }
        let have = text(claims, claim).map_err(|why| format!("oidc: parse claim {claim}: {why}"))?;
        if have != *wanted {
            return Err(format!("oidc: required claim {claim} value does not match. Got = {have}, want = {wanted}"));
        }
    }
    rules(&compiled.rules, &activation)
        .map_err(|why| format!("oidc: error evaluating claim validation expression: {why}"))?;
    let made = json!({ "username": user.username, "uid": user.uid, "groups": user.groups, "extra": user.extra });
    let activation = Activation::new().with("user", untyped_escaped(&made));
    rules(&compiled.user_rules, &activation)
        .map_err(|why| format!("oidc: error evaluating user info validation rule: {why}"))?;
    Ok(user)
}

fn username(claims: &Claims, compiled: &Compiled, activation: &Activation<'_>) -> Result<String, String> {
    match &compiled.username {
        Source::Expression(expression) => {
            let failed = |why: String| format!("oidc: error evaluating username claim expression: {why}");
            let value = evaluate(expression, activation).map_err(failed)?;
            match value.as_str() {
                Some("") => Err("oidc: empty username via CEL expression is not allowed".to_owned()),
                Some(name) => Ok(name.to_owned()),
                None => Err(failed("username claim expression must return a string".to_owned())),
            }
        }
        Source::Claim { name, prefix } => {
            let found = text(claims, name).map_err(|why| format!("oidc: parse username claims {name:?}: {why}"))?;
            // An address that nobody has verified is anybody's.
            if name == "email"
                && let Some(verified) = claims.get("email_verified")
            {
                match verified {
                    Value::Bool(true) => {}
                    Value::Bool(false) | Value::Null => return Err("oidc: email not verified".to_owned()),
                    other => return Err(format!("oidc: parse 'email_verified' claim: {}", mismatch(other, "bool"))),
                }
            }
            Ok(format!("{prefix}{found}"))
        }
    }
}

fn groups(claims: &Claims, compiled: &Compiled, activation: &Activation<'_>) -> Result<Vec<String>, String> {
    let failed = |why: String| format!("oidc: error evaluating group claim expression: {why}");
    match &compiled.groups {
        None => Ok(Vec::new()),
        Some(Source::Expression(expression)) => {
            list(&evaluate(expression, activation).map_err(failed)?).map_err(failed)
        }
        Some(Source::Claim { name, prefix }) => {
            let found = match claims.get(name) {
                None | Some(Value::Null) => Vec::new(),
                Some(Value::String(one)) => vec![one.clone()],
                Some(Value::Array(many)) if many.iter().all(Value::is_string) => strings(many),
                Some(other) => return Err(format!("oidc: parse groups claim {name:?}: {}", mismatch(other, "string"))),
            };
            Ok(found.into_iter().map(|group| format!("{prefix}{group}")).collect())
        }
    }
}

fn uid(claims: &Claims, compiled: &Compiled, activation: &Activation<'_>) -> Result<String, String> {
    match &compiled.uid {
        None => Ok(String::new()),
        Some(Source::Claim { name, .. }) => {
            text(claims, name).map_err(|why| format!("oidc: parse uid claim {name:?}: {why}"))
        }
        Some(Source::Expression(expression)) => {
            let failed = |why: &str| format!("oidc: error evaluating uid claim expression: {why}");
            let value = evaluate(expression, activation).map_err(|why| failed(&why))?;
            value.as_str().map(str::to_owned).ok_or_else(|| failed("uid claim expression must return a string"))
        }
    }
}

fn evaluate<'a>(expression: &Expression, activation: &Activation<'a>) -> Result<Cel<'a>, String> {
    let told = |error: EvalError| format!("expression '{}' resulted in error: {error}", expression.text);
    expression.program.evaluate(activation).result.map_err(told)
}

/// Text or a list of it; what is empty is not there.
fn list(value: &Cel<'_>) -> Result<Vec<String>, String> {
    let wrong = || "expression must return a string or a list of strings".to_owned();
    let mut out = match value {
        Cel::Null => Vec::new(),
        Cel::String(text) => vec![text.to_string()],
        Cel::List(list) => {
            let one = |item: Result<Cel<'_>, EvalError>| item.ok()?.as_str().map(str::to_owned);
            list.iter().map(one).collect::<Option<Vec<_>>>().ok_or_else(wrong)?
        }
        _ => return Err(wrong()),
    };
    out.retain(|text| !text.is_empty());
    Ok(out)
}

fn rules(rules: &[Expression], activation: &Activation<'_>) -> Result<(), String> {
    let results: Result<Vec<_>, String> = rules.iter().map(|rule| Ok((rule, evaluate(rule, activation)?))).collect();
    for (rule, value) in results? {
        match value {
            Cel::Bool(true) => {}
            Cel::Bool(false) => return Err(format!("validation expression '{}' failed: {}", rule.text, rule.message)),
            _ => return Err("validation expression must return a boolean".to_owned()),
        }
    }
    Ok(())
}

/// Numbers as Go's JSON has them: doubles, all of them.
fn doubled(claims: &Claims) -> Claims {
    fn one(value: &Value) -> Value {
        match value {
            Value::Number(number) => number.as_f64().map_or(Value::Null, Value::from),
            Value::Array(items) => items.iter().map(one).collect(),
            Value::Object(fields) => Value::Object(doubled(fields)),
            other => other.clone(),
        }
    }
    claims.iter().map(|(name, value)| (name.clone(), one(value))).collect()
}
