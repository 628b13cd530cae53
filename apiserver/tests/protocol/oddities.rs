//! Values of single kinds that only look wrong, and rights that only some namespaces give.

use http::Method;
use serde_json::json;

use crate::World;
use crate::wire::Ask;

/// Forms of addresses that parsers of old let pass are still taken, kept as they are, and warned of.
pub async fn odd_addresses_are_taken(world: &World) {
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "odd" }, "spec": {
        "ports": [{ "port": 80 }], "clusterIP": "10.96.000.99", "externalIPs": ["010.1.2.3"] } });
    let path = "/api/v1/namespaces/default/services";
    let ask = Ask::new(Method::POST, path, service.to_string());
    let answer = world.server.target.open(&mut world.connection.clone(), ask).await.unwrap();
    assert_eq!(answer.status(), 201);
    let warnings: Vec<&str> = answer.headers().get_all("warning").iter().map(|w| w.to_str().unwrap()).collect();
    assert_eq!(
        warnings,
        [
            r#"299 - "spec.clusterIPs[0]: non-standard IP address \"10.96.000.99\" is invalid: use \"10.96.0.99\"""#,
            r#"299 - "spec.externalIPs[0]: non-standard IP address \"010.1.2.3\" is invalid: use \"10.1.2.3\"""#,
        ]
    );
    let (_, kept) = world.ask(Ask::get(&format!("{path}/odd"))).await;
    assert_eq!(kept["spec"]["clusterIPs"], json!(["10.96.000.99"]));
    let (code, address) = world.ask(Ask::get("/apis/networking.k8s.io/v1/ipaddresses/10.96.0.99")).await;
    assert_eq!((code, &address["spec"]["parentRef"]["name"]), (200, &json!("odd")));
    assert_eq!(world.ask(Ask::new(Method::DELETE, &format!("{path}/odd"), "")).await.0, 200);
    assert_eq!(world.ask(Ask::get("/apis/networking.k8s.io/v1/ipaddresses/10.96.0.99")).await.0, 404);
}

/// They are for namespaces that are marked so.
pub async fn devices_for_administrators(world: &World) {
    let claim = json!({ "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": { "name": "c" },
        "spec": { "devices": { "requests": [
            { "name": "r", "exactly": { "deviceClassName": "d", "adminAccess": true } }] } } });
    let path = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
    let create = || Ask::new(Method::POST, path, claim.to_string());
    let (code, status) = world.ask(create()).await;
    let expected = "ResourceClaim.resource.k8s.io \"c\" is invalid: spec.devices.requests[0].adminAccess: Forbidden: admin access \
                    to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace";
    assert_eq!((code, &status["message"]), (422, &json!(expected)));
    let label = json!({ "metadata": { "labels": { "resource.kubernetes.io/admin-access": "true" } } });
    let mut ask = Ask::new(Method::PATCH, "/api/v1/namespaces/default", label.to_string());
    ask.content_type = "application/merge-patch+json";
    assert_eq!(world.ask(ask).await.0, 200);
    assert_eq!(world.ask(create()).await.0, 201);
}

/// Addresses come from every range that is ready, and from no other (KEP-1880).
pub async fn services_have_several_ranges(world: &World) {
    const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";
    const SERVICES: &str = "/api/v1/namespaces/default/services";
    let range = json!({ "metadata": { "name": "more" }, "spec": { "cidrs": ["203.0.113.0/24"] } });
    assert_eq!(world.ask(Ask::new(Method::POST, RANGES, range.to_string())).await.0, 201);
    let service = async |address: &str| {
        let name = format!("at-{}", address.replace('.', "-"));
        let service =
            json!({ "metadata": { "name": name }, "spec": { "clusterIP": address, "ports": [{ "port": 80 }] } });
        let (code, told) = world.ask(Ask::new(Method::POST, SERVICES, service.to_string())).await;
        (code, told["message"].as_str().unwrap_or_default().to_owned())
    };
    let (code, message) = service("203.0.113.10").await;
    assert!(code == 422 && message.ends_with("the provided network does not match the current range"), "{message}");
    let ready = json!({ "type": "Ready", "status": "True", "reason": "", "message": "",
        "lastTransitionTime": "2024-01-02T03:04:05Z" });
    let status = json!({ "status": { "conditions": [ready] } }).to_string();
    let path = format!("{RANGES}/more/status");
    assert_eq!(world.ask(Ask::new(Method::PATCH, &path, status)).await.0, 200);
    // Whoever has seen it in a list sees it in force.
    assert_eq!(world.ask(Ask::get(RANGES)).await.0, 200);
    assert_eq!(service("203.0.113.10").await, (201, String::new()));
    let (code, message) = service("203.0.113.0").await;
    let text = "the provided IP (203.0.113.0) is not in the valid range. The range of valid IPs is 203.0.113.0/24";
    assert!(code == 422 && message.ends_with(text), "{message}");
}

/// Who serves is told by a lease (KEP-1965).
pub async fn the_server_has_a_lease(world: &World) {
    let path = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
    let selector = "labelSelector=apiserver.kubernetes.io%2Fidentity%3Dkube-apiserver";
    let (_, list) = world.ask(Ask::get(&format!("{path}?{selector}"))).await;
    let leases = list["items"].as_array().unwrap();
    let [lease] = leases.as_slice() else { panic!("{list}") };
    let name = lease["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("apiserver-") && name.len() == "apiserver-".len() + 26, "{name}");
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 3600);
    assert!(lease["spec"]["holderIdentity"].as_str().unwrap().starts_with(&format!("{name}_")));
}
