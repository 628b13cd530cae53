//! Request bodies: media type, decoding against the schema, and the checks of apiVersion and kind.

use std::fmt::Write;

use schema::decode::{self, DecodeError, Decoded};
use schema::field::{Error, Path};
use schema::go::quote;
use schema::protobuf::ProtoError;
use schema::{FieldValidation, Schema};
use serde_json::{Value, json};

use super::{create, options, scale};
use crate::access::token;
use crate::app::Call;
use crate::http::status::{ApiError, ApiResult};

pub const MEDIA: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
/// So much is shown of a body that cannot be read.
const SUMMARY: usize = 30;
/// What upstream calls the registries of kinds, in messages; all but two groups share one.
const SCHEMES: [(&str, &str); 2] = [
    ("apiextensions.k8s.io", "k8s.io/apiextensions-apiserver/pkg/apiserver/apiserver.go:55"),
    ("apiregistration.k8s.io", "k8s.io/kube-aggregator/pkg/apiserver/scheme/scheme.go:28"),
];
const SCHEME: &str = "pkg/api/legacyscheme/scheme.go:30";

/// Reads a whole object of `api_version` and `kind`; where the body of a built-in kind does not name them they are filled in.
///
/// # Errors
/// 400 for what cannot be decoded or is another kind, 415 for an unknown media type.
pub fn object(
    call: &Call,
    media: &str,
    body: &[u8],
    schema: Option<&Schema>,
    api_version: &str,
    kind: &str,
) -> ApiResult<Value> {
    let wanted = Wanted { media, body, api_version, kind, custom: schema.is_some_and(Schema::is_custom) };
    let read = || {
        let decoded = wanted.decode(schema, options::validation(call))?.or_else(|error| wanted.instead(error))?;
        let mut value = decoded.value;
        wanted.identify(&mut value)?;
        for warning in decoded.warnings {
            call.warn(warning);
        }
        Ok(value)
    };
    let value = read();
    if let Some(trail) = &call.trail {
        trail.object(value.as_ref().ok(), |value| {
            let mut value = value.clone();
            match kind {
                "Scale" => scale::fill(&mut value),
                "TokenRequest" => token::fill(&mut value),
                kind if kind == call.resource.kind => create::fill(call, &mut value),
                _ => {}
            }
            schema.map_or_else(|| value.clone(), |schema| schema::written(schema, &value).into_owned())
        });
    }
    value
}

/// The same of an object of the call's own kind.
///
/// # Errors
/// See [`object`].
pub fn own(call: &Call, media: &str, body: &[u8]) -> ApiResult<Value> {
    let resource = &call.resource;
    object(call, media, body, resource.schema().as_ref(), &resource.api_version(), &resource.kind)
}

/// A body, and what it should be.
struct Wanted<'a> {
    media: &'a str,
    body: &'a [u8],
    api_version: &'a str,
    kind: &'a str,
    custom: bool,
}

impl Wanted<'_> {
    fn decode(&self, schema: Option<&Schema>, validation: FieldValidation) -> ApiResult<Result<Decoded, DecodeError>> {
        Ok(match self.media {
            "" | "application/json" => decode::json(self.body, schema, validation),
            "application/yaml" => decode::yaml(self.body, schema, validation),
            "application/vnd.kubernetes.protobuf" => {
                let (version, name, mut value) = schema::protobuf::decode_as(self.body, (self.api_version, self.kind))
                    .map_err(|error| self.no_message(error))?;
                if value.is_object() {
                    for (field, known) in [("apiVersion", version), ("kind", name)] {
                        if !known.is_empty() {
                            value[field] = known.into();
                        }
                    }
                }
                match schema {
                    Some(schema) => decode::value(value, schema, validation),
                    None => Ok(Decoded { value, warnings: Vec::new() }),
                }
            }
            _ => return Err(ApiError::unsupported_media(MEDIA)),
        })
    }

    /// What comes of a body that does not fit the schema: the error, but that what the body is comes before what is wrong with
    /// it. And null is, as Go reads it, an object in which nothing is said.
    fn instead(&self, error: DecodeError) -> ApiResult<Decoded> {
        let plain = self.decode(None, FieldValidation::Ignore)?.map_err(|unread| {
            let text = unread.to_string();
            match (&unread, self.media) {
                (DecodeError::Type(_), _) => undecodable(&error, self.api_version, self.kind),
                (DecodeError::Syntax(_), "application/yaml") => {
                    self.unrecognized(text.strip_prefix("error converting YAML to JSON: ").unwrap_or(&text))
                }
                _ => self.unrecognized(&format!("couldn't get version/kind; json parse error: {text}")),
            }
        })?;
        let mut value = plain.value;
        let nothing = value.is_null();
        self.identify(&mut value)?;
        if nothing {
            return Ok(Decoded { value: json!({}), warnings: Vec::new() });
        }
        Err(undecodable(&error, self.api_version, self.kind))
    }

    /// Checks apiVersion and kind, and fills in those of a built-in kind.
    fn identify(&self, value: &mut Value) -> ApiResult<()> {
        let (version, kind) = decode::interpret(value).map_err(|why| self.unrecognized(&why))?;
        if self.custom {
            if kind.is_empty() {
                let text = String::from_utf8_lossy(self.body);
                return Err(self.unrecognized(&format!("Object 'Kind' is missing in '{text}'")));
            }
            return same_custom(value, self.api_version, self.kind);
        }
        // Go reads `/v1` as the core group's.
        let version = version.strip_prefix('/').filter(|bare| !bare.contains('/')).unwrap_or(version);
        let version = if version.is_empty() { self.api_version } else { version };
        let kind = if kind.is_empty() { self.kind } else { kind };
        if let Some(why) = no_conversion((version, kind), (self.api_version, self.kind)) {
            return Err(self.not_handled((version, kind), &why));
        }
        if version != self.api_version {
            return Err(other_version(version, self.api_version));
        }
        set_kind(value, self.api_version, self.kind);
        Ok(())
    }

    /// The error of a body in protobuf.
    fn no_message(&self, error: ProtoError) -> ApiError {
        match &error {
            ProtoError::Envelope(why) => self.unrecognized(why),
            ProtoError::Message { api_version, kind, why } => self.not_handled((api_version, kind), why),
            ProtoError::UnknownKind { api_version, kind } => {
                let have = (api_version.as_str(), kind.as_str());
                let why = no_conversion(have, (self.api_version, self.kind)).unwrap_or_else(|| error.to_string());
                self.not_handled(have, &why)
            }
        }
    }

    fn not_handled(&self, (version, kind): (&str, &str), why: &str) -> ApiError {
        let short = quote(version.rsplit('/').next().unwrap_or_default());
        ApiError::bad_request(format!("{kind} in version {short} cannot be handled as a {}: {why}", self.kind))
    }

    fn unrecognized(&self, why: &str) -> ApiError {
        let (kind, summary) = (self.kind, summary(self.body));
        ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): {why} ({summary})"
        ))
    }
}

/// The beginning of a body, as text where it looks like JSON.
fn summary(body: &[u8]) -> String {
    let Some(first) = body.first() else { return "<empty>".to_owned() };
    let part = &body[..body.len().min(SUMMARY)];
    let mut text = match first {
        b'{' => String::from_utf8_lossy(part).into_owned(),
        _ => part.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }),
    };
    if part.len() < body.len() {
        text.push_str(" ...");
    }
    text
}

const WORKLOADS: &[&str] = &["Deployment", "StatefulSet", "ControllerRevision"];
const ALL_WORKLOADS: &[&str] = &["Deployment", "StatefulSet", "ControllerRevision", "DaemonSet", "ReplicaSet"];
const ROLES: &[&str] = &["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"];
const FLOWS: &[&str] = &["FlowSchema", "PriorityLevelConfiguration"];
/// Versions that upstream's schemes know of kinds that are served in a group, besides those that are served of it: what it once
/// served, and Events, which two groups have.
const ALSO_KNOWN: [(&str, &str, &[&str]); 22] = [
    ("apiextensions.k8s.io/v1beta1", "apiextensions.k8s.io", &["CustomResourceDefinition"]),
    ("apiregistration.k8s.io/v1beta1", "apiregistration.k8s.io", &["APIService"]),
    ("apps/v1beta1", "apps", WORKLOADS),
    ("apps/v1beta2", "apps", ALL_WORKLOADS),
    ("extensions/v1beta1", "apps", &["Deployment", "DaemonSet", "ReplicaSet"]),
    ("extensions/v1beta1", "networking.k8s.io", &["Ingress", "NetworkPolicy"]),
    ("extensions/v1beta1", "autoscaling", &["Scale"]),
    ("apps/v1beta1", "autoscaling", &["Scale"]),
    ("apps/v1beta2", "autoscaling", &["Scale"]),
    ("batch/v1beta1", "batch", &["CronJob"]),
    ("policy/v1beta1", "policy", &["PodDisruptionBudget"]),
    ("rbac.authorization.k8s.io/v1alpha1", "rbac.authorization.k8s.io", ROLES),
    ("rbac.authorization.k8s.io/v1beta1", "rbac.authorization.k8s.io", ROLES),
    ("flowcontrol.apiserver.k8s.io/v1beta1", "flowcontrol.apiserver.k8s.io", FLOWS),
    ("flowcontrol.apiserver.k8s.io/v1beta2", "flowcontrol.apiserver.k8s.io", FLOWS),
    ("flowcontrol.apiserver.k8s.io/v1beta3", "flowcontrol.apiserver.k8s.io", FLOWS),
    ("discovery.k8s.io/v1beta1", "discovery.k8s.io", &["EndpointSlice"]),
    ("node.k8s.io/v1beta1", "node.k8s.io", &["RuntimeClass"]),
    ("node.k8s.io/v1alpha1", "node.k8s.io", &["RuntimeClass"]),
    ("scheduling.k8s.io/v1beta1", "scheduling.k8s.io", &["PriorityClass"]),
    ("events.k8s.io/v1beta1", "events.k8s.io", &["Event"]),
    ("v1", "events.k8s.io", &["Event"]),
];

/// Why an object of the kind in `have` cannot become one of the kind in `wanted` (pairs of apiVersion and kind), `None` where
/// it can: kinds of the same name in the versions of one group are the same to upstream.
#[must_use]
pub fn no_conversion(have: (&str, &str), wanted: (&str, &str)) -> Option<String> {
    fn group(version: &str) -> &str {
        version.split_once('/').map_or("", |(group, _)| group)
    }
    let ((version, kind), (wanted_version, wanted_kind)) = (have, wanted);
    let once = |(other, home, kinds): &(&str, &str, &[&str])| {
        *other == version && *home == group(wanted_version) && kinds.contains(&kind)
    };
    if have == wanted || (kind == wanted_kind && ALSO_KNOWN.iter().any(once)) {
        return None;
    }
    let own = SCHEMES.iter().find(|(own, _)| *own == group(wanted_version));
    let once_known = || {
        let same = |(other, _, kinds): &&(&str, &str, &[&str])| *other == version && kinds.contains(&kind);
        let short = version.rsplit('/').next().unwrap_or_default();
        ALSO_KNOWN.iter().find(same).map(|_| (format!("{short}.{kind}"), String::new()))
    };
    let known = schema::go_types(version, kind)
        .or_else(once_known)
        .filter(|_| own.is_none_or(|(own, _)| group(version) == *own))
        .filter(|_| own.is_some() || SCHEMES.iter().all(|(other, _)| group(version) != *other));
    let Some((from, _)) = known else {
        let scheme = own.map_or(SCHEME, |(_, scheme)| scheme);
        return Some(format!(
            "no kind {} is registered for version {} in scheme {}",
            quote(kind),
            quote(version),
            quote(scheme)
        ));
    };
    if kind == wanted_kind && group(version) == group(wanted_version) {
        return None;
    }
    let to = schema::go_types(wanted_version, wanted_kind).map(|(_, internal)| internal).unwrap_or_default();
    Some(format!("converting ({from}) to ({to}): unknown conversion"))
}

/// Whether a custom object, which says what it is, is of `api_version` and `kind`.
///
/// # Errors
/// 400 and 422 as upstream.
fn same_custom(value: &Value, api_version: &str, kind: &str) -> ApiResult<()> {
    let (version, have) = decode::interpret(value).map_err(ApiError::bad_request)?;
    if version != api_version {
        return Err(other_version(version, api_version));
    }
    other_custom_kind(value, have, api_version, kind)
}

/// The kind of a custom object is a matter of its validation.
///
/// # Errors
/// 422 where it is another.
pub fn other_custom_kind(value: &Value, have: &str, api_version: &str, kind: &str) -> ApiResult<()> {
    if have == kind {
        return Ok(());
    }
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let error = Error::invalid(&Path::new("kind"), have, format!("must be {kind}"));
    Err(ApiError::invalid(group, have, crate::app::text(value, "/metadata/name"), &vec![error]))
}

fn other_version(have: &str, wanted: &str) -> ApiError {
    ApiError::bad_request(format!(
        "the API version in the data ({have}) does not match the expected API version ({wanted})"
    ))
}

/// Says what an object is, in the object.
pub fn set_kind(value: &mut Value, api_version: &str, kind: &str) {
    if value.is_object() {
        value["apiVersion"] = api_version.into();
        value["kind"] = kind.into();
    }
}

/// The error of a body that does not fit the schema.
fn undecodable(error: &DecodeError, api_version: &str, kind: &str) -> ApiError {
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let mut why = error.to_string();
    if schema::builtin(api_version, kind).is_none() {
        // The metadata of a custom resource is read by itself.
        why = why.replace(" ObjectMeta.metadata.", " ObjectMeta.");
    }
    ApiError::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str, custom: bool) -> String {
        let (api_version, kind) = if custom { ("ex.io/v1", "Foo") } else { ("v1", "ConfigMap") };
        let schema = schema::builtin(api_version, kind);
        let wanted = Wanted { media: "application/json", body: body.as_bytes(), api_version, kind, custom };
        let decoded = wanted.decode(schema.as_ref(), FieldValidation::Warn).unwrap();
        let read = decoded.or_else(|error| wanted.instead(error)).and_then(|mut decoded| {
            wanted.identify(&mut decoded.value)?;
            Ok(decoded.value.to_string())
        });
        read.unwrap_or_else(|error| format!("{} {}", error.code, error.message))
    }

    #[test]
    fn metadata_of_custom_resources_is_read_by_itself() {
        let of = |place: &str| {
            format!("json: cannot unmarshal string into Go struct field {place} of type map[string]string")
        };
        let error = DecodeError::Type(of("ObjectMeta.metadata.labels"));
        let told = |version: &str, kind: &str| undecodable(&error, version, kind).message;
        assert!(told("v1", "ConfigMap").ends_with(&of("ObjectMeta.metadata.labels")));
        assert!(told("x.io/v1", "Foo").ends_with(&of("ObjectMeta.labels")));
    }

    #[test]
    fn messages_say_what_they_are() {
        let schema = schema::builtin("v1", "ConfigMap");
        let read = |body: &[u8]| {
            let media = "application/vnd.kubernetes.protobuf";
            let wanted = Wanted { media, body, api_version: "v1", kind: "ConfigMap", custom: false };
            let decoded = wanted.decode(schema.as_ref(), FieldValidation::Warn);
            decoded.map_or_else(|error| error.message, |decoded| decoded.unwrap().value.to_string())
        };
        let unread = |why: &str| format!("the object provided is unrecognized (must be of type ConfigMap): {why}");
        let envelope = schema::protobuf::envelope;
        for (body, expected) in [
            (Vec::new(), unread("empty data (<empty>)")),
            (b"k8s\0".to_vec(), unread("empty body (6b387300)")),
            (b"k8s\0\xff".to_vec(), unread("unexpected EOF (6b387300ff)")),
            (
                envelope("v1", "ConfigMap", b"\xff"),
                r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: unexpected EOF"#.to_owned(),
            ),
            (
                envelope("v2", "ConfigMap", b""),
                r#"ConfigMap in version "v2" cannot be handled as a ConfigMap: no kind "ConfigMap" is registered for version "v2" in scheme "pkg/api/legacyscheme/scheme.go:30""#.to_owned(),
            ),
            (envelope("a/b/c", "", b""), r#"{"apiVersion":"v1","kind":"ConfigMap"}"#.to_owned()),
        ] {
            assert_eq!(read(&body), expected);
        }
    }

    #[test]
    fn bodies_say_what_they_are() {
        const FIELDS: &str =
            r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
        let unread = |why: &str| format!("400 the object provided is unrecognized (must be of type ConfigMap): {why}");
        let unfit = |why: &str| format!("400 {why}");
        let parse = "couldn't get version/kind; json parse error:";
        let known = r#"{"apiVersion":"v1","kind":"ConfigMap"}"#.to_owned();
        for (body, expected) in [
            ("{}", known.clone()),
            ("null", known),
            ("", unread(&format!("{parse} unexpected end of JSON input (<empty>)"))),
            ("[]", unread(&format!("{parse} json: cannot unmarshal array into Go value of type {FIELDS} (5b5d)"))),
            (
                r#"{"apiVersion":"v1"} x"#,
                unread(&format!(r#"{parse} invalid character 'x' after top-level value ({{"apiVersion":"v1"}} x)"#)),
            ),
            (
                r#"{"apiVersion":1,"kind":"ConfigMap"}"#,
                unread(&format!(
                    "{parse} json: cannot unmarshal number into Go struct field .apiVersion of type string \
                     ({{\"apiVersion\":1,\"kind\":\"Config ...)"
                )),
            ),
            (r#"{"apiVersion":"a/b/c"}"#, unread(r#"unexpected GroupVersion string: a/b/c ({"apiVersion":"a/b/c"})"#)),
            (
                r#"{"kind":"Pod"}"#,
                unfit(
                    r#"Pod in version "v1" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown conversion"#,
                ),
            ),
            (
                r#"{"apiVersion":"apps/v1","kind":"Nope","data":1}"#,
                unfit(
                    r#"Nope in version "v1" cannot be handled as a ConfigMap: no kind "Nope" is registered for version "apps/v1" in scheme "pkg/api/legacyscheme/scheme.go:30""#,
                ),
            ),
            (
                r#"{"data":1}"#,
                unfit(
                    r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ConfigMap.data of type map[string]string"#,
                ),
            ),
        ] {
            assert_eq!(read(body, false), expected);
        }
        let missing =
            "400 the object provided is unrecognized (must be of type Foo): Object 'Kind' is missing in '{}' ({})";
        for (body, expected) in [
            ("{}", missing),
            (
                r#"{"kind":"Foo"}"#,
                "400 the API version in the data () does not match the expected API version (ex.io/v1)",
            ),
            (
                r#"{"apiVersion":"ex.io/v1","kind":"Bar","metadata":{"name":"x"}}"#,
                r#"422 Bar.ex.io "x" is invalid: kind: Invalid value: "Bar": must be Foo"#,
            ),
        ] {
            assert_eq!(read(body, true), expected);
        }
    }

    #[test]
    fn kinds_that_are_the_same_in_another_version() {
        let scaler = |version| (version, "HorizontalPodAutoscaler");
        assert_eq!(no_conversion(scaler("autoscaling/v1"), scaler("autoscaling/v2")), None);
        let definition = ("apiextensions.k8s.io/v1", "CustomResourceDefinition");
        // What upstream once served, or serves in another group, is of another version; other kinds are of none.
        for (have, wanted, known) in [
            (("apiextensions.k8s.io/v1beta1", "CustomResourceDefinition"), definition, true),
            (("extensions/v1beta1", "Deployment"), ("apps/v1", "Deployment"), true),
            (("apps/v1beta1", "Deployment"), ("apps/v1", "Deployment"), true),
            (("apps/v1beta1", "DaemonSet"), ("apps/v1", "DaemonSet"), false),
            (("v1", "Event"), ("events.k8s.io/v1", "Event"), true),
            (("apps/v1beta2", "Scale"), ("autoscaling/v1", "Scale"), true),
        ] {
            assert_eq!(no_conversion(have, wanted).is_none(), known, "{have:?}");
        }
        let once = no_conversion(("apps/v1beta1", "Deployment"), ("autoscaling/v1", "Scale")).unwrap();
        assert_eq!(once, "converting (v1beta1.Deployment) to (autoscaling.Scale): unknown conversion");
        let text = no_conversion(("v1", "Pod"), definition).unwrap();
        assert!(text.ends_with("in scheme \"k8s.io/apiextensions-apiserver/pkg/apiserver/apiserver.go:55\""), "{text}");
    }
}
