//! Patches: how the bodies of PATCH are read, and what an object becomes by them.
//!
//! A body is read once there is an object to apply it to, as upstream does it: what does not exist is not found, whatever was
//! to be done to it.

use bytes::Bytes;
use schema::field::{Error, Path};
use schema::patch::{self, NO_MERGE_PATCH, OPERATION, PatchError};
use schema::{FieldValidation, Schema, decode, go};
use serde_json::{Value, json};

use super::{body, options, update};
use crate::app::{Call, text};
use crate::http::status::{ApiError, ApiResult};

/// The kinds of a patch body.
const CUSTOM_PATCHES: &str = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
pub const PATCHES: &str = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Merge,
    Strategic,
}

/// A patch as it was sent.
pub struct Patch {
    form: Form,
    body: Bytes,
}

/// What a patched object has to be.
pub struct Model<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    pub schema: Option<&'a Schema>,
    /// A custom resource is judged by what it says it is; a status is taken from whatever it stands in.
    pub custom: bool,
}

/// An applied configuration.
pub struct Configuration {
    pub value: Value,
    pub force: bool,
    /// What the reader of YAML says of keys given twice; a matter for when all else is well.
    twice: Vec<String>,
}

/// A PATCH body by its media type.
pub enum Sent {
    Patch(Patch),
    Apply(Configuration),
}

impl Sent {
    /// # Errors
    /// 415 where the resource knows no such patches, 400 for a configuration that is none.
    pub fn new(call: &Call, media: &str, body: Bytes) -> ApiResult<Self> {
        let custom = call.resource.is_custom();
        let form = match media {
            "application/json-patch+json" => Form::Json,
            "application/merge-patch+json" => Form::Merge,
            "application/strategic-merge-patch+json" if !custom => Form::Strategic,
            "application/apply-patch+yaml" => return Configuration::read(call, &body).map(Self::Apply),
            _ if custom => return Err(ApiError::unsupported_media(CUSTOM_PATCHES)),
            // Upstream's REST library refuses what no route takes.
            _ => {
                return Err(ApiError {
                    details: json!({}),
                    ..ApiError::new(415, "UnsupportedMediaType", "415: Unsupported Media Type")
                });
            }
        };
        Ok(Self::Patch(Patch { form, body }))
    }
}

impl Configuration {
    fn read(call: &Call, body: &[u8]) -> ApiResult<Self> {
        let validation = match options::validation(call) {
            FieldValidation::Ignore => FieldValidation::Ignore,
            FieldValidation::Warn | FieldValidation::Strict => FieldValidation::Warn,
        };
        let bad = |why: String| ApiError::bad_request(format!("error decoding YAML: {why}"));
        let decoded = decode::yaml(body, None, validation).map_err(|error| bad(error.to_string()))?;
        if !decoded.value.is_object() && !decoded.value.is_null() {
            let why = decode::unfit(&decoded.value, "map[string]interface {}");
            return Err(bad(format!("error unmarshaling JSON: while decoding JSON: {why}")));
        }
        Ok(Self { value: decoded.value, force: call.query.flag("force"), twice: decoded.warnings })
    }

    /// Tells of keys given twice.
    ///
    /// # Errors
    /// 400 where `fieldValidation` forbids them.
    pub fn complain(&self, call: &Call) -> ApiResult<()> {
        if !self.twice.is_empty() && options::validation(call) == FieldValidation::Strict {
            return Err(ApiError::bad_request(format!(
                "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {}",
                self.twice.join("\n  ")
            )));
        }
        self.twice.iter().for_each(|twice| call.warn(twice.clone()));
        Ok(())
    }
}

impl Patch {
    /// The object that `live` becomes.
    ///
    /// # Errors
    /// 400 for a patch that is none, 413 and 422 for one that cannot be applied, 422 where no object comes of it.
    pub fn apply(&self, call: &Call, live: &Value, model: &Model<'_>) -> ApiResult<Value> {
        let validation = options::validation(call);
        let checked = validation != FieldValidation::Ignore;
        let (mut body, mut complaints) = self.read(checked)?;
        let mut written = None;
        let patched = match self.form {
            Form::Json => patch::json_patch_sent(live, &body, &self.body, checked).map(|patched| {
                written = Some(patched.text);
                patched.value
            }),
            Form::Merge => patch::merge_patch(live, &body, checked),
            Form::Strategic => {
                let schema = model.schema.ok_or_else(|| ApiError::unsupported_media(PATCHES))?;
                patch::strategic_merge(schema, live, &mut body)
            }
        };
        let mut value = patched.map_err(|error| refused(&error))?;
        // What is shown of a strategic patch is the patch, to upstream's own words for what does not fit.
        let shown = || match (self.form, &written) {
            (Form::Strategic, _) => go::plain(&body),
            (_, Some(text)) => text.clone(),
            (_, None) => patch::merged_text(live, &body, &self.body),
        };
        let unfit = |why: String| unfit(&shown(), why);
        let strategic = self.form == Form::Strategic;
        // A strategic patch is one of the kind's fields; what the object says it is does not count.
        if !strategic {
            model.recognize(call, &value, &shown)?;
            if model.is_nameless(&value) {
                complaints.extend(internal_fields(&value).filter(|_| checked));
                warn_or_refuse(call, validation, complaints, unfit)?;
                return Err(update::undeterminable(&call.info.name));
            }
        }
        let reading = if checked { FieldValidation::Warn } else { FieldValidation::Ignore };
        let decoded = match (model.schema, self.form) {
            (None, _) => Ok((value, Vec::new())),
            (Some(schema), Form::Strategic) => {
                // What is no text is told of when the fields are read.
                let is_text = |name: &str| matches!(value.get(name), None | Some(Value::Null | Value::String(_)));
                if is_text("apiVersion") && is_text("kind") {
                    body::set_kind(&mut value, model.api_version, model.kind);
                }
                decode::restored(value, schema, reading).map(|read| (read.value, read.warnings))
            }
            (Some(schema), form) => {
                let read = match (form, complaints.is_empty()) {
                    (Form::Merge, true) => decode::value(value, schema, reading).ok(),
                    _ => None,
                };
                // Mistakes and what is given twice are told as they stand in the text.
                let read = read.map_or_else(|| decode::json(shown().as_bytes(), Some(schema), reading), Ok);
                read.map(|read| (read.value, read.warnings))
            }
        };
        let (mut value, odd) = decoded.map_err(|error| unfit(error.to_string()))?;
        complaints.extend(odd);
        body::set_kind(&mut value, model.api_version, model.kind);
        warn_or_refuse(call, validation, complaints, unfit)?;
        Ok(value)
    }

    /// The body, and what is to be said of it. `checked`: it was read once before, into the types it is made for.
    fn read(&self, checked: bool) -> ApiResult<(Value, Vec<String>)> {
        let decoded = match (self.form, checked) {
            (Form::Json, true) => decode::list_of(&self.body, &OPERATION),
            (_, true) => decode::json(&self.body, None, FieldValidation::Warn),
            (_, false) => decode::json(&self.body, None, FieldValidation::Ignore),
        };
        let mut decoded = decoded.map_err(|error| {
            ApiError::bad_request(match (self.form, checked) {
                (Form::Strategic, _) | (Form::Json, false) => error.to_string(),
                (Form::Merge, false) => NO_MERGE_PATCH.to_owned(),
                (Form::Json | Form::Merge, true) => format!("error decoding patch: {error}"),
            })
        })?;
        match self.form {
            Form::Json => decoded.warnings.iter_mut().for_each(|warning| warning.insert_str(0, "json patch ")),
            // Go converts floats that are whole to what the field is.
            Form::Strategic => decode::whole_numbers(&mut decoded.value),
            Form::Merge => {}
        }
        Ok((decoded.value, decoded.warnings))
    }
}

/// Tells of what is odd about a patched object.
///
/// # Errors
/// `unfit`, where `fieldValidation` forbids that.
fn warn_or_refuse(
    call: &Call,
    validation: FieldValidation,
    complaints: Vec<String>,
    unfit: impl Fn(String) -> ApiError,
) -> ApiResult<()> {
    if validation == FieldValidation::Strict && !complaints.is_empty() {
        return Err(unfit(format!("strict decoding error: {}", complaints.join(", "))));
    }
    complaints.into_iter().for_each(|complaint| call.warn(complaint));
    Ok(())
}

/// What is said of an object without version: upstream reads it into its internal type, whose fields have other names.
fn internal_fields(value: &Value) -> impl Iterator<Item = String> {
    let fields = value.as_object().into_iter().flat_map(serde_json::Map::keys);
    let unknown = fields.filter(|name| !matches!(name.as_str(), "apiVersion" | "kind"));
    unknown.map(|name| format!("unknown field {}", go::quote(name)))
}

impl Model<'_> {
    /// Whether a patched object of a built-in kind does not say any more of which version it is.
    fn is_nameless(&self, value: &Value) -> bool {
        !self.custom && text(value, "/apiVersion").is_empty()
    }

    /// Whether a patched object still is what it was.
    fn recognize(&self, call: &Call, value: &Value, shown: &dyn Fn() -> String) -> ApiResult<()> {
        let unfit = |why: String| unfit(&shown(), why);
        let (version, kind) = decode::interpret(value).map_err(unfit)?;
        if !self.custom {
            let version = if version.is_empty() { self.api_version } else { version };
            let kind = if kind.is_empty() { self.kind } else { kind };
            return body::no_conversion((version, kind), (self.api_version, self.kind))
                .map_or(Ok(()), |why| Err(unfit(why)));
        }
        if kind.is_empty() {
            return Err(unfit(format!("Object 'Kind' is missing in '{}'", shown())));
        }
        if call.info.subresource == "status" {
            return Ok(());
        }
        if version.is_empty() {
            return Err(ApiError::internal("Object 'apiVersion' is missing in 'object has no apiVersion field'"));
        }
        if version != self.api_version {
            let error = Error::invalid(&Path::new("apiVersion"), version, format!("must be {}", self.api_version));
            return Err(call.invalid(&call.info.name, &vec![error]));
        }
        body::other_custom_kind(value, text(value, "/kind"), self.api_version, self.kind)
    }
}

/// A patch after which the object could not be read any more, with what was to be read.
fn unfit(shown: &str, why: String) -> ApiError {
    ApiError::invalid("", "", "", &vec![Error::invalid(&Path::new("patch"), shown, why)])
}

/// What is said of a patch that cannot be applied.
pub fn refused(error: &PatchError) -> ApiError {
    match error.code {
        // Upstream keeps the reason to itself.
        422 => ApiError {
            details: json!({}),
            ..ApiError::new(422, "Invalid", "the server rejected our request due to an error in our request")
        },
        413 => ApiError::too_large(error),
        500 => ApiError::new(500, "", error.to_string()),
        _ => ApiError::bad_request(error.to_string()),
    }
}
