use serde_json::Value;
/// One served resource (a group, version, plural), as the caller's registry knows it.
#[derive(Clone, Debug, Default)]
pub struct Resource {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub namespaced: bool,
    /// `get list watch create update patch delete deletecollection`
    pub verbs: Vec<String>,
    /// (`status`, kind), (`scale`, `Scale`) …
    pub subresources: Vec<Subresource>,
    /// `openAPIV3Schema` of a custom resource; None for built-in kinds.
    pub custom: Option<Value>,
}
#[derive(Clone, Debug, Default)]
pub struct Subresource { pub name: String, pub group: String, pub version: String, pub kind: String, pub verbs: Vec<String> }
/// The document at `/openapi/v3/apis/GROUP/VERSION`; pass the resources of that group and version.
#[must_use]
pub fn v3(_group: &str, _version: &str, _resources: &[Resource]) -> Value { todo!() }
/// `/openapi/v2` of everything.
#[must_use]
pub fn v2(_resources: &[Resource]) -> Value { todo!() }
/// gnostic's protobuf form (`application/com.github.proto-openapi.spec.v2@v1.0+protobuf`).
#[must_use]
pub fn v2_protobuf(_document: &Value) -> Vec<u8> { todo!() }
