//! The `token` subresource of ServiceAccounts: TokenRequest (`registry/core/serviceaccount/storage/token.go`).

use auth::serviceaccount::{BoundRef, TokenRequest};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::app::{Call, text};
use crate::http::status::{ApiError, ApiResult};
use crate::registry::object::{self, stamp};
use crate::registry::write::live;

const DEFAULT_SECONDS: i64 = 3600;
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;
/// What kubelets ask for; such tokens live a year so that old clients that never read them again go on working.
const EXTENDABLE: i64 = 3607;
const YEAR: i64 = 365 * 24 * 3600;

/// Defaults of a TokenRequest.
pub fn prepare(request: &mut Value) {
    if !request["spec"].is_object() {
        request["spec"] = json!({});
    }
    if request["spec"]["expirationSeconds"].is_null() {
        request["spec"]["expirationSeconds"] = DEFAULT_SECONDS.into();
    }
}

/// What Go shows of a TokenRequest that nothing is said of.
pub fn show(request: &mut Value) {
    for field in ["audiences", "boundObjectRef"] {
        // Indexing makes it a null where it is not there.
        request["spec"][field] = request["spec"][field].take();
    }
    request["status"] = json!({ "token": "", "expirationTimestamp": null });
}

/// A TokenRequest with all that was not said.
pub fn fill(request: &mut Value) {
    prepare(request);
    if !request["metadata"].is_object() {
        request["metadata"] = json!({});
    }
    show(request);
}

/// Whose token it is to be, and for whom.
///
/// # Errors
/// 422 when it is somebody else's, 404 when there is nobody of the name, 409 for a namesake.
pub async fn name(call: &Call, request: &mut Value) -> ApiResult<()> {
    let name = &call.info.name;
    let named = text(request, "/metadata/name");
    if !named.is_empty() && named != name {
        let at = schema::field::Path::new("metadata").child("name");
        let wrong = schema::field::Error::invalid(&at, named, "must match the service account name if specified");
        return Err(ApiError::invalid("authentication.k8s.io", "TokenRequest", name, &vec![wrong]));
    }
    let account = live(&call.app, "serviceaccounts", &call.info.namespace, name).await?;
    let account = account.ok_or_else(|| ApiError::not_found("", "serviceaccounts", name))?;
    let (asked, uid) = (text(request, "/metadata/uid"), text(&account, "/metadata/uid"));
    if !asked.is_empty() && asked != uid {
        let why =
            format!("the UID in the token request ({asked}) does not match the UID of the service account ({uid})");
        return Err(ApiError::conflict("authentication.k8s.io", "TokenRequest", name, &why));
    }
    object::set(request, "name", name.as_str().into());
    object::set(request, "uid", uid.into());
    object::set(request, "creationTimestamp", object::now().into());
    if request["spec"]["audiences"].as_array().is_none_or(Vec::is_empty) {
        request["spec"]["audiences"] = json!(call.app.access.audiences());
    }
    Ok(())
}

/// Issues a token for the call's ServiceAccount; `body` is a TokenRequest.
pub async fn issue(call: &Call, mut body: Value) -> ApiResult<Value> {
    let (namespace, name) = (call.info.namespace.clone(), call.info.name.clone());
    let account = live(&call.app, "serviceaccounts", &namespace, &name).await?;
    let account = account.ok_or_else(|| ApiError::not_found("", "serviceaccounts", &name))?;
    let spec = &body["spec"];
    let mut asked = spec["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
    let path = schema::field::Path::new("spec").child("expirationSeconds");
    let wrong = |text: &str| {
        ApiError::invalid(
            "authentication.k8s.io",
            "TokenRequest",
            "",
            &vec![schema::field::Error::invalid(&path, asked, text)],
        )
    };
    if asked < MIN_SECONDS {
        return Err(wrong("may not specify a duration less than 10 minutes"));
    }
    if asked > MAX_SECONDS {
        return Err(wrong("may not specify a duration larger than 2^32 seconds"));
    }
    let options = &call.app.options;
    let most = options.service_account_max_token_expiration.filter(|most| !most.is_zero());
    if let Some(most) = most.map(|most| i64::try_from(most.as_secs()).unwrap_or(i64::MAX)).filter(|most| asked > *most)
    {
        call.warn(format!("requested expiration of {asked} seconds shortened to {most} seconds"));
        asked = most;
    }
    let audiences: Vec<String> =
        spec["audiences"].as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect();
    let mut request = TokenRequest {
        serviceaccount: BoundRef { name: name.clone(), uid: text(&account, "/metadata/uid").to_owned() },
        namespace: namespace.clone(),
        audiences: audiences.clone(),
        expires_in: SignedDuration::from_secs(asked),
        ..TokenRequest::default()
    };
    bind(call, spec, &mut request).await?;
    let extends = options.service_account_extend_token_expiration && asked == EXTENDABLE;
    if extends && audiences == call.app.access.audiences() && request.pod.is_some() {
        request.warn_after = Some(SignedDuration::from_secs(asked));
        request.expires_in = SignedDuration::from_secs(YEAR);
    }
    let now = Timestamp::now();
    let expires = now.checked_add(SignedDuration::from_secs(asked)).map_err(ApiError::internal)?;
    let (token, claims) = call.app.access.signer.issue(request, now).map_err(ApiError::internal)?;
    call.annotate("authentication.kubernetes.io/issued-credential-id", &format!("JTI={}", claims.jti));
    body["spec"]["expirationSeconds"] = asked.into();
    body["status"] = json!({ "token": token, "expirationTimestamp": stamp(expires) });
    Ok(body)
}

/// Binds the token to the object the request names.
async fn bind(call: &Call, spec: &Value, request: &mut TokenRequest) -> ApiResult<()> {
    let reference = &spec["boundObjectRef"];
    if !reference.is_object() {
        return Ok(());
    }
    let (kind, name) = (text(reference, "/kind"), text(reference, "/name"));
    let (plural, namespace) = match kind {
        "Pod" => ("pods", request.namespace.as_str()),
        "Secret" => ("secrets", request.namespace.as_str()),
        "Node" => ("nodes", ""),
        _ => {
            let version = text(reference, "/apiVersion");
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            let what = format!("{group}/{version}, Kind={kind}");
            return Err(ApiError::bad_request(format!("cannot bind token to object of type {what}")));
        }
    };
    if name.is_empty() {
        return Err(ApiError::bad_request("Name parameter required."));
    }
    let object =
        live(&call.app, plural, namespace, name).await?.ok_or_else(|| ApiError::not_found("", plural, name))?;
    let uid = text(&object, "/metadata/uid").to_owned();
    let wanted = text(reference, "/uid");
    let runs_as = text(&object, "/spec/serviceAccountName");
    if kind == "Pod" && runs_as != request.serviceaccount.name {
        let why = format!(
            "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
            request.serviceaccount.name
        );
        return Err(ApiError::bad_request(why));
    }
    if !wanted.is_empty() && wanted != uid {
        let why = format!(
            "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        // Upstream names the kind where the resource is to be.
        return Err(ApiError::conflict("", kind, name, &why));
    }
    let bound = BoundRef { name: name.to_owned(), uid };
    match kind {
        "Pod" => {
            let node = text(&object, "/spec/nodeName");
            if !node.is_empty() {
                let uid = live(&call.app, "nodes", "", node).await?.map(|n| text(&n, "/metadata/uid").to_owned());
                request.node = Some(BoundRef { name: node.to_owned(), uid: uid.unwrap_or_default() });
            }
            request.pod = Some(bound);
        }
        "Secret" => request.secret = Some(bound),
        _ => request.node = Some(bound),
    }
    Ok(())
}
