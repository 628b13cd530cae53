//! Named string formats: `format.dns1123Label().validate(name)`.

use super::Extension;
use crate::{
    decl::{Call, Row},
    operators::text,
    value::{EvalResult, Value, no_overload},
};

/// A format, and the length of the pattern its check costs as much as.
pub struct NamedFormat {
    pub(crate) name: &'static str,
    validate: fn(&str) -> Vec<String>,
    pub(crate) regex_size: u64,
}

impl std::fmt::Debug for NamedFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Upstream trims one trailing dash of prefixes (`apimachinery/pkg/api/validation.maskTrailingDash`).
fn masked(name: &str) -> String {
    match name.strip_suffix('-') {
        Some(rest) if name.len() > 1 => format!("{rest}a"),
        _ => name.to_owned(),
    }
}

fn either(valid: bool, message: &str) -> Vec<String> {
    if valid { Vec::new() } else { vec![message.to_owned()] }
}

static FORMATS: [NamedFormat; 13] = [
    NamedFormat { name: "dns1123Label", validate: schema::names::dns1123_label, regex_size: 30 },
    NamedFormat { name: "dns1123Subdomain", validate: schema::names::dns1123_subdomain, regex_size: 60 },
    NamedFormat { name: "dns1035Label", validate: schema::names::dns1035_label, regex_size: 30 },
    NamedFormat { name: "qualifiedName", validate: schema::names::qualified_name, regex_size: 60 },
    NamedFormat {
        name: "dns1123LabelPrefix",
        validate: |name| schema::names::dns1123_label(&masked(name)),
        regex_size: 30,
    },
    NamedFormat {
        name: "dns1123SubdomainPrefix",
        validate: |name| schema::names::dns1123_subdomain(&masked(name)),
        regex_size: 60,
    },
    NamedFormat {
        name: "dns1035LabelPrefix",
        validate: |name| schema::names::dns1035_label(&masked(name)),
        regex_size: 30,
    },
    NamedFormat { name: "labelValue", validate: schema::names::label_value, regex_size: 40 },
    NamedFormat { name: "uri", validate: |text| super::url::parse(text).err().into_iter().collect(), regex_size: 1103 },
    NamedFormat {
        name: "uuid",
        validate: |text| either(schema::crd::matches_format("uuid", text), "does not match the UUID format"),
        regex_size: 74,
    },
    NamedFormat {
        name: "byte",
        validate: |text| either(schema::crd::matches_format("byte", text), "invalid base64"),
        regex_size: 84,
    },
    NamedFormat {
        name: "date",
        validate: |text| either(schema::crd::matches_format("date", text), "invalid date"),
        regex_size: 97,
    },
    NamedFormat {
        name: "datetime",
        validate: |text| either(schema::crd::matches_format("datetime", text), "invalid datetime"),
        regex_size: 97,
    },
];

fn named<'a>(name: &str) -> EvalResult<'a> {
    match FORMATS.iter().find(|format| format.name == name) {
        Some(format) => Ok(Value::Extension(Extension::Format(format))),
        None => no_overload(),
    }
}

/// One function a format, without arguments.
macro_rules! constant {
    ($($name:literal),* $(,)?) => {
        pub(crate) const ROWS: &[Row] = &[
            ("validate", validate, &["format-validate kubernetes.NamedFormat.(string) optional<list<string>>"]),
            ("format.named", by_name, &["format-named (string) optional<kubernetes.NamedFormat>"]),
            $((
                concat!("format.", $name),
                |_, _| named($name),
                &[concat!("format.", $name, " () kubernetes.NamedFormat")],
            ),)*
        ];
    };
}

constant!(
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "qualifiedName",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime",
);

fn by_name<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(named(text(&args[0])?).map_or(Value::Optional(None), Value::some))
}

fn validate<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let Value::Extension(Extension::Format(format)) = &args[0] else { return no_overload() };
    let wrong = (format.validate)(text(&args[1])?);
    if wrong.is_empty() {
        return Ok(Value::Optional(None));
    }
    Ok(Value::some(Value::list(wrong.into_iter().map(Value::string).collect())))
}
