//! The log's old form, a line of text an event (`apiserver/pkg/audit/format.go`).

use serde_json::Value;

use crate::app::text;

/// The line, without its end.
pub fn line(event: &Value) -> String {
    let or = |pointer: &str, none: &str| match text(event, pointer) {
        "" => none.to_owned(),
        some => some.to_owned(),
    };
    let list = |pointer: &str| {
        let list = event.pointer(pointer).and_then(Value::as_array).filter(|list| !list.is_empty())?;
        Some(list.iter().map(|one| format!("{:?}", one.as_str().unwrap_or_default())).collect::<Vec<_>>().join(","))
    };
    let named = !text(event, "/user/username").is_empty();
    let impersonated = event["impersonatedUser"].is_object();
    let groups = list("/user/groups").filter(|_| named).unwrap_or_else(|| "<none>".to_owned());
    let as_user = if impersonated { text(event, "/impersonatedUser/username") } else { "<self>" };
    let as_groups = list("/impersonatedUser/groups").unwrap_or_else(|| "<lookup>".to_owned());
    let response = event.pointer("/responseStatus/code").map_or_else(|| "<deferred>".to_owned(), ToString::to_string);
    format!(
        "{} AUDIT: id={:?} stage={:?} ip={:?} method={:?} user={:?} groups={groups:?} as={as_user:?} asgroups={as_groups:?} \
         user-agent={:?} namespace={:?} uri={:?} response=\"{response}\"",
        nano(text(event, "/requestReceivedTimestamp")),
        text(event, "/auditID"),
        text(event, "/stage"),
        or("/sourceIPs/0", "<unknown>"),
        text(event, "/verb"),
        or("/user/username", "<none>"),
        text(event, "/userAgent"),
        or("/objectRef/namespace", "<none>"),
        text(event, "/requestURI"),
    )
}

/// A time as Go's RFC3339Nano writes it: no zeros at the end of the fraction.
fn nano(time: &str) -> String {
    match time.strip_suffix('Z').and_then(|time| time.split_once('.')) {
        Some((whole, fraction)) => match fraction.trim_end_matches('0') {
            "" => format!("{whole}Z"),
            rest => format!("{whole}.{rest}Z"),
        },
        None => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_is_upstreams() {
        let event = json!({ "requestReceivedTimestamp": "2026-01-01T00:00:00.120000Z", "auditID": "i", "stage": "ResponseComplete",
            "sourceIPs": ["10.0.0.1"], "verb": "get", "user": { "username": "jane", "groups": ["a", "b"] }, "userAgent": "curl",
            "objectRef": { "namespace": "ns" }, "requestURI": "/api/v1", "responseStatus": { "code": 200 } });
        assert_eq!(
            line(&event),
            "2026-01-01T00:00:00.12Z AUDIT: id=\"i\" stage=\"ResponseComplete\" ip=\"10.0.0.1\" method=\"get\" user=\"jane\" \
             groups=\"\\\"a\\\",\\\"b\\\"\" as=\"<self>\" asgroups=\"<lookup>\" user-agent=\"curl\" namespace=\"ns\" \
             uri=\"/api/v1\" response=\"200\""
        );
        let bare = line(&json!({ "requestReceivedTimestamp": "2026-01-01T00:00:00.000000Z" }));
        assert!(bare.starts_with("2026-01-01T00:00:00Z AUDIT: id=\"\""), "{bare}");
        assert!(bare.ends_with("namespace=\"<none>\" uri=\"\" response=\"<deferred>\""), "{bare}");
    }
}
