//! DenyServiceExternalIPs: nobody takes addresses for a Service that it did not have before
//! (`plugin/pkg/admission/network/denyserviceexternalips`). Off unless asked for, as upstream.

use serde_json::Value;

use super::{Attributes, Operation};
use crate::http::status::ApiResult;

pub fn admit(a: &Attributes<'_>, service: &Value) -> ApiResult<()> {
    let asked = a.is(Operation::Create, "", "services") || a.is(Operation::Update, "", "services");
    if asked && takes_more(service, a.old) {
        return Err(a.forbidden(service, "Use of external IPs is denied by admission control"));
    }
    Ok(())
}

fn takes_more(new: &Value, old: Option<&Value>) -> bool {
    let of = |service: &Value| service["spec"]["externalIPs"].as_array().cloned().unwrap_or_default();
    let had = old.map(of).unwrap_or_default();
    of(new).iter().any(|address| !had.contains(address))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_may_only_go() {
        let service = |addresses: Value| json!({ "spec": { "externalIPs": addresses } });
        assert!(takes_more(&service(json!(["1.2.3.4"])), None));
        assert!(!takes_more(&service(Value::Null), None));
        let both = service(json!(["1.2.3.4", "1.2.3.5"]));
        assert!(!takes_more(&service(json!(["1.2.3.5"])), Some(&both)));
        assert!(takes_more(&both, Some(&service(json!(["1.2.3.5"])))));
    }
}
