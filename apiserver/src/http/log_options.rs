//! The options of a log (`PodLogOptions`): read as upstream converts a query, and judged by `ValidatePodLogOptions`.

use schema::field::{Error, ErrorList, Path};

use super::request_info::Query;
use super::status::{ApiError, ApiResult};

/// # Errors
/// 400 for what cannot be read, 422 for what makes no sense.
pub fn check(query: &Query, pod: &str) -> ApiResult<()> {
    let since = query.number("sinceSeconds")?;
    let time = query.text("sinceTime");
    if let Some(time) = time {
        schema::time::canonical(time).map_err(ApiError::bad_request)?;
    }
    let (tail, limit) = (query.number("tailLines")?, query.number("limitBytes")?);
    let mut errors = ErrorList::new();
    if let Some(tail) = tail.filter(|tail| *tail < 0) {
        errors.push(Error::invalid(&Path::new("tailLines"), tail, "must be greater than or equal to 0"));
    }
    let mut positive = |name: &str, value: Option<i64>| {
        if let Some(value) = value.filter(|value| *value < 1) {
            errors.push(Error::invalid(&Path::new(name), value, "must be greater than 0"));
        }
    };
    positive("limitBytes", limit);
    if since.is_some() && time.is_some() {
        let detail = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        errors.push(Error::forbidden(&Path::new("[]"), detail));
    } else {
        positive("sinceSeconds", since);
    }
    // One stream alone is behind a gate.
    if query.text("stream").is_some() {
        errors.push(Error::forbidden(&Path::new("stream"), "may not be specified"));
    }
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid("", "PodLogOptions", pod, &errors)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_sense() {
        for (query, code, message) in [
            ("tailLines=5&limitBytes=1&sinceSeconds=1&follow=maybe", 0, ""),
            ("tailLines=x", 400, "strconv.ParseInt: parsing \"x\": invalid syntax"),
            (
                "tailLines=-1",
                422,
                "PodLogOptions \"p\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0",
            ),
            (
                "limitBytes=0",
                422,
                "PodLogOptions \"p\" is invalid: limitBytes: Invalid value: 0: must be greater than 0",
            ),
            (
                "sinceSeconds=1&sinceTime=2020-01-01T00:00:00Z",
                422,
                "PodLogOptions \"p\" is invalid: []: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
            ),
            ("stream=All", 422, "PodLogOptions \"p\" is invalid: stream: Forbidden: may not be specified"),
        ] {
            let found =
                check(&Query::parse(Some(query)), "p").err().map_or((0, String::new()), |e| (e.code, e.message));
            assert_eq!(found, (code, message.to_owned()), "{query}");
        }
    }
}
