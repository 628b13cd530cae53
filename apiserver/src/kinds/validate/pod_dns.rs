//! How a pod finds names (`validatePodDNSConfig`).

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::address::ip;

/// Limits of resolv.conf as upstream sets them.
const NAMESERVERS: usize = 3;
const SEARCHES: usize = 32;
const SEARCH_LIST: usize = 2048;

/// Where a pod brings all of it itself and has brought nothing, that is all there is to say.
pub fn config(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let config = spec.at("dnsConfig");
    let servers = config.texts("nameservers");
    if spec.text("dnsPolicy") == "None" && servers.is_empty() {
        errors.push(if config.is_null() {
            Error::required(path, "must provide `dnsConfig` when `dnsPolicy` is None")
        } else {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            Error::required(&path.child("nameservers"), detail)
        });
        return;
    }
    let at = path.child("nameservers");
    if servers.len() > NAMESERVERS {
        let detail = format!("must not have more than {NAMESERVERS} nameservers");
        errors.push(Error::invalid(&at, config.at("nameservers").clone(), detail));
    }
    for (i, server) in servers.into_iter().enumerate() {
        ip(errors, &at.index(i), server);
    }
    searches(errors, &path.child("searches"), config);
    for (i, option) in config.list("options").iter().enumerate() {
        if option.text("name").is_empty() {
            errors.push(Error::required(&path.child("options").index(i), "must not be empty"));
        }
    }
}

fn searches(errors: &mut ErrorList, path: &Path, config: &Value) {
    let searches = config.texts("searches");
    let mut refuse = |detail: String| errors.push(Error::invalid(path, config.at("searches").clone(), detail));
    if searches.len() > SEARCHES {
        refuse(format!("must not have more than {SEARCHES} search paths"));
    }
    if searches.join(" ").len() > SEARCH_LIST {
        refuse(format!("must not have more than {SEARCH_LIST} characters (including spaces) in the search list"));
    }
    // "." stands for the root.
    for (i, search) in searches.into_iter().enumerate().filter(|(_, search)| *search != ".") {
        let bare = search.strip_suffix('.').unwrap_or(search);
        for message in names::dns1123_subdomain_with_underscore(bare) {
            errors.push(Error::invalid(&path.index(i), bare, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn what_a_pod_may_bring() {
        let label = "a".repeat(63);
        let long = vec![[&label, &label, &label].map(String::as_str).join("."); 11];
        let option = json!([{"name": ""}]);
        for (spec, wrong) in [
            (
                json!({"dnsPolicy": "None"}),
                vec!["dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
            ),
            (
                // Nothing else is looked at.
                json!({"dnsPolicy": "None", "dnsConfig": {"options": option}}),
                vec![
                    "dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None",
                ],
            ),
            (
                json!({"dnsConfig": {"searches": [".", "a_b.", "a"], "options": option}}),
                vec!["dnsConfig.options[0]: Required value: must not be empty"],
            ),
            (json!({"dnsConfig": {"searches": vec!["a"; 32]}}), vec![]),
        ] {
            let mut errors = ErrorList::new();
            config(&mut errors, &Path::new("dnsConfig"), &spec);
            assert_eq!(texts(&errors), wrong);
        }
        for (searches, wrong) in [
            (json!(long), "must not have more than 2048 characters (including spaces) in the search list"),
            (json!(vec!["a"; 33]), "must not have more than 32 search paths"),
        ] {
            let mut errors = ErrorList::new();
            config(&mut errors, &Path::new("dnsConfig"), &json!({"dnsConfig": {"searches": searches}}));
            assert_eq!(errors.iter().map(|error| error.detail.as_str()).collect::<Vec<_>>(), [wrong]);
        }
    }
}
