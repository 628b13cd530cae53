//! Objects as upstream's internal types, which messages show: what is refused of a struct, and what of it was changed.
//!
//! The internal types (`pkg/apis/*/types.go`) have no JSON tags, so Go's encoder writes every field under its own name and in its
//! own order, whether it is set or not. They follow from the types of the API by the few rules and exceptions below.
//!
//! ```text
//!  Value + facts of its type ── tree ──> Shown ──┬── compact ──> in `Invalid value: …`
//!                                                └── pretty ───> lines ── unified ──> diff of old and new
//! ```

mod unified;

use schema::field::go_json;
use schema::model::{Field, Node, Presence, Scalar, Shape, Struct, struct_of};
use serde_json::Value;

use super::json::{Json, NULL};

/// The first words of names that Go does not write with one capital.
const INITIALISMS: &[(&str, &str)] = &[
    ("api", "API"),
    ("aws", "AWS"),
    ("ca", "CA"),
    ("cel", "CEL"),
    ("cephfs", "CephFS"),
    ("cidr", "CIDR"),
    ("cidrs", "CIDRs"),
    ("csi", "CSI"),
    ("dns", "DNS"),
    ("fc", "FC"),
    ("fs", "FS"),
    ("gce", "GCE"),
    ("gid", "GID"),
    ("gmsa", "GMSA"),
    ("grpc", "GRPC"),
    ("http", "HTTP"),
    ("ip", "IP"),
    ("ips", "IPs"),
    ("iqn", "IQN"),
    ("iscsi", "ISCSI"),
    ("nfs", "NFS"),
    ("os", "OS"),
    ("pd", "PD"),
    ("qos", "QOS"),
    ("rbd", "RBD"),
    ("se", "SE"),
    ("ssl", "SSL"),
    ("storageos", "StorageOS"),
    ("tcp", "TCP"),
    ("tls", "TLS"),
    ("ttl", "TTL"),
    ("tty", "TTY"),
    ("uid", "UID"),
    ("url", "URL"),
    ("wwids", "WWIDs"),
];

/// Fields with another name inside: (types that end so, field, internal name).
const RENAMED: &[(&str, &str, &str)] = &[
    ("AzureDiskVolumeSource", "diskURI", "DataDiskURI"),
    ("ContainerStatus", "lastState", "LastTerminationState"),
    ("GlusterfsPersistentVolumeSource", "endpoints", "EndpointsName"),
    ("GlusterfsVolumeSource", "endpoints", "EndpointsName"),
    ("ISCSIPersistentVolumeSource", "chapAuthDiscovery", "DiscoveryCHAPAuth"),
    ("ISCSIPersistentVolumeSource", "chapAuthSession", "SessionCHAPAuth"),
    ("ISCSIVolumeSource", "chapAuthDiscovery", "DiscoveryCHAPAuth"),
    ("ISCSIVolumeSource", "chapAuthSession", "SessionCHAPAuth"),
    ("PhotonPersistentDiskVolumeSource", "pdID", "PdID"),
    ("RBDPersistentVolumeSource", "image", "RBDImage"),
    ("RBDPersistentVolumeSource", "monitors", "CephMonitors"),
    ("RBDPersistentVolumeSource", "pool", "RBDPool"),
    ("RBDPersistentVolumeSource", "user", "RadosUser"),
    ("RBDVolumeSource", "image", "RBDImage"),
    ("RBDVolumeSource", "monitors", "CephMonitors"),
    ("RBDVolumeSource", "pool", "RBDPool"),
    ("RBDVolumeSource", "user", "RadosUser"),
];

/// Fields that stand elsewhere inside: (type, field, the one it follows).
const MOVED: &[(&str, &str, &str)] = &[
    ("ContainerResourceMetricSource", "container", "name"),
    ("JobSpec", "activeDeadlineSeconds", "successPolicy"),
    ("PersistentVolumeSpec", "flexVolume", "iscsi"),
    ("PersistentVolumeSpec", "quobyte", "rbd"),
    ("PodSecurityContext", "fsGroupChangePolicy", "fsGroup"),
    ("PodSpec", "overhead", "runtimeClassName"),
    ("PodSpec", "preemptionPolicy", "priority"),
    ("PodSpec", "setHostnameAsFQDN", "subdomain"),
    ("Volume", "quobyte", "rbd"),
];

/// Fields of a pod's spec that are part of its security context inside.
const OF_THE_HOST: [(&str, &str); 5] = [
    ("HostNetwork", "hostNetwork"),
    ("HostPID", "hostPID"),
    ("HostIPC", "hostIPC"),
    ("ShareProcessNamespace", "shareProcessNamespace"),
    ("HostUsers", "hostUsers"),
];

/// Fields of a pod's spec there is no such field for inside.
const NOT_INSIDE: &[&str] =
    &["serviceAccount", "hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"];

/// Pointers of the API that are plain values inside.
const PLAIN_INSIDE: &[(&str, &str)] = &[
    ("DeploymentSpec", "replicas"),
    ("LimitedPriorityLevelConfiguration", "nominalConcurrencyShares"),
    ("ReplicaSetSpec", "replicas"),
    ("RollingUpdateDaemonSet", "maxSurge"),
    ("RollingUpdateDaemonSet", "maxUnavailable"),
    ("RollingUpdateDeployment", "maxSurge"),
    ("RollingUpdateDeployment", "maxUnavailable"),
    ("RollingUpdateStatefulSetStrategy", "partition"),
    ("ServiceAccountTokenProjection", "expirationSeconds"),
    ("ServiceReference", "port"),
    ("StatefulSetSpec", "replicas"),
    ("TokenRequestSpec", "expirationSeconds"),
];

/// Makes of an object with little in it what Go writes of such a one: zero values that are always shown, and those that are
/// plain inside and no pointers, as outside.
pub fn show_zeros(schema: &schema::Schema, object: &mut Value) {
    schema::normalize(schema, object);
    if let Shape::Struct { of, .. } = &schema.root().shape {
        show_plain(object, of);
    }
}

fn show_plain(value: &mut Value, of: &Struct) {
    let Some(map) = value.as_object_mut() else { return };
    for field in &of.fields {
        if PLAIN_INSIDE.contains(&(of.go_name(), &*field.name)) {
            map.entry(&*field.name).or_insert_with(|| 0.into());
        } else if let (Some(inner), Shape::Struct { of, .. }) = (map.get_mut(&*field.name), &field.node.shape) {
            show_plain(inner, of);
        }
    }
}

/// JSON that keeps the order of its fields.
#[derive(PartialEq, Eq)]
enum Shown {
    Text(String),
    List(Vec<Shown>),
    Map(Vec<(String, Shown)>),
    Fields(Vec<(String, Shown)>),
}

/// `value`, which is of the API's type `of` (`api.core.v1.PodSpec`, or `[]api.core.v1.Container`), in one line.
#[must_use]
pub fn compact(value: &Value, of: &str) -> String {
    let mut out = String::new();
    tree(value, of).write(&mut out, None);
    out
}

/// Whether both are the same to Go (`Semantic.DeepEqual`): no entries are as good as no list or map, but "" and an empty struct
/// are not nothing where the type has a pointer.
#[must_use]
pub fn same(a: &Value, b: &Value, of: &str) -> bool {
    a == b || tree(a, of).without_empties() == tree(b, of).without_empties()
}

/// What has become of `old`, both being of the API's type `of`: a unified diff of their fields.
#[must_use]
pub fn diff(old: &Value, new: &Value, of: &str) -> String {
    unified::diff(&tree(old, of).pretty(), &tree(new, of).pretty())
}

/// The same of a part of the type that is a type of its own inside, which has all fields but for some.
#[must_use]
pub fn diff_without(old: &Value, new: &Value, of: &str, but: &[&str]) -> String {
    let part = |value: &Value| {
        let mut shown = tree(value, of);
        if let Shown::Fields(fields) = &mut shown {
            fields.retain(|(name, _)| !but.iter().any(|field| go_name("", field) == *name));
        }
        shown.pretty()
    };
    unified::diff(&part(old), &part(new))
}

fn tree(value: &Value, of: &str) -> Shown {
    match (of.strip_prefix("[]"), struct_of(of)) {
        (Some(of), _) if value.is_array() => Shown::List(value.list("").iter().map(|item| tree(item, of)).collect()),
        (None, Some(of)) => fields(value, of),
        _ => plain(value),
    }
}

fn fields(value: &Value, of: &Struct) -> Shown {
    let tagged = of.name.starts_with("apimachinery.");
    let name = of.go_name();
    let mut shown = Vec::with_capacity(of.fields.len());
    for field in in_order(of, name) {
        let now = value.at(&field.name);
        let is_meta = matches!(&field.node.shape, Shape::Struct { of, .. } if of.go_name() == "ObjectMeta");
        if tagged {
            if !is_omitted(now, field) || matches!(field.presence, Presence::Always | Presence::Null) {
                shown.push((field.name.to_string(), node(now, &field.node)));
            }
        } else if is_meta {
            // It is embedded, and the one part that has tags.
            if let Shown::Fields(meta) = node(now, &field.node) {
                shown.extend(meta);
            }
        } else if name != "PodSpec" || !NOT_INSIDE.contains(&&*field.name) {
            let inner = match (name, &*field.name) {
                ("PodSpec", "securityContext") => security_context(value, &field.node),
                _ => member(now, field, name),
            };
            shown.push((go_name(name, &field.name), inner));
        }
    }
    Shown::Fields(shown)
}

/// Whether it is absent, or a list or map that is as good as that where there are tags.
fn is_omitted(value: &Value, field: &Field) -> bool {
    match (&field.node.shape, value) {
        (_, Value::Null) => true,
        (Shape::List { .. }, Value::Array(list)) => list.is_empty(),
        (Shape::Map { .. }, Value::Object(map)) => map.is_empty(),
        _ => false,
    }
}

/// The fields as the internal type has them.
fn in_order<'a>(of: &'a Struct, name: &str) -> Vec<&'a Field> {
    let mut fields: Vec<&Field> = of.fields.iter().collect();
    fields.sort_by_key(|field| field.order);
    for (_, moved, before) in MOVED.iter().filter(|(of, ..)| *of == name) {
        let place = |fields: &[&Field], wanted: &str| fields.iter().position(|field| *field.name == *wanted);
        if let Some(from) = place(&fields, moved) {
            let field = fields.remove(from);
            let to = place(&fields, before).map_or(from, |at| at + 1);
            fields.insert(to, field);
        }
    }
    fields
}

fn member(value: &Value, field: &Field, of: &str) -> Shown {
    let pointer =
        matches!(field.presence, Presence::Pointer | Presence::Null) && !PLAIN_INSIDE.contains(&(of, &*field.name));
    if value.is_null() && pointer {
        return null();
    }
    node(value, &field.node)
}

/// A pod always has one inside.
fn security_context(spec: &Value, of: &Node) -> Shown {
    let of_the_host = OF_THE_HOST.iter().map(|(name, field)| {
        let unset = if matches!(*field, "shareProcessNamespace" | "hostUsers") { "null" } else { "false" };
        let set = spec.at(field).as_bool().map(|set| set.to_string());
        ((*name).to_owned(), Shown::Text(set.unwrap_or_else(|| unset.to_owned())))
    });
    let mut all: Vec<_> = of_the_host.collect();
    if let Shown::Fields(own) = node(spec.at("securityContext"), of) {
        all.extend(own);
    }
    Shown::Fields(all)
}

fn node(value: &Value, of: &Node) -> Shown {
    match &of.shape {
        Shape::Struct { of, .. } => fields(value, of),
        Shape::List { items, .. } if value.is_array() => {
            Shown::List(value.list("").iter().map(|item| node(item, items)).collect())
        }
        Shape::Map { values, .. } if value.is_object() => {
            let entries = value.entries("").iter();
            Shown::Map(entries.map(|(key, entry)| (key.clone(), node(entry, values))).collect())
        }
        Shape::Scalar(scalar) if value.is_null() => Shown::Text(zero(*scalar).to_owned()),
        _ => plain(value),
    }
}

/// What Go has where nothing was set.
fn zero(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Bool => "false",
        Scalar::Int32 | Scalar::Int64 | Scalar::Double | Scalar::IntOrString => "0",
        Scalar::String => "\"\"",
        Scalar::Quantity => "\"0\"",
        Scalar::Duration => "\"0s\"",
        Scalar::Bytes | Scalar::Time | Scalar::MicroTime => "null",
    }
}

/// Free JSON, as it is.
fn plain(value: &Value) -> Shown {
    match value {
        Value::Array(items) => Shown::List(items.iter().map(plain).collect()),
        Value::Object(entries) => Shown::Map(entries.iter().map(|(key, entry)| (key.clone(), plain(entry))).collect()),
        other => Shown::Text(go_json(other)),
    }
}

fn null() -> Shown {
    plain(&NULL)
}

/// A field's name inside: `hostIP` is `HostIP`, `fsType` is `FSType`.
fn go_name(of: &str, name: &str) -> String {
    if let Some((.., inside)) = RENAMED.iter().find(|(ty, field, _)| *ty == of && *field == name) {
        return (*inside).to_owned();
    }
    let end = name.find(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit()).unwrap_or(name.len());
    let (first, rest) = name.split_at(end);
    match INITIALISMS.iter().find(|(word, _)| *word == first) {
        Some((_, word)) => format!("{word}{rest}"),
        None => super::validate::capitalised(name),
    }
}

impl Shown {
    fn without_empties(self) -> Self {
        match self {
            Self::List(items) if items.is_empty() => null(),
            Self::Map(entries) if entries.is_empty() => null(),
            Self::List(items) => Self::List(items.into_iter().map(Self::without_empties).collect()),
            Self::Map(entries) => Self::Map(each_without_empties(entries)),
            // A struct that says nothing is one, be it that of its fields none are shown.
            Self::Fields(fields) => Self::Fields(each_without_empties(fields)),
            text => text,
        }
    }

    fn pretty(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, Some(0));
        out
    }

    /// Go's `Marshal`, or at a depth its `MarshalIndent` with one space a level.
    fn write(&self, out: &mut String, depth: Option<usize>) {
        match self {
            Self::Text(text) => out.push_str(text),
            Self::List(items) => enclosed(out, depth, "[]", items, |out, depth, item| item.write(out, depth)),
            Self::Map(fields) | Self::Fields(fields) => {
                enclosed(out, depth, "{}", fields, |out, depth, (name, value)| {
                    out.push_str(&go_json(&Value::from(name.as_str())));
                    out.push_str(if depth.is_some() { ": " } else { ":" });
                    value.write(out, depth);
                })
            }
        }
    }
}

fn each_without_empties(fields: Vec<(String, Shown)>) -> Vec<(String, Shown)> {
    fields.into_iter().map(|(name, value)| (name, value.without_empties())).collect()
}

fn enclosed<T>(
    out: &mut String,
    depth: Option<usize>,
    brackets: &str,
    items: &[T],
    one: impl Fn(&mut String, Option<usize>, &T),
) {
    if items.is_empty() {
        out.push_str(brackets);
        return;
    }
    let (open, close) = brackets.split_at(1);
    let line = |out: &mut String, depth: Option<usize>| {
        if let Some(depth) = depth {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', depth));
        }
    };
    let inner = depth.map(|depth| depth + 1);
    out.push_str(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        line(out, inner);
        one(out, inner, item);
    }
    line(out, depth);
    out.push_str(close);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_inside() {
        for (of, name, inside) in [
            ("", "hostIP", "HostIP"),
            ("", "fsType", "FSType"),
            ("", "seLinuxOptions", "SELinuxOptions"),
            ("", "apiVersion", "APIVersion"),
            ("", "httpGet", "HTTPGet"),
            ("", "awsElasticBlockStore", "AWSElasticBlockStore"),
            ("", "clusterIPs", "ClusterIPs"),
            ("RBDVolumeSource", "pool", "RBDPool"),
        ] {
            assert_eq!(go_name(of, name), inside);
        }
    }

    #[test]
    fn every_field_is_shown() {
        for (value, of, shown) in [
            (
                json!({"key": "a", "operator": "Exists"}),
                "Toleration",
                r#"{"Key":"a","Operator":"Exists","Value":"","Effect":"","TolerationSeconds":null}"#,
            ),
            (
                json!({"requests": {"cpu": "1"}}),
                "ResourceRequirements",
                r#"{"Limits":null,"Requests":{"cpu":"1"},"Claims":null}"#,
            ),
            (
                json!({"limits": {}, "claims": []}),
                "ResourceRequirements",
                r#"{"Limits":{},"Requests":null,"Claims":[]}"#,
            ),
            (json!({"name": "<a>", "ports": [80]}), "LocalObjectReference", r#"{"Name":"\u003ca\u003e"}"#),
            (
                json!({"labelSelector": {"matchLabels": {"a": "b"}, "matchExpressions": []}, "topologyKey": "k"}),
                "PodAffinityTerm",
                r#"{"LabelSelector":{"matchLabels":{"a":"b"}},"Namespaces":null,"TopologyKey":"k","NamespaceSelector":null,"MatchLabelKeys":null,"MismatchLabelKeys":null}"#,
            ),
        ] {
            assert_eq!(compact(&value, &format!("api.core.v1.{of}")), shown);
        }
    }

    #[test]
    fn nothing_and_empty() {
        for (a, b, of, equal) in [
            (json!({"tolerations": []}), json!({}), "PodSpec", true),
            (json!({"nodeSelector": {}}), json!({}), "PodSpec", true),
            (json!({"nodeSelector": {"a": ""}}), json!({}), "PodSpec", false),
            (json!({"affinity": {}}), json!({}), "PodSpec", false),
            (json!({"selector": {}}), json!({}), "PersistentVolumeClaimSpec", false),
            (json!({"selector": {"matchLabels": {}}}), json!({"selector": {}}), "PersistentVolumeClaimSpec", true),
            (json!({"runtimeClassName": ""}), json!({}), "PodSpec", false),
            (json!({"nodeName": ""}), json!({}), "PodSpec", true),
        ] {
            assert_eq!(same(&a, &b, &format!("api.core.v1.{of}")), equal, "{a} {b}");
        }
    }

    #[test]
    fn what_the_host_shares_is_part_of_the_security_context() {
        let shown = compact(&json!({"hostNetwork": true}), "api.core.v1.PodSpec");
        let expected = r#""SecurityContext":{"HostNetwork":true,"HostPID":false,"HostIPC":false,"ShareProcessNamespace":null,"HostUsers":null,"SELinuxOptions":null,"#;
        assert!(shown.contains(expected), "{shown}");
        assert!(shown.contains(r#""Subdomain":"","SetHostnameAsFQDN":null,"Affinity":null,"#), "{shown}");
    }

    #[test]
    fn a_diff_shows_what_is_around() {
        let old = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "a", "resources": {}});
        let mut new = old.clone();
        new["storageClassName"] = json!("b");
        let expected = "@@ -8,7 +8,7 @@\n   \"Requests\": null\n  },\n  \"VolumeName\": \"\",\n- \"StorageClassName\": \"a\",\n+ \
                        \"StorageClassName\": \"b\",\n  \"VolumeMode\": null,\n  \"DataSource\": null,\n  \"DataSourceRef\": null,\n";
        assert_eq!(diff(&old, &new, "api.core.v1.PersistentVolumeClaimSpec"), expected);
    }
}
