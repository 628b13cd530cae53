//! Label selectors as texts: for queries (`labels.Selector`), and as Go prints them in messages.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// The canonical text of a selector, to be sent to a server. None, which selects nothing, has no text.
///
/// # Errors
/// An operator that there is not.
pub fn selector(selector: Option<&LabelSelector>) -> Result<String, String> {
    let Some(selector) = selector else { return Ok(String::new()) };
    let equal = selector.match_labels.iter().flatten().map(|(key, value)| Ok((key.clone(), format!("{key}={value}"))));
    let other = selector.match_expressions.iter().flatten().map(requirement);
    let mut parts = equal.chain(other).collect::<Result<Vec<_>, String>>()?;
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(","))
}

fn requirement(expression: &LabelSelectorRequirement) -> Result<(String, String), String> {
    let LabelSelectorRequirement { key, operator, values } = expression;
    let mut values = values.clone().unwrap_or_default();
    values.sort();
    let values = values.join(",");
    let text = match operator.as_str() {
        "In" => format!("{key} in ({values})"),
        "NotIn" => format!("{key} notin ({values})"),
        "Exists" => key.clone(),
        "DoesNotExist" => format!("!{key}"),
        _ => return Err(format!("{operator:?} is not a valid label selector operator")),
    };
    Ok((key.clone(), text))
}

/// A selector as Go's `%+v` shows it.
#[must_use]
pub fn dump(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else { return "nil".to_owned() };
    let labels: String =
        selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}: {value},")).collect();
    let expressions: String = selector
        .match_expressions
        .iter()
        .flatten()
        .map(|one| {
            let values = one.values.as_deref().unwrap_or_default().join(" ");
            format!("LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},", one.key, one.operator)
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},\
         MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        let given = serde_json::json!({"matchLabels": {"b": "1"},
            "matchExpressions": [{"key": "a", "operator": "In", "values": ["y", "x"]}, {"key": "c", "operator": "Exists"}]});
        let given: LabelSelector = serde_json::from_value(given).unwrap();
        assert_eq!(selector(Some(&given)).as_deref(), Ok("a in (x,y),b=1,c"));
        assert_eq!(selector(None).as_deref(), Ok(""));
        assert_eq!(
            dump(Some(&given)),
            "&LabelSelector{MatchLabels:map[string]string{b: 1,},MatchExpressions:[]LabelSelectorRequirement{\
             LabelSelectorRequirement{Key:a,Operator:In,Values:[y x],},LabelSelectorRequirement{Key:c,Operator:Exists,\
             Values:[],},},}"
        );
        assert_eq!(dump(None), "nil");
    }
}
