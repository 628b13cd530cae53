//! One operation, and how documents of either version write it (kube-openapi's `builder` and `builder3`).

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use serde_json::{Map, Value, json};

use super::parameters::Query;
use super::types::Dialect;

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Method {
    Delete,
    Get,
    Head,
    Options,
    Patch,
    Post,
    Put,
}

impl Method {
    pub fn word(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Get => "get",
            Self::Head => "head",
            Self::Options => "options",
            Self::Patch => "patch",
            Self::Post => "post",
            Self::Put => "put",
        }
    }
}

pub(super) struct Body {
    pub schema: Value,
    pub required: bool,
}

pub(super) struct Route {
    pub method: Method,
    pub path: String,
    pub id: String,
    pub text: String,
    pub tag: String,
    /// The action, and the kind it is about.
    pub extensions: Option<(&'static str, Value)>,
    pub consumes: &'static [&'static str],
    pub produces: Vec<&'static str>,
    /// The kind whose name is in the path.
    pub name: Option<String>,
    pub namespace: bool,
    /// The path ends with somebody else's.
    pub path_parameter: bool,
    pub query: Vec<Query>,
    pub body: Option<Body>,
    /// What is answered, by code.
    responses: Vec<(u16, Value)>,
}

const NAMESPACE: &str = "object name and auth scope, such as for teams and projects";
const PATH: &str = "path to the resource";

/// Name, place (`path`, `query`), type, text.
type Parameter = (&'static str, &'static str, &'static str, String);

impl Route {
    pub fn new(method: Method, path: String) -> Self {
        Self {
            method,
            path,
            id: String::new(),
            text: String::new(),
            tag: String::new(),
            extensions: None,
            consumes: &[],
            produces: Vec::new(),
            name: None,
            namespace: false,
            path_parameter: false,
            query: Vec::new(),
            body: None,
            responses: Vec::new(),
        }
    }

    pub fn answers(&mut self, responses: &[(u16, &Value)]) {
        self.responses = responses.iter().map(|(code, schema)| (*code, Value::clone(schema))).collect();
    }

    /// Ordered by name.
    fn parameters(&self) -> BTreeSet<Parameter> {
        let mut all: BTreeSet<Parameter> =
            self.query.iter().map(|(name, kind, text)| (*name, "query", *kind, (*text).to_owned())).collect();
        all.extend(self.name.iter().map(|kind| ("name", "path", "string", format!("name of the {kind}"))));
        all.extend(self.namespace.then(|| ("namespace", "path", "string", NAMESPACE.to_owned())));
        all.extend(self.path_parameter.then(|| ("path", "path", "string", PATH.to_owned())));
        all
    }

    /// `common`: parameters that the path has for all of its operations.
    fn operation(&self, dialect: Dialect, common: &BTreeSet<Parameter>, shared: &mut Shared) -> Value {
        let mut out = Map::new();
        let put = |out: &mut Map<String, Value>, name: &str, value: Value| out.insert(name.to_owned(), value);
        if !self.text.is_empty() {
            put(&mut out, "description", self.text.as_str().into());
        }
        put(&mut out, "operationId", self.id.as_str().into());
        put(&mut out, "tags", json!([self.tag]));
        if let Some((action, kind)) = &self.extensions {
            put(&mut out, "x-kubernetes-action", (*action).into());
            put(&mut out, "x-kubernetes-group-version-kind", kind.clone());
        }
        let own = self.parameters();
        let mut parameters: Vec<Value> =
            own.difference(common).map(|parameter| shared.write(dialect, parameter)).collect();
        match (&self.body, dialect) {
            (Some(body), Dialect::V2) => {
                // It is called `body`, which comes before all others.
                parameters.insert(0, shared.body(body));
            }
            (Some(body), Dialect::V3) => {
                let mut request = json!({ "content": content(self.consumes, &body.schema) });
                if body.required {
                    request["required"] = true.into();
                }
                put(&mut out, "requestBody", request);
            }
            (None, _) => {}
        }
        if !parameters.is_empty() {
            put(&mut out, "parameters", parameters.into());
        }
        if dialect == Dialect::V2 {
            for (name, forms) in [("consumes", self.consumes), ("produces", &self.produces)] {
                if !forms.is_empty() {
                    put(&mut out, name, forms.into());
                }
            }
            put(&mut out, "schemes", json!(["https"]));
        }
        let mut responses = Map::new();
        for (code, schema) in &self.responses {
            let text = match code {
                201 => "Created",
                202 => "Accepted",
                _ => "OK",
            };
            let response = match dialect {
                Dialect::V2 => json!({ "description": text, "schema": schema }),
                Dialect::V3 => json!({ "description": text, "content": content(&self.produces, schema) }),
            };
            responses.insert(code.to_string(), response);
        }
        responses.insert("401".to_owned(), json!({ "description": "Unauthorized" }));
        put(&mut out, "responses", responses.into());
        out.into()
    }
}

fn content(forms: &[&str], schema: &Value) -> Value {
    forms.iter().map(|form| ((*form).to_owned(), json!({ "schema": schema }))).collect::<Map<_, _>>().into()
}

/// The routes as `paths`, and the parameters that they refer to.
pub(super) fn document(routes: &[Route], dialect: Dialect) -> (Value, Value) {
    let mut by_path: BTreeMap<&str, Vec<&Route>> = BTreeMap::new();
    for route in routes {
        by_path.entry(&route.path).or_default().push(route);
    }
    let (mut paths, mut shared) = (Map::new(), Shared::default());
    for (path, routes) in by_path {
        let mut common = routes[0].parameters();
        for route in &routes[1..] {
            common = common.intersection(&route.parameters()).cloned().collect();
        }
        let mut item = Map::new();
        for route in routes {
            item.insert(route.method.word().to_owned(), route.operation(dialect, &common, &mut shared));
        }
        if !common.is_empty() {
            let common: Vec<Value> = common.iter().map(|parameter| shared.write(dialect, parameter)).collect();
            item.insert("parameters".to_owned(), common.into());
        }
        paths.insert(path.to_owned(), item.into());
    }
    (paths.into(), shared.0.into())
}

/// Parameters of a swagger document that are written once and referred to.
#[derive(Default)]
struct Shared(Map<String, Value>);

impl Shared {
    fn write(&mut self, dialect: Dialect, (name, place, kind, text): &Parameter) -> Value {
        let required = *place == "path";
        if dialect == Dialect::V3 {
            let mut value = json!({ "name": name, "in": place, "schema": { "type": kind, "uniqueItems": true } });
            value["description"] = text.as_str().into();
            if required {
                value["required"] = true.into();
            }
            return value;
        }
        let mut value = json!({ "name": name, "in": place, "type": kind, "uniqueItems": true, "description": text });
        let end = if required { ",\"required\":true}" } else { "}" };
        if required {
            value["required"] = true.into();
        }
        // Those tell by kind, and old clients look for these in the operations themselves.
        if matches!(*name, "name" | "dryRun" | "fieldValidation") {
            return value;
        }
        let text = Value::from(text.as_str());
        let written = format!(
            "{{\"uniqueItems\":true,\"type\":\"{kind}\",\"description\":{text},\"name\":\"{name}\",\"in\":\"{place}\"{end}"
        );
        self.refer(name, &written, value)
    }

    fn body(&mut self, body: &Body) -> Value {
        let mut value = json!({ "name": "body", "in": "body", "schema": body.schema });
        let required = if body.required { "\"required\":true," } else { "" };
        if body.required {
            value["required"] = true.into();
        }
        let of = body.schema["$ref"].as_str().unwrap_or_default();
        if !of.starts_with("#/definitions/io.k8s.apimachinery") {
            return value;
        }
        let written = format!("{{\"name\":\"body\",\"in\":\"body\",{required}\"schema\":{{\"$ref\":\"{of}\"}}}}");
        self.refer("body", &written, value)
    }

    /// `written`: the parameter as upstream writes it, whose hash is a part of its name.
    fn refer(&mut self, name: &str, written: &str, value: Value) -> Value {
        let hash = fnv(written.as_bytes()).to_be_bytes();
        let name = format!("{name}-{}", base64::prelude::BASE64_URL_SAFE.encode(&hash[..6]));
        let reference = json!({ "$ref": format!("#/parameters/{name}") });
        self.0.insert(name, value);
        reference
    }
}

/// FNV-1 with 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| hash.wrapping_mul(0x0000_0100_0000_01b3) ^ u64::from(*byte))
}
