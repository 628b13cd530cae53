//! Whether a configuration makes sense, and its expressions compiled
//! (`apiserver/pkg/apis/apiserver/validation/validation.go`).

use std::collections::HashSet;

use cel::{CompileError, Env, Program, Type, selects};
use schema::field::{Error, ErrorList, Path};
use schema::names;

use super::config::{Anonymous, Configuration, Issuer, Jwt, MATCH_ANY, Mapping, Mappings};

const MAX_ISSUERS: usize = 64;

/// An expression, ready to be evaluated.
#[derive(Debug)]
pub struct Expression {
    pub text: String,
    pub program: Program,
    /// What is said when a rule does not hold.
    pub message: String,
}

/// How a part of the user comes from claims.
#[derive(Debug)]
pub enum Source {
    Claim { name: String, prefix: String },
    Expression(Expression),
}

/// A validated [`Jwt`].
#[derive(Debug)]
pub struct Compiled {
    pub issuer: Issuer,
    pub username: Source,
    pub groups: Option<Source>,
    pub uid: Option<Source>,
    /// Key and expression.
    pub extra: Vec<(String, Expression)>,
    /// Claim and value.
    pub required: Vec<(String, String)>,
    pub rules: Vec<Expression>,
    pub user_rules: Vec<Expression>,
}

/// Validates and compiles; `disallowed` are the issuers of our own tokens.
///
/// # Errors
/// All that is wrong.
pub fn compile(configuration: &Configuration, disallowed: &[String]) -> Result<Vec<Compiled>, ErrorList> {
    let mut errors = ErrorList::new();
    let root = Path::new("jwt");
    if configuration.jwt.len() > MAX_ISSUERS {
        return Err(vec![Error::too_many(&root, configuration.jwt.len(), MAX_ISSUERS)]);
    }
    let (mut urls, mut discovery) = (HashSet::new(), HashSet::new());
    let mut compiled = Vec::new();
    for (index, jwt) in configuration.jwt.iter().enumerate() {
        let path = root.index(index);
        compiled.extend(Checker::new(&mut errors).jwt(jwt, &path, disallowed));
        if !urls.insert(&jwt.issuer.url) {
            errors.push(Error::duplicate(&path.child("issuer").child("url"), jwt.issuer.url.clone()));
        }
        let from = &jwt.issuer.discovery_url;
        if !from.is_empty() && !discovery.insert(from) {
            errors.push(Error::duplicate(&path.child("issuer").child("discoveryURL"), from.clone()));
        }
    }
    if let Some(Anonymous { enabled: false, conditions }) = &configuration.anonymous
        && !conditions.is_empty()
    {
        let path = Path::new("anonymous").child("conditions");
        let paths: Vec<_> = conditions.iter().map(|condition| serde_json::json!({ "Path": condition.path })).collect();
        errors.push(Error::invalid(&path, paths, "enabled should be set to true when conditions are defined"));
    }
    if errors.is_empty() { Ok(compiled) } else { Err(errors) }
}

struct Checker<'e> {
    errors: &'e mut ErrorList,
    claims: Env,
    user: Env,
    uses_email: bool,
    uses_verified: bool,
}

impl<'e> Checker<'e> {
    fn new(errors: &'e mut ErrorList) -> Self {
        let strings = || Type::list(Type::String);
        let user = [
            ("username", Type::String),
            ("uid", Type::String),
            ("groups", strings()),
            ("extra", Type::map(Type::String, strings())),
        ];
        let user = Type::object("kubernetes.UserInfo", user.map(|(name, ty)| (name.to_owned(), ty)));
        Self {
            errors,
            claims: Env::new().variable("claims", Type::map(Type::String, Type::Dyn)),
            user: Env::new().variable("user", user),
            uses_email: false,
            uses_verified: false,
        }
    }

    /// `None`: something is wrong.
    fn jwt(&mut self, jwt: &Jwt, path: &Path, disallowed: &[String]) -> Option<Compiled> {
        let before = self.errors.len();
        self.issuer(&jwt.issuer, &path.child("issuer"), disallowed);
        let (required, rules) = self.claim_rules(jwt, &path.child("claimValidationRules"));
        let (username, groups, uid, extra) = self.mappings(&jwt.claim_mappings, &path.child("claimMappings"));
        let user_rules = self.user_rules(jwt, &path.child("userValidationRules"));
        let compiled = Compiled {
            issuer: jwt.issuer.clone(),
            username: username?,
            groups,
            uid,
            extra,
            required,
            rules,
            user_rules,
        };
        (self.errors.len() == before).then_some(compiled)
    }

    fn invalid(&mut self, path: &Path, value: &str, why: impl Into<String>) {
        self.errors.push(Error::invalid(path, value, why));
    }

    fn issuer(&mut self, issuer: &Issuer, path: &Path, disallowed: &[String]) {
        let at = path.child("url");
        if issuer.url.is_empty() {
            self.errors.push(Error::required(&at, ""));
        } else {
            self.url(&issuer.url, disallowed, &at);
        }
        let at = path.child("discoveryURL");
        let from = &issuer.discovery_url;
        if !from.is_empty() {
            if !issuer.url.is_empty() && issuer.url.trim_end_matches('/') == from.trim_end_matches('/') {
                self.invalid(&at, from, "discoveryURL must be different from URL");
            }
            self.url(from, &[], &at);
        }
        self.audiences(issuer, path);
        if !issuer.certificate_authority.is_empty()
            && auth::trust::check_bundle(issuer.certificate_authority.as_bytes()).is_err()
        {
            let why = "data does not contain any valid RSA or ECDSA certificates";
            self.invalid(&path.child("certificateAuthority"), "<omitted>", why);
        }
        let at = path.child("egressSelectorType");
        match issuer.egress_selector_type.as_str() {
            // Whether there is such a way out is found when the issuer is made.
            "" | "controlplane" | "cluster" => {}
            other => self.invalid(&at, other, "egress selector must be either controlplane or cluster"),
        }
    }

    fn url(&mut self, url: &str, disallowed: &[String], path: &Path) {
        if disallowed.iter().any(|own| own == url) {
            let mut own = disallowed.to_vec();
            own.sort();
            self.invalid(path, url, format!("URL must not overlap with disallowed issuers: [{}]", own.join(" ")));
        }
        let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
        if rest.contains(|c: char| c.is_ascii_control() || c == ' ') {
            self.invalid(path, url, format!("parse {url:?}: net/url: invalid control character in URL"));
            return;
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let Some(rest) = rest.strip_prefix("https://") else {
            self.invalid(path, url, "URL scheme must be https");
            return;
        };
        if rest.split('/').next().is_some_and(|authority| authority.contains('@')) {
            self.invalid(path, url, "URL must not contain a username or password");
        }
        if !query.is_empty() {
            self.invalid(path, url, "URL must not contain a query");
        }
        if !fragment.is_empty() {
            self.invalid(path, url, "URL must not contain a fragment");
        }
    }

    fn audiences(&mut self, issuer: &Issuer, path: &Path) {
        let at = path.child("audiences");
        let policy_at = path.child("audienceMatchPolicy");
        let policy = issuer.audience_match_policy.as_str();
        if issuer.audiences.is_empty() {
            self.errors.push(Error::required(&at, format!("at least one {at} is required")));
            return;
        }
        let mut seen = HashSet::new();
        for (index, audience) in issuer.audiences.iter().enumerate() {
            if audience.is_empty() {
                self.errors.push(Error::required(&at.index(index), ""));
            }
            if !seen.insert(audience) {
                self.errors.push(Error::duplicate(&at.index(index), audience.clone()));
            }
        }
        if issuer.audiences.len() > 1 && policy != MATCH_ANY {
            self.invalid(&policy_at, policy, "audienceMatchPolicy must be MatchAny for multiple audiences");
        }
        if issuer.audiences.len() == 1 && !policy.is_empty() && policy != MATCH_ANY {
            self.invalid(&policy_at, policy, "audienceMatchPolicy must be empty or MatchAny for single audience");
        }
    }

    fn claim_rules(&mut self, jwt: &Jwt, path: &Path) -> (Vec<(String, String)>, Vec<Expression>) {
        let (mut required, mut rules) = (Vec::new(), Vec::new());
        let (mut claims, mut expressions) = (HashSet::new(), HashSet::new());
        for (index, rule) in jwt.claim_validation_rules.iter().enumerate() {
            let path = path.index(index);
            match (rule.claim.as_str(), rule.expression.as_str()) {
                ("", "") => self.errors.push(Error::required(&path, "claim or expression is required")),
                (claim, "") => {
                    if !rule.message.is_empty() {
                        self.invalid(&path.child("message"), &rule.message, "may not be specified when claim is set");
                    }
                    if !claims.insert(claim) {
                        self.errors.push(Error::duplicate(&path.child("claim"), claim));
                    }
                    required.push((claim.to_owned(), rule.required_value.clone()));
                }
                ("", expression) => {
                    if !rule.required_value.is_empty() {
                        let why = "may not be specified when expression is set";
                        self.invalid(&path.child("requiredValue"), &rule.required_value, why);
                    }
                    let at = path.child("expression");
                    if !expressions.insert(expression) {
                        self.errors.push(Error::duplicate(&at, expression));
                        continue;
                    }
                    let env = self.claims.clone();
                    self.uses_verified |= selects(expression, "claims", "email_verified");
                    rules.extend(self.expression(&env, expression, &rule.message, Some(Type::Bool), &at));
                }
                (claim, _) => self.invalid(&path, claim, "claim and expression can't both be set"),
            }
        }
        (required, rules)
    }

    #[allow(clippy::type_complexity, reason = "the four parts of a user, for its one caller")]
    fn mappings(
        &mut self,
        mappings: &Mappings,
        path: &Path,
    ) -> (Option<Source>, Option<Source>, Option<Source>, Vec<(String, Expression)>) {
        let at = path.child("username");
        let username = self.mapping(&mappings.username, &at, true);
        if matches!(username, Some(Source::Expression(_))) {
            let text = &mappings.username.expression;
            self.uses_email |= selects(text, "claims", "email");
            self.uses_verified |= selects(text, "claims", "email_verified");
        }
        let groups = self.mapping(&mappings.groups, &path.child("groups"), false);
        let uid = match (mappings.uid.claim.as_str(), mappings.uid.expression.as_str()) {
            ("", "") => None,
            (claim, "") => Some(Source::Claim { name: claim.to_owned(), prefix: String::new() }),
            ("", expression) => {
                let env = self.claims.clone();
                let at = path.child("uid").child("expression");
                self.expression(&env, expression, "", None, &at).map(Source::Expression)
            }
            _ => {
                self.invalid(&path.child("uid"), "", "claim and expression can't both be set");
                None
            }
        };
        let mut seen = HashSet::new();
        let mut extra = Vec::new();
        for (index, mapping) in mappings.extra.iter().enumerate() {
            let path = path.child("extra").index(index);
            self.extra_key(&mapping.key, &path.child("key"));
            if !seen.insert(&mapping.key) {
                self.errors.push(Error::duplicate(&path.child("key"), mapping.key.clone()));
                continue;
            }
            let at = path.child("valueExpression");
            if mapping.value_expression.is_empty() {
                self.errors.push(Error::required(&at, ""));
                continue;
            }
            let env = self.claims.clone();
            self.uses_verified |= selects(&mapping.value_expression, "claims", "email_verified");
            let expression = self.expression(&env, &mapping.value_expression, "", None, &at);
            extra.extend(expression.map(|expression| (mapping.key.clone(), expression)));
        }
        if self.uses_email && !self.uses_verified {
            let why = "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression";
            self.invalid(&at.child("expression"), &mappings.username.expression, why);
        }
        (username, groups, uid, extra)
    }

    fn mapping(&mut self, mapping: &Mapping, path: &Path, required: bool) -> Option<Source> {
        match (mapping.claim.as_str(), mapping.expression.as_str(), &mapping.prefix) {
            ("", "", _) => {
                if required {
                    self.errors.push(Error::required(path, "claim or expression is required"));
                }
                None
            }
            (name, "", Some(prefix)) => Some(Source::Claim { name: name.to_owned(), prefix: prefix.clone() }),
            (_, "", None) => {
                let why = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
                self.errors.push(Error::required(&path.child("prefix"), why));
                None
            }
            ("", expression, prefix) => {
                if let Some(prefix) = prefix {
                    self.invalid(&path.child("prefix"), prefix, "may not be specified when expression is set");
                }
                let env = self.claims.clone();
                self.expression(&env, expression, "", None, &path.child("expression")).map(Source::Expression)
            }
            _ => {
                self.invalid(path, "", "claim and expression can't both be set");
                None
            }
        }
    }

    /// A domain, a slash, and a path, as upstream's `IsDomainPrefixedPath`; none of Kubernetes' own domains.
    fn extra_key(&mut self, key: &str, path: &Path) {
        let pchar = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c);
        match key.split_once('/') {
            _ if key.is_empty() => self.errors.push(Error::required(path, "")),
            Some((domain, rest)) if !domain.is_empty() && !rest.is_empty() => {
                for why in names::dns1123_subdomain(domain) {
                    self.invalid(path, domain, why);
                }
                if !rest.chars().all(pchar) {
                    let why = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
                    self.invalid(path, rest, why);
                }
                let own = |name: &str| domain == name || domain.ends_with(&format!(".{name}"));
                if key.chars().any(char::is_uppercase) {
                    self.invalid(path, key, "must be lowercase");
                }
                if own("k8s.io") || own("kubernetes.io") {
                    let why = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use";
                    self.invalid(path, key, why);
                }
            }
            _ => self.invalid(path, key, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
        }
    }

    fn user_rules(&mut self, jwt: &Jwt, path: &Path) -> Vec<Expression> {
        let mut seen = HashSet::new();
        let mut rules = Vec::new();
        for (index, rule) in jwt.user_validation_rules.iter().enumerate() {
            let at = path.index(index).child("expression");
            if rule.expression.is_empty() {
                self.errors.push(Error::required(&at, ""));
            } else if !seen.insert(&rule.expression) {
                self.errors.push(Error::duplicate(&at, rule.expression.clone()));
            } else {
                let env = self.user.clone();
                rules.extend(self.expression(&env, &rule.expression, &rule.message, Some(Type::Bool), &at));
            }
        }
        rules
    }

    fn expression(
        &mut self,
        env: &Env,
        text: &str,
        message: &str,
        returns: Option<Type>,
        path: &Path,
    ) -> Option<Expression> {
        let program = match env.compile(text) {
            Ok(program) => program,
            Err(CompileError::Issues { shown, .. }) => {
                self.invalid(path, text, format!("compilation failed: {shown}"));
                return None;
            }
            Err(CompileError::Instantiation(why)) => {
                self.errors.push(Error::internal(path, format!("program instantiation failed: {why}")));
                return None;
            }
        };
        if let Some(returns) = returns.filter(|returns| returns != program.output()) {
            self.invalid(path, text, format!("must evaluate to {returns}"));
            return None;
        }
        Some(Expression { text: text.to_owned(), program, message: message.to_owned() })
    }
}
