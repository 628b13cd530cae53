//! AuthenticationConfiguration (`apiserver.config.k8s.io`), from `--authentication-config` or made of the `--oidc-*` flags.

use anyhow::Context;
use serde::Deserialize;

use crate::access::file::{GROUP, Shape, decode};
use crate::options::Options;

/// `issuer.audienceMatchPolicy`: one of several audiences is enough.
pub const MATCH_ANY: &str = "MatchAny";

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Configuration {
    pub jwt: Vec<Jwt>,
    pub anonymous: Option<Anonymous>,
}

/// Who sends no credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Anonymous {
    pub enabled: bool,
    /// If there are any, only to these paths.
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    pub path: String,
}

/// Those whose tokens are believed, and what is made of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Jwt {
    pub issuer: Issuer,
    pub claim_validation_rules: Vec<ClaimRule>,
    pub claim_mappings: Mappings,
    pub user_validation_rules: Vec<UserRule>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Issuer {
    pub url: String,
    #[serde(rename = "discoveryURL")]
    pub discovery_url: String,
    /// PEM; empty: the system's.
    pub certificate_authority: String,
    pub audiences: Vec<String>,
    pub audience_match_policy: String,
    pub egress_selector_type: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClaimRule {
    pub claim: String,
    pub required_value: String,
    pub expression: String,
    pub message: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Mappings {
    pub username: Mapping,
    pub groups: Mapping,
    pub uid: Mapping,
    pub extra: Vec<Extra>,
}

/// A claim with a prefix, or an expression.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Mapping {
    pub claim: String,
    pub prefix: Option<String>,
    pub expression: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Extra {
    pub key: String,
    pub value_expression: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct UserRule {
    pub expression: String,
    pub message: String,
}

const MAPPING: Shape = Shape::Object(&[("claim", Shape::Leaf), ("prefix", Shape::Leaf), ("expression", Shape::Leaf)]);
const ISSUER: Shape = Shape::Object(&[
    ("url", Shape::Leaf),
    ("discoveryURL", Shape::Leaf),
    ("certificateAuthority", Shape::Leaf),
    ("audiences", Shape::Leaf),
    ("audienceMatchPolicy", Shape::Leaf),
    ("egressSelectorType", Shape::Leaf),
]);
const CLAIM_RULE: Shape = Shape::Object(&[
    ("claim", Shape::Leaf),
    ("requiredValue", Shape::Leaf),
    ("expression", Shape::Leaf),
    ("message", Shape::Leaf),
]);
const MAPPINGS: Shape = Shape::Object(&[
    ("username", MAPPING),
    ("groups", MAPPING),
    ("uid", Shape::Object(&[("claim", Shape::Leaf), ("expression", Shape::Leaf)])),
    ("extra", Shape::List(&Shape::Object(&[("key", Shape::Leaf), ("valueExpression", Shape::Leaf)]))),
]);
const JWT: Shape = Shape::Object(&[
    ("issuer", ISSUER),
    ("claimValidationRules", Shape::List(&CLAIM_RULE)),
    ("claimMappings", MAPPINGS),
    ("userValidationRules", Shape::List(&Shape::Object(&[("expression", Shape::Leaf), ("message", Shape::Leaf)]))),
]);
const CONFIGURATION: Shape = Shape::Object(&[
    ("jwt", Shape::List(&JWT)),
    (
        "anonymous",
        Shape::Object(&[
            ("enabled", Shape::Leaf),
            ("conditions", Shape::List(&Shape::Object(&[("path", Shape::Leaf)]))),
        ]),
    ),
]);

impl Configuration {
    /// Reads a file's text.
    ///
    /// # Errors
    /// It is no such configuration, or has unknown fields.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        decode(text, (GROUP, "AuthenticationConfiguration"), &["v1", "v1beta1", "v1alpha1"], &CONFIGURATION)
    }

    /// What the `--oidc-*` flags come to.
    ///
    /// # Errors
    /// They do not fit together, or the CA cannot be read.
    pub fn of_flags(options: &Options) -> anyhow::Result<Self> {
        let flags = &options.oidc;
        let given = flags.any();
        if options.authentication_config.is_some() {
            anyhow::ensure!(!given, "authentication-config file and oidc-* flags are mutually exclusive");
            return Ok(Self::default());
        }
        let text = |flag: &Option<String>| flag.clone().unwrap_or_default();
        let (url, client) = (text(&flags.oidc_issuer_url), text(&flags.oidc_client_id));
        if url.is_empty() || client.is_empty() {
            let why = "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set";
            anyhow::ensure!(!given, why);
            return Ok(Self::default());
        }
        let claim = flags.oidc_username_claim.clone().unwrap_or_else(|| "sub".to_owned());
        let prefix = match text(&flags.oidc_username_prefix).as_str() {
            // Names of different issuers must not meet; an e-mail address is thought to be the same everywhere.
            "" if claim != "email" => format!("{url}#"),
            "-" => String::new(),
            prefix => prefix.to_owned(),
        };
        let mut jwt = Jwt { issuer: Issuer { url, audiences: vec![client], ..Issuer::default() }, ..Jwt::default() };
        jwt.claim_mappings.username = Mapping { claim, prefix: Some(prefix), ..Mapping::default() };
        if let Some(claim) = flags.oidc_groups_claim.clone().filter(|claim| !claim.is_empty()) {
            let prefix = Some(text(&flags.oidc_groups_prefix));
            jwt.claim_mappings.groups = Mapping { claim, prefix, ..Mapping::default() };
        }
        if let Some(path) = &flags.oidc_ca_file {
            jwt.issuer.certificate_authority =
                std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        }
        for (claim, required_value) in &flags.oidc_required_claim {
            jwt.claim_validation_rules.push(ClaimRule {
                claim: claim.clone(),
                required_value: required_value.clone(),
                ..ClaimRule::default()
            });
        }
        Ok(Self { jwt: vec![jwt], anonymous: None })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn options(more: &[&str]) -> Options {
        let needed =
            ["apiserver", "--store-dir=s", "--tls-cert-file=a", "--tls-private-key-file=b", "--client-ca-file=c"];
        let needed = needed.iter().chain(&["--service-account-signing-key-file=d"]);
        Options::parse_from(needed.chain(more))
    }

    #[test]
    fn flags() {
        let of = |more: &[&str]| Configuration::of_flags(&options(more)).map_err(|error| error.to_string());
        assert_eq!(of(&[]), Ok(Configuration::default()));
        assert!(of(&["--oidc-groups-claim=x"]).unwrap_err().contains("must be specified together"));
        assert!(of(&["--oidc-client-id=x", "--authentication-config=y"]).unwrap_err().contains("mutually exclusive"));
        let both = ["--oidc-issuer-url=https://i", "--oidc-client-id=c"];
        let username = |more: &[&str]| {
            let made = of(&[&both[..], more].concat()).unwrap();
            let username = &made.jwt[0].claim_mappings.username;
            (username.claim.clone(), username.prefix.clone().unwrap())
        };
        for (more, claim, prefix) in [
            (&[][..], "sub", "https://i#"),
            (&["--oidc-username-claim=email"], "email", ""),
            (&["--oidc-username-claim=email", "--oidc-username-prefix=e:"], "email", "e:"),
            (&["--oidc-username-prefix=-"], "sub", ""),
        ] {
            assert_eq!(username(more), (claim.to_owned(), prefix.to_owned()), "{more:?}");
        }
        let rich =
            of(&[&both[..], &["--oidc-groups-claim=g", "--oidc-required-claim=a=b", "--oidc-required-claim=c=d=e"]]
                .concat());
        let rich = &rich.unwrap().jwt[0];
        assert_eq!(
            (rich.claim_mappings.groups.claim.as_str(), rich.claim_mappings.groups.prefix.as_deref()),
            ("g", Some(""))
        );
        let rules: Vec<_> = rich
            .claim_validation_rules
            .iter()
            .map(|rule| (rule.claim.as_str(), rule.required_value.as_str()))
            .collect();
        assert_eq!(rules, [("a", "b"), ("c", "d=e")]);
    }
}
