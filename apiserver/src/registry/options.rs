//! What a request's parameters ask besides the object itself: upstream's `CreateOptions`, `UpdateOptions`, `PatchOptions`,
//! `DeleteOptions` and `ListOptions`, and what is wrong with them (`apimachinery/pkg/apis/meta/v1/validation` and
//! `…/meta/internalversion/validation`).

use schema::FieldValidation;
use schema::field::{Error, ErrorList, Path};
use schema::go;
use serde_json::json;

use crate::app::Call;
use crate::http::request_info::Query;
use crate::http::status::{ApiError, ApiResult};

/// The longest name of a field manager.
const MANAGER_MAX: usize = 128;
const APPLY: &str = "application/apply-patch+yaml";

/// Checks the options of a create, update or patch, and takes note of `dryRun`. `media`: what a patch is.
///
/// # Errors
/// 422 for what upstream forbids.
pub fn write(call: &Call, media: &str) -> ApiResult<()> {
    let query = &call.query;
    let mut errors = ErrorList::new();
    let kind = match call.info.verb {
        "create" => "CreateOptions",
        "update" => "UpdateOptions",
        _ => {
            match media {
                APPLY if query.text("fieldManager").is_none() => {
                    errors.push(Error::required(&Path::new("fieldManager"), "is required for apply patch"));
                }
                APPLY => {}
                "application/json-patch+json"
                | "application/merge-patch+json"
                | "application/strategic-merge-patch+json" => {
                    if query.get("force").is_some() {
                        errors.push(Error::forbidden(&Path::new("force"), "may not be specified for non-apply patch"));
                    }
                }
                // What is no patch is refused for that.
                _ => return Ok(()),
            }
            "PatchOptions"
        }
    };
    manager(&mut errors, query.get("fieldManager").unwrap_or_default());
    let words: Vec<&str> = query.all("dryRun").collect();
    dry_run(&mut errors, &words);
    let word = query.get("fieldValidation").unwrap_or_default();
    if FieldValidation::parse(word).is_none() {
        let supported = ["", "Ignore", "Strict", "Warn"];
        errors.push(Error::not_supported(&Path::new("fieldValidation"), word, &supported));
    }
    invalid(kind, errors)?;
    if !words.is_empty() {
        call.only_try();
    }
    Ok(())
}

/// Checks the options of a list, a watch or the deletion of a collection.
///
/// # Errors
/// 400 for numbers that are none, 422 for what does not go together.
pub fn list(query: &Query) -> ApiResult<()> {
    query.number("timeoutSeconds")?;
    query.number("limit")?;
    let mut errors = ErrorList::new();
    let at = Path::new("resourceVersionMatch");
    let matching = query.text("resourceVersionMatch");
    let initial = query.get("sendInitialEvents").is_some();
    // Upstream fills these in for a watch that begins with what there is.
    let whole = query.flag("watch")
        && !initial
        && matching.is_none()
        && matches!(query.get("resourceVersion"), None | Some("" | "0"));
    let (matching, initial) = if whole { (Some("NotOlderThan"), true) } else { (matching, initial) };
    let mut forbid = |detail: &str| errors.push(Error::forbidden(&at, detail));
    const CONTINUED: &str = "resourceVersionMatch is forbidden when continue is provided";
    if query.flag("watch") {
        if initial && matching != Some("NotOlderThan") {
            forbid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
        }
        if let Some(matching) = matching {
            if !initial {
                forbid("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
            }
            if matching != "NotOlderThan" {
                errors.push(Error::not_supported(&at, matching, &["NotOlderThan"]));
            }
            if query.text("continue").is_some() {
                errors.push(Error::forbidden(&at, CONTINUED));
            }
        }
        return invalid("ListOptions", errors);
    }
    if let Some(matching) = matching {
        if query.text("resourceVersion").is_none() {
            forbid("resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if query.text("continue").is_some() {
            forbid(CONTINUED);
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            errors.push(Error::not_supported(&at, matching, &["Exact", "NotOlderThan", ""]));
        }
        if matching == "Exact" && query.get("resourceVersion") == Some("0") {
            let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.push(Error::forbidden(&at, detail));
        }
    }
    if initial {
        errors.push(Error::forbidden(&Path::new("sendInitialEvents"), "sendInitialEvents is forbidden for list"));
    }
    invalid("ListOptions", errors)
}

/// The `fieldValidation` parameter, which [`write`] has looked at; the server's default is Warn.
pub fn validation(call: &Call) -> FieldValidation {
    call.query.get("fieldValidation").and_then(FieldValidation::parse).unwrap_or(FieldValidation::Warn)
}

fn manager(errors: &mut ErrorList, name: &str) {
    let at = Path::new("fieldManager");
    if name.len() > MANAGER_MAX {
        errors.push(Error::too_long(&at, MANAGER_MAX));
    }
    for (place, c) in name.char_indices().filter(|(_, c)| !go::is_print(*c)) {
        let detail = format!("invalid character U+{:04X} (at position {place})", u32::from(c));
        errors.push(Error::invalid(&at, name, detail));
    }
}

pub fn dry_run(errors: &mut ErrorList, words: &[&str]) {
    if words.iter().any(|word| *word != "All") {
        errors.push(Error::not_supported(&Path::new("dryRun"), json!(words), &["All"]));
    }
}

/// # Errors
/// 422 where there are errors.
pub fn invalid(kind: &str, errors: ErrorList) -> ApiResult<()> {
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid("meta.k8s.io", kind, "", &errors)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_ask_for_what_goes_together() {
        let forbidden = |text: &str| format!("ListOptions.meta.k8s.io \"\" is invalid: {text}");
        for (query, expected) in [
            ("limit=2&resourceVersion=5&resourceVersionMatch=Exact", String::new()),
            ("watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", String::new()),
            ("limit=x", "strconv.ParseInt: parsing \"x\": invalid syntax".to_owned()),
            ("limit=", "strconv.ParseInt: parsing \"\": invalid syntax".to_owned()),
            (
                "limit=99999999999999999999",
                "strconv.ParseInt: parsing \"99999999999999999999\": value out of range".to_owned(),
            ),
            (
                "resourceVersionMatch=x",
                forbidden(
                    "[resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided, \
                     resourceVersionMatch: Unsupported value: \"x\": supported values: \"Exact\", \"NotOlderThan\", \"\"]",
                ),
            ),
            (
                "resourceVersion=0&resourceVersionMatch=Exact",
                forbidden(
                    "resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
                ),
            ),
            (
                "sendInitialEvents=false",
                forbidden("sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
            ),
            (
                "watch=1&resourceVersionMatch=NotOlderThan",
                forbidden(
                    "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is \
                     provided",
                ),
            ),
            (
                "watch=1&continue=x",
                forbidden(
                    "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided",
                ),
            ),
            (
                "watch=1&sendInitialEvents=1&resourceVersionMatch=Exact",
                forbidden(
                    "[resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan, \
                     resourceVersionMatch: Unsupported value: \"Exact\": supported values: \"NotOlderThan\"]",
                ),
            ),
        ] {
            let said = list(&Query::parse(Some(query))).err().map(|error| error.message).unwrap_or_default();
            assert_eq!(said, expected, "{query}");
        }
    }

    #[test]
    fn names_of_managers_are_printable() {
        let mut errors = ErrorList::new();
        manager(&mut errors, "a\0b");
        manager(&mut errors, "snow ☃");
        manager(&mut errors, &"x".repeat(129));
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let expected = [
            r#"fieldManager: Invalid value: "a\x00b": invalid character U+0000 (at position 1)"#,
            "fieldManager: Too long: may not be more than 128 bytes",
        ];
        assert_eq!(texts, expected);
    }
}
