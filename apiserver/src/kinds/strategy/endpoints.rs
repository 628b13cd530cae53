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
    ..Strategy::PLAIN
};

pub const ENDPOINT_SLICE: Strategy = Strategy {
    has_generation: true,
    default: Some(|object| {
        for port in object.list_mut("ports") {
            if !port.has("name") {
                port.put("name", "");
            }
            port.default_to("protocol", "TCP");
        }
    }),
    validate: Some(validate::network::endpoint_slice),
    validate_update: Some(validate::network::endpoint_slice_update),
    ..Strategy::PLAIN
};

fn default_ports(subset: &mut Value) {
    for port in subset.list_mut("ports") {
        port.default_to("protocol", "TCP");
    }
}
