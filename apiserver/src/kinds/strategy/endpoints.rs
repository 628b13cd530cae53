//! Endpoints and EndpointSlices.

use serde_json::Value;

use super::super::Strategy;
use super::super::json::Json;
use super::super::validate;

pub const ENDPOINTS: Strategy = Strategy {
    create_on_update: true,
    default: Some(|object| {
        for subset in object.list_mut("subsets") {
            default_ports(subset);
        }
    }),
    validate: Some(validate::network::endpoints),
    warnings: Some(validate::network::endpoints_warnings),
    ..Strategy::PLAIN
};

pub const ENDPOINT_SLICE: Strategy = Strategy {
    has_generation: true,
    default: Some(|object| {
        for port in object.list_mut("ports") {
            if !port.has("name") {
                port.put("name", "");
            }
            port.default_pointer("protocol", "TCP");
        }
    }),
    prepare_create: Some(|slice| without_topology(slice, &Value::Null)),
    prepare_update: Some(|new, old| {
        without_topology(new, old);
        // Labels tie a slice to its Service, so a change of theirs counts, too.
        if new.entries("metadata.labels") != old.entries("metadata.labels") {
            new.put("metadata.generation", old.int("metadata.generation") + 1);
        }
    }),
    validate: Some(validate::network::endpoint_slice),
    warnings: Some(validate::network::slice_warnings),
    validate_update: Some(validate::network::endpoint_slice_update),
    ..Strategy::PLAIN
};

/// What v1beta1 said of an endpoint's place is only kept where it is from then.
fn without_topology(slice: &mut Value, old: &Value) {
    const FIELD: &str = "deprecatedTopology";
    if old.list("endpoints").iter().any(|endpoint| endpoint.has(FIELD)) {
        return;
    }
    slice.list_mut("endpoints").iter_mut().for_each(|endpoint| endpoint.remove(FIELD));
}

fn default_ports(subset: &mut Value) {
    for port in subset.list_mut("ports") {
        port.default_to("protocol", "TCP");
    }
}
