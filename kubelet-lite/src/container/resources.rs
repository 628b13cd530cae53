//! Quantities as numbers, and the quality-of-service class.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// A quantity in thousandths; `None` when it is malformed.
#[must_use]
pub fn milli(quantity: &Quantity) -> Option<i128> {
    let text = quantity.0.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic() && !matches!(c, 'e' | 'E')).unwrap_or(text.len());
    let (mut number, mut suffix) = text.split_at(split);
    let mut exponent = 0;
    if let Some(at) = number.find(['e', 'E']) {
        if number[at + 1..].is_empty() {
            // `1E` is the suffix exa, not an exponent.
            (number, suffix) = (&number[..at], "E");
        } else {
            exponent = number[at + 1..].parse().ok()?;
            number = &number[..at];
        }
    }
    if text.ends_with("Ei") {
        (number, suffix) = (text.trim_end_matches("Ei"), "Ei");
    }
    let scale: f64 = match suffix {
        "" => 1e3,
        "n" => 1e-6,
        "u" => 1e-3,
        "m" => 1.0,
        "k" => 1e6,
        "M" => 1e9,
        "G" => 1e12,
        "T" => 1e15,
        "P" => 1e18,
        "E" => 1e21,
        "Ki" => 1024e3,
        "Mi" => 1024f64.powi(2) * 1e3,
        "Gi" => 1024f64.powi(3) * 1e3,
        "Ti" => 1024f64.powi(4) * 1e3,
        "Pi" => 1024f64.powi(5) * 1e3,
        "Ei" => 1024f64.powi(6) * 1e3,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    let value = number * scale * 10f64.powi(exponent);
    value.is_finite().then_some(value.ceil() as i128)
}

/// A quantity in units, rounded up.
#[must_use]
pub fn units(quantity: &Quantity) -> Option<i64> {
    milli(quantity).and_then(|milli| i64::try_from((milli + 999).div_euclid(1000)).ok())
}

/// A limit or a request by name.
#[must_use]
pub fn find<'a>(map: Option<&'a BTreeMap<String, Quantity>>, name: &str) -> Option<&'a Quantity> {
    map.and_then(|map| map.get(name))
}

/// The pod's class, as upstream's `GetPodQOS`: only CPU and memory count.
#[must_use]
pub fn qos_class(spec: &PodSpec) -> &'static str {
    let containers: Vec<&Container> = spec.containers.iter().chain(spec.init_containers.iter().flatten()).collect();
    let empty = ResourceRequirements::default();
    let mut any = false;
    let mut guaranteed = true;
    for container in containers {
        let resources = container.resources.as_ref().unwrap_or(&empty);
        for name in ["cpu", "memory"] {
            let positive = |quantity: Option<&Quantity>| quantity.and_then(milli).filter(|value| *value > 0);
            let limit = positive(find(resources.limits.as_ref(), name));
            let request = positive(find(resources.requests.as_ref(), name)).or(limit);
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, expected) in [
            ("1", 1000), ("100m", 100), ("1.5", 1500), ("1Ki", 1_024_000), ("1k", 1_000_000), ("2e3", 2_000_000),
            ("1E", 1_000_000_000_000_000_000_000),
        ] {
            assert_eq!(milli(&Quantity(text.into())), Some(expected), "{text}");
        }
        assert_eq!(milli(&Quantity("1x".into())), None);
        assert_eq!(units(&Quantity("64Mi".into())), Some(64 << 20));
        assert_eq!(units(&Quantity("1500m".into())), Some(2));
    }

    #[test]
    fn classes() {
        let spec = |resources: serde_json::Value| -> PodSpec {
            serde_json::from_value(serde_json::json!({ "containers": [{ "name": "a", "resources": resources }] }))
                .expect("a spec")
        };
        assert_eq!(qos_class(&spec(serde_json::json!({}))), "BestEffort");
        assert_eq!(qos_class(&spec(serde_json::json!({ "requests": { "cpu": "1" } }))), "Burstable");
        let both = serde_json::json!({ "cpu": "1", "memory": "1Gi" });
        assert_eq!(qos_class(&spec(serde_json::json!({ "limits": both }))), "Guaranteed");
        assert_eq!(qos_class(&spec(serde_json::json!({ "limits": both, "requests": { "cpu": "500m" } }))), "Burstable");
    }
}
