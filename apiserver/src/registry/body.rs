//! Request bodies: media type, decoding against the schema, and the checks of apiVersion and kind.

use schema::decode::{self, DecodeError};
use schema::{FieldValidation, Schema};
use serde_json::Value;

use crate::app::{Call, text};
use crate::http::status::{ApiError, ApiResult};

const MEDIA: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// The `fieldValidation` parameter; the server's default is Warn.
///
/// # Errors
/// 400 for an unknown word.
pub fn validation(call: &Call) -> ApiResult<FieldValidation> {
    let Some(word) = call.query.text("fieldValidation") else { return Ok(FieldValidation::Warn) };
    FieldValidation::parse(word).ok_or_else(|| {
        let supported = "supported values: \"Ignore\", \"Strict\", \"Warn\"";
        ApiError::bad_request(format!("fieldValidation: Unsupported value: {word:?}: {supported}"))
    })
}

/// Reads a whole object of `api_version` and `kind`; where the body does not name them they are filled in.
///
/// # Errors
/// 400 for what cannot be decoded or is another kind, 415 for an unknown media type.
pub fn object(call: &Call, media: &str, body: &[u8], schema: Option<&Schema>, api_version: &str, kind: &str) -> ApiResult<Value> {
    let validation = validation(call)?;
    let decoded = match media {
        "" | "application/json" => decode::json(body, schema, validation),
        "application/yaml" => decode::yaml(body, schema, validation),
        "application/vnd.kubernetes.protobuf" => {
            let (version, name, mut value) = schema::protobuf::decode(body).map_err(|e| ApiError::bad_request(e.to_string()))?;
            if value.is_object() {
                for (field, known) in [("apiVersion", version), ("kind", name)] {
                    if !known.is_empty() {
                        value[field] = known.into();
                    }
                }
            }
            match schema {
                Some(schema) => decode::value(value, schema, validation),
                None => Ok(decode::Decoded { value, warnings: Vec::new() }),
            }
        }
        _ => return Err(ApiError::unsupported_media(MEDIA)),
    };
    let decoded = decoded.map_err(|error| undecodable(&error, api_version, kind))?;
    for warning in decoded.warnings {
        call.warn(warning);
    }
    let mut value = decoded.value;
    identify(&mut value, api_version, kind)?;
    Ok(value)
}

/// Checks or fills apiVersion and kind.
///
/// # Errors
/// 400 when they are those of something else.
pub fn identify(value: &mut Value, api_version: &str, kind: &str) -> ApiResult<()> {
    if !value.is_object() {
        return Err(ApiError::bad_request(format!("couldn't get version/kind; json parse error: the body is no object of kind {kind}")));
    }
    let (have_version, have_kind) = (text(value, "/apiVersion").to_owned(), text(value, "/kind").to_owned());
    if !have_kind.is_empty() && have_kind != kind {
        let version = have_version.rsplit('/').next().unwrap_or_default();
        return Err(ApiError::bad_request(format!("{have_kind} in version {version:?} cannot be handled as a {kind}: converting ({have_version}.{have_kind}) to ({api_version}.{kind}): unknown conversion")));
    }
    if !have_version.is_empty() && have_version != api_version {
        return Err(ApiError::bad_request(format!("the API version in the data ({have_version}) does not match the expected API version ({api_version})")));
    }
    value["apiVersion"] = api_version.into();
    value["kind"] = kind.into();
    Ok(())
}

/// The error of a body that does not fit the schema.
#[must_use]
pub fn undecodable(error: &DecodeError, api_version: &str, kind: &str) -> ApiError {
    let version = api_version.rsplit('/').next().unwrap_or_default();
    ApiError::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {error}"))
}
