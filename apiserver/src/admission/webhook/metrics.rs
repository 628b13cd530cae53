//! What came of asking webhooks, as upstream's series tell it (`apiserver/pkg/admission/metrics`).

use std::time::Duration;

use super::review::Failure;
use crate::admission::Operation;
use crate::metrics::Metrics;

/// Codes beyond this are told as this.
const LARGEST_CODE: u16 = 600;

/// Counts one call. `failure`: why the webhook did not agree; `ignored`: the request went on all the same.
pub fn observe(
    metrics: &Metrics,
    name: &str,
    mutating: bool,
    operation: Operation,
    took: Duration,
    failure: Option<&Failure>,
    ignored: bool,
) {
    let (code, error) = match failure {
        None => (200, ""),
        Some(Failure::Calling(_)) => (500, "calling_webhook_error"),
        Some(Failure::Refused(error)) => (error.code.min(LARGEST_CODE), "no_error"),
    };
    let (kind, operation, code) = (if mutating { "admit" } else { "validating" }, operation.word(), code.to_string());
    let rejected = failure.is_some() && !ignored;
    let word = if rejected { "true" } else { "false" };
    metrics.admission_webhooks.observe(&[name, operation, word, kind], took.as_secs_f64());
    metrics.webhook_requests.increase(&[&code, name, operation, word, kind]);
    if rejected {
        metrics.webhook_rejections.increase(&[error, name, operation, &code, kind]);
    }
    if ignored && failure.is_some() {
        metrics.webhook_fail_open.increase(&[name, kind]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Page;

    #[test]
    fn series_are_named_as_upstream_names_them() {
        let metrics = Metrics::default();
        let took = Duration::from_millis(250);
        observe(&metrics, "a.b.c", true, Operation::Create, took, None, false);
        let failure = Failure::Calling(String::new());
        observe(&metrics, "a.b.c", false, Operation::Update, took, Some(&failure), true);
        observe(&metrics, "a.b.c", false, Operation::Update, took, Some(&failure), false);
        let mut page = Page::default();
        metrics.families().for_each(|family| family.write(&mut page));
        let page = page.text();
        for line in [
            r#"apiserver_admission_webhook_request_total{code="200",name="a.b.c",operation="CREATE",rejected="false",type="admit"} 1"#,
            r#"apiserver_admission_webhook_admission_duration_seconds_sum{name="a.b.c",operation="CREATE",rejected="false",type="admit"} 0.25"#,
            r#"apiserver_admission_webhook_rejection_count{error_type="calling_webhook_error",name="a.b.c",operation="UPDATE",rejection_code="500",type="validating"} 1"#,
            r#"apiserver_admission_webhook_fail_open_count{name="a.b.c",type="validating"} 1"#,
        ] {
            assert!(page.lines().any(|have| have == line), "{line} is not in\n{page}");
        }
    }
}
