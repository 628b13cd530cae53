//! The operations of every resource and subresource (upstream's `endpoints/installer.go`; of custom resources the
//! `openapi/builder` of apiextensions), and of the paths that lead to them.

use serde_json::{Value, json};

use super::parameters::{self as query, Query};
use super::route::{Body, Method, Route};
use super::types::Types;
use super::{Resource, Subresource, group_version_kind};

const FORMS: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const WATCHES: &[&str] = &["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
const CUSTOM_FORMS: &[&str] = &["application/json", "application/yaml"];
const ANY: &[&str] = &["*/*"];
/// Clients choose the form of a patch by these: only built-in kinds have merge keys.
const PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
const CUSTOM_PATCHES: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];

/// Kinds whose deletion is answered with the object (`ReturnDeletedObject`).
const RETURNED: &[(&str, &str)] = &[
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("", "Pod"),
    ("", "PodTemplate"),
    ("", "ResourceQuota"),
    ("", "Service"),
    ("", "ServiceAccount"),
    ("resource.k8s.io", "DeviceClass"),
    ("resource.k8s.io", "ResourceClaim"),
    ("resource.k8s.io", "ResourceClaimTemplate"),
    ("resource.k8s.io", "ResourceSlice"),
    ("storage.k8s.io", "CSIDriver"),
    ("storage.k8s.io", "CSINode"),
    ("storage.k8s.io", "StorageClass"),
    ("storage.k8s.io", "VolumeAttachment"),
    ("storage.k8s.io", "VolumeAttributesClass"),
];

/// Kinds of the options of connections, with their parameters and whether what is connected to has paths of its own.
const CONNECTIONS: &[(&str, &str, &[Query], bool)] = &[
    ("Pod", "attach", query::ATTACH, false),
    ("Pod", "exec", query::EXEC, false),
    ("Pod", "portforward", query::PORT_FORWARD, false),
    ("Pod", "proxy", query::POD_PROXY, true),
    ("Node", "proxy", query::NODE_PROXY, true),
    ("Service", "proxy", query::SERVICE_PROXY, true),
];

/// All routes of the resources.
pub(super) fn routes(resources: &[&Resource], types: &mut Types) -> Vec<Route> {
    let mut out = Vec::new();
    for resource in resources {
        let (object, list) = types.resource(resource);
        let mut builder = Builder { resource, types, out: &mut out };
        builder.collection(&object, &list);
        builder.item(&object);
        for subresource in &resource.subresources {
            builder.subresource(subresource, &object);
        }
        if resource.custom.is_none() {
            builder.watches();
        }
    }
    out
}

/// A text's parts, each with a capital letter: `flowcontrol.apiserver.k8s.io` is `FlowcontrolApiserver`.
pub(super) fn camel(text: &str) -> String {
    let parts = text.trim_end_matches(".k8s.io").split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    parts.map(title).collect()
}

/// The name with a capital letter.
fn title(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}

fn lower(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_ascii_lowercase().to_string() + chars.as_str()).unwrap_or_default()
}

/// The group, and the version, as operations and tags call them.
pub(super) fn names(group: &str, version: &str) -> (String, String) {
    let group = camel(if group.is_empty() { "core" } else { group });
    let tag = if version.is_empty() { lower(&group) } else { format!("{}_{version}", lower(&group)) };
    (format!("{group}{}", title(version)), tag)
}

/// ` a Pod`, ` an Event`, ` Endpoints`.
fn with_article(kind: &str) -> String {
    let plural = kind.ends_with('s') && !kind.ends_with("ss");
    let vowel = kind.starts_with(['A', 'E', 'I', 'O', 'U']);
    match (plural, vowel) {
        (true, _) => format!(" {kind}"),
        (false, true) => format!(" an {kind}"),
        (false, false) => format!(" a {kind}"),
    }
}

struct Builder<'a, 'b> {
    resource: &'a Resource,
    types: &'b mut Types,
    out: &'b mut Vec<Route>,
}

/// Which collection of a namespaced resource is meant.
#[derive(Clone, Copy, PartialEq)]
enum Reach {
    Own,
    Everywhere,
}

impl Builder<'_, '_> {
    fn has(&self, verb: &str) -> bool {
        self.resource.verbs.iter().any(|other| other == verb)
    }

    fn root(&self) -> String {
        match self.resource.group.as_str() {
            "" => format!("/api/{}", self.resource.version),
            group => format!("/apis/{group}/{}", self.resource.version),
        }
    }

    fn path(&self, reach: Reach, watch: bool) -> String {
        let (root, plural) = (self.root(), &self.resource.plural);
        let watch = if watch { "/watch" } else { "" };
        match self.resource.namespaced && reach == Reach::Own {
            true => format!("{root}{watch}/namespaces/{{namespace}}/{plural}"),
            false => format!("{root}{watch}/{plural}"),
        }
    }

    /// A route with what all have; `tail` follows the collection's path.
    fn route(&self, method: Method, (verb, action): (&str, &'static str), reach: Reach, tail: &str) -> Route {
        let resource = self.resource;
        let custom = resource.custom.is_some();
        let (group, tag) = names(&resource.group, &resource.version);
        let scope = if resource.namespaced && reach == Reach::Own { "Namespaced" } else { "" };
        let (verb, rest) = verb.split_once(' ').unwrap_or((verb, ""));
        let kind = &resource.kind;
        let mut route = Route::new(method, self.path(reach, action.starts_with("watch")) + tail);
        route.id = format!("{verb}{group}{rest}{scope}{kind}");
        route.tag = tag;
        route.extensions = Some((action, group_version_kind(&resource.group, &resource.version, kind)));
        route.consumes = if custom { CUSTOM_FORMS } else { ANY };
        route.produces = if custom { CUSTOM_FORMS.to_vec() } else { FORMS.to_vec() };
        route.name = tail.contains("{name}").then(|| kind.clone());
        route.namespace = scope == "Namespaced";
        route.query = vec![query::PRETTY];
        route
    }

    fn kind(&mut self, kind: &str) -> Value {
        self.types.kind("v1", kind).unwrap_or_else(|| json!({ "type": "object" }))
    }

    fn collection(&mut self, object: &Value, list: &Value) {
        let kind = &self.resource.kind;
        let custom = self.resource.custom.is_some();
        let mut reaches = Vec::new();
        reaches.extend(self.has("list").then_some(Reach::Own));
        reaches.extend((self.has("list") && self.resource.namespaced).then_some(Reach::Everywhere));
        for reach in reaches {
            let mut route = self.route(Method::Get, ("list", "list"), reach, "");
            if reach == Reach::Everywhere {
                route.id += "ForAllNamespaces";
            }
            let watches = if self.has("watch") && !custom { " or watch" } else { "" };
            route.text = format!("list{watches} objects of kind {kind}");
            route.query.extend(query::LIST);
            if !custom {
                route.produces.extend(WATCHES);
            }
            route.answers(&[(200, list)]);
            self.out.push(route);
        }
        if self.has("create") {
            let mut route = self.route(Method::Post, ("create", "post"), Reach::Own, "");
            route.text = format!("create{}", with_article(kind));
            self.writes(route, object, query::WRITE, &[200, 201, 202]);
        }
        if self.has("deletecollection") {
            let mut route = self.route(Method::Delete, ("delete Collection", "deletecollection"), Reach::Own, "");
            route.text = format!("delete collection of {kind}");
            let status = self.kind("Status");
            if custom {
                route.query.extend(query::LIST);
            } else {
                let told = query::LIST.iter().filter(|(name, ..)| !matches!(*name, "watch" | "allowWatchBookmarks"));
                route.query.extend(told.chain(query::DELETE));
                route.body = Some(Body { schema: self.kind("DeleteOptions"), required: false });
            }
            route.answers(&[(200, &status)]);
            self.out.push(route);
        }
    }

    fn item(&mut self, object: &Value) {
        let resource = self.resource;
        let kind = &resource.kind;
        for verb in &resource.verbs {
            if verb != "delete" {
                self.read_or_write(verb, "", object);
                continue;
            }
            let mut route = self.route(Method::Delete, ("delete", "delete"), Reach::Own, "/{name}");
            route.text = format!("delete{}", with_article(kind));
            route.query.extend(query::DELETE);
            route.body = Some(Body { schema: self.kind("DeleteOptions"), required: false });
            let returned = resource.custom.is_none() && RETURNED.contains(&(&resource.group, kind));
            let answer = if returned { object.clone() } else { self.kind("Status") };
            route.answers(&[(200, &answer), (202, &answer)]);
            self.out.push(route);
        }
    }

    /// get, update, patch, and create of a subresource (`sub` empty: of the object itself).
    fn read_or_write(&mut self, verb: &str, sub: &str, schema: &Value) {
        let kind = &self.resource.kind;
        let custom = self.resource.custom.is_some();
        let tail = if sub.is_empty() { "/{name}".to_owned() } else { format!("/{{name}}/{sub}") };
        let (method, names) = match verb {
            "get" => (Method::Get, ("read", "get")),
            "update" => (Method::Put, ("replace", "put")),
            "patch" => (Method::Patch, ("patch", "patch")),
            "create" if !sub.is_empty() => (Method::Post, ("create", "post")),
            _ => return,
        };
        let mut route = self.route(method, names, Reach::Own, &tail);
        route.id += &title(sub);
        let of = if sub.is_empty() { String::new() } else { format!("{sub} of ") };
        let verb_text = if verb == "patch" { "partially update" } else { names.0 };
        route.text = match verb {
            "create" => format!("create {sub} of{}", with_article(kind)),
            _ => format!("{verb_text} {of}the specified {kind}"),
        };
        match verb {
            "get" => {
                if custom {
                    route.query.push(query::RESOURCE_VERSION);
                }
                route.answers(&[(200, schema)]);
                self.out.push(route);
            }
            "patch" => {
                route.consumes = if custom { CUSTOM_PATCHES } else { PATCHES };
                let patch = self.types.patch();
                route.body = Some(Body { schema: patch, required: true });
                route.query.extend(query::PATCH);
                // What is applied to a custom resource may be created just as well, but its documents do not say so.
                let answers = [(200, schema), (201, schema)];
                route.answers(if custom { &answers[..1] } else { &answers });
                self.out.push(route);
            }
            "create" => self.writes(route, schema, query::WRITE, &[200, 201, 202]),
            _ => self.writes(route, schema, query::WRITE, &[200, 201]),
        }
    }

    fn writes(&mut self, mut route: Route, object: &Value, parameters: &[Query], codes: &[u16]) {
        route.body = Some(Body { schema: object.clone(), required: true });
        route.query.extend(parameters);
        let answers: Vec<(u16, &Value)> = codes.iter().map(|code| (*code, object)).collect();
        route.answers(&answers);
        self.out.push(route);
    }

    fn subresource(&mut self, sub: &Subresource, object: &Value) {
        let text = json!({ "type": "string" });
        let kind = &self.resource.kind;
        let connection = CONNECTIONS.iter().find(|(of, name, ..)| of == kind && *name == sub.name);
        if let (Some((_, _, parameters, paths)), None) = (connection, &self.resource.custom) {
            return self.connection(sub, parameters, *paths);
        }
        let first = self.out.len();
        let api_version = super::api_version(&sub.group, &sub.version);
        let schema = match sub.name.as_str() {
            "log" => text,
            _ if sub.kind == *kind => object.clone(),
            _ => self.types.kind(&api_version, &sub.kind).unwrap_or(text),
        };
        for verb in &sub.verbs {
            self.read_or_write(verb, &sub.name, &schema);
        }
        for route in &mut self.out[first..] {
            if sub.name == "log" {
                route.produces.insert(0, "text/plain");
                route.query.extend(query::LOG);
            } else if let (Some((_, of)), None) = (&mut route.extensions, &self.resource.custom) {
                *of = group_version_kind(&sub.group, &sub.version, &sub.kind);
                route.name = Some(sub.kind.clone());
            }
        }
    }

    fn connection(&mut self, sub: &Subresource, parameters: &[Query], paths: bool) {
        use Method::{Delete, Get, Head, Options, Patch, Post, Put};
        let resource = self.resource;
        let kind = &resource.kind;
        let text = json!({ "type": "string" });
        let methods: &[Method] = if paths { &[Delete, Get, Head, Options, Patch, Post, Put] } else { &[Get, Post] };
        let tails = [("", ""), ("/{path}", "WithPath")];
        for (tail, word) in tails.into_iter().take(1 + usize::from(paths)) {
            for method in methods {
                let verb = format!("connect {}", title(method.word()));
                let tail = format!("/{{name}}/{}{tail}", sub.name);
                let mut route = self.route(*method, (&verb, "connect"), Reach::Own, &tail);
                route.id += &title(&sub.name);
                route.id += word;
                let method = method.word().to_uppercase();
                route.text = format!("connect {method} requests to {} of {kind}", sub.name);
                route.produces = ANY.to_vec();
                route.name = Some(sub.kind.clone());
                route.path_parameter = !word.is_empty();
                route.query = parameters.to_vec();
                let of = group_version_kind(&sub.group, &sub.version, &sub.kind);
                route.extensions = Some(("connect", of));
                route.answers(&[(200, &text)]);
                self.out.push(route);
            }
        }
    }

    /// The paths of old that watch.
    fn watches(&mut self) {
        if !self.has("watch") {
            return;
        }
        let kind = &self.resource.kind;
        let event = self.types.named("apimachinery.pkg.apis.meta.v1.WatchEvent");
        let mut all = vec![(Reach::Own, "/{name}"), (Reach::Own, "")];
        all.extend(self.resource.namespaced.then_some((Reach::Everywhere, "")));
        for (reach, tail) in all {
            let one = !tail.is_empty();
            let action = if one { "watch" } else { "watchlist" };
            let mut route = self.route(Method::Get, ("watch", action), reach, tail);
            route.id += if one { "" } else { "List" };
            route.id += if reach == Reach::Everywhere { "ForAllNamespaces" } else { "" };
            route.text = match one {
                true => format!(
                    "watch changes to an object of kind {kind}. deprecated: use the 'watch' parameter with a list operation instead, filtered to a single item with the 'fieldSelector' parameter."
                ),
                false => format!(
                    "watch individual changes to a list of {kind}. deprecated: use the 'watch' parameter with a list operation instead."
                ),
            };
            route.query.extend(query::LIST);
            route.produces.extend(WATCHES);
            route.answers(&[(200, &event)]);
            self.out.push(route);
        }
    }
}

/// The paths that say what there is; `version` empty: of the whole group.
pub(super) fn discovery(group: &str, version: &str, types: &mut Types) -> Route {
    let root = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
    let (names, tag) = names(group, version);
    let (path, what, text, kind) = match (group, version) {
        ("", "") => ("/api/".to_owned(), "APIVersions", "get available API versions", "APIVersions"),
        (_, "") => (format!("{root}/"), "APIGroup", "get information of a group", "APIGroup"),
        _ => (format!("{root}/{version}/"), "APIResources", "get available resources", "APIResourceList"),
    };
    let mut route = fixed(&path, &format!("get{names}{what}"), text, &tag, FORMS);
    let schema = types.kind("v1", kind).unwrap_or_else(|| json!({ "type": "object" }));
    route.answers(&[(200, &schema)]);
    route
}

/// The path of no group that a document is about.
pub(super) fn other(document: &str, types: &mut Types) -> Option<Route> {
    let path = format!("/{document}/");
    let (mut route, schema) = match document {
        "apis" => {
            let groups = types.kind("v1", "APIGroupList").unwrap_or_else(|| json!({ "type": "object" }));
            (fixed(&path, "getAPIVersions", "get available API versions", "apis", FORMS), groups)
        }
        "version" => {
            let text = "get the version information for this server";
            (fixed(&path, "getCodeVersion", text, "version", &FORMS[..1]), types.version())
        }
        ".well-known/openid-configuration" => {
            let text = "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'";
            let id = "getServiceAccountIssuerOpenIDConfiguration";
            (fixed(&path, id, text, "WellKnown", &["application/json"]), json!({ "type": "string" }))
        }
        "openid/v1/jwks" => {
            let text = "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)";
            let id = "getServiceAccountIssuerOpenIDKeyset";
            (fixed(&path, id, text, "openid", &["application/jwk-set+json"]), json!({ "type": "string" }))
        }
        _ => return None,
    };
    if schema["type"] == "string" {
        // Nothing is said to them.
        route.consumes = &[];
    }
    route.answers(&[(200, &schema)]);
    Some(route)
}

fn fixed(path: &str, id: &str, text: &str, tag: &str, forms: &'static [&'static str]) -> Route {
    let mut route = Route::new(Method::Get, path.to_owned());
    route.id = id.to_owned();
    route.text = text.to_owned();
    route.tag = tag.to_owned();
    route.consumes = forms;
    route.produces = forms.to_vec();
    route
}
