//! The annotations `nginx.ingress.kubernetes.io/*` we understand, parsed into types.
//!
//! A value that does not parse is reported and its default is kept, except for a source range: there the location is
//! closed, for an open door is the worse mistake. Snippets and anything else that could hold nginx syntax are refused.

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;

use super::model::Options;

const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// What the annotations of one Ingress say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    pub options: Options,
    /// None: redirect where the host has a certificate (upstream's default). Some(false) never, Some(true) always.
    pub ssl_redirect: Option<bool>,
    pub force_ssl_redirect: bool,
    pub rewrite_target: Option<String>,
    pub use_regex: bool,
    /// The pods speak HTTPS.
    pub backend_tls: bool,
    /// A restriction could not be read: nobody gets in.
    pub closed: bool,
    pub errors: Vec<String>,
}

impl Parsed {
    /// Whether this Ingress's paths are regular expressions.
    pub fn regex(&self) -> bool {
        self.use_regex || self.rewrite_target.is_some()
    }
}

/// Reads all annotations of `ingress`.
pub fn parse(ingress: &Ingress) -> Parsed {
    let mut parsed = Parsed::default();
    let mut cookie_name = None;
    let mut affinity = false;
    for (key, value) in ingress.annotations() {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        let value = value.trim();
        let outcome = match name {
            "rewrite-target" => target(value).map(|it| parsed.rewrite_target = Some(it)),
            "use-regex" => boolean(value).map(|it| parsed.use_regex = it),
            "ssl-redirect" => boolean(value).map(|it| parsed.ssl_redirect = Some(it)),
            "force-ssl-redirect" => boolean(value).map(|it| parsed.force_ssl_redirect = it),
            "app-root" => path(value).map(|it| parsed.options.app_root = Some(it)),
            "proxy-body-size" => size(value).map(|it| parsed.options.body_size = it),
            "proxy-connect-timeout" => seconds(value).map(|it| parsed.options.connect_timeout = it),
            "proxy-read-timeout" => seconds(value).map(|it| parsed.options.read_timeout = it),
            "proxy-send-timeout" => seconds(value).map(|it| parsed.options.send_timeout = it),
            "whitelist-source-range" | "allowlist-source-range" => match networks(value) {
                Ok(networks) => {
                    parsed.options.allow = networks;
                    Ok(())
                }
                Err(error) => {
                    parsed.closed = true;
                    Err(error)
                }
            },
            "backend-protocol" => protocol(value).map(|it| parsed.backend_tls = it),
            "affinity" => match value {
                "cookie" => {
                    affinity = true;
                    Ok(())
                }
                _ => Err("only \"cookie\" is supported".to_owned()),
            },
            "session-cookie-name" => cookie(value).map(|it| cookie_name = Some(it)),
            _ => Err("this annotation is not supported and has no effect".to_owned()),
        };
        if let Err(error) = outcome {
            parsed.errors.push(format!("annotation {key}: {error}"));
        }
    }
    if affinity {
        parsed.options.affinity = Some(cookie_name.unwrap_or_else(|| "INGRESSCOOKIE".to_owned()));
    }
    parsed
}

fn boolean(value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("{value:?} is neither \"true\" nor \"false\""))
}

fn seconds(value: &str) -> Result<u32, String> {
    match value.parse() {
        Ok(seconds @ 1..=86_400) => Ok(seconds),
        _ => Err(format!("{value:?} is not a number of seconds between 1 and 86400")),
    }
}

fn size(value: &str) -> Result<String, String> {
    let digits = value.trim_end_matches(['k', 'K', 'm', 'M', 'g', 'G']);
    let well_formed = value.len() - digits.len() <= 1
        && (1..=9).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    if well_formed { Ok(value.to_owned()) } else { Err(format!("{value:?} is not a size such as 8m")) }
}

fn networks(value: &str) -> Result<Vec<IpNet>, String> {
    let parse = |text: &str| {
        let text = text.trim();
        text.parse::<IpNet>()
            .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
            .map(|network| network.trunc())
            .map_err(|_| format!("{text:?} is not a network such as 10.0.0.0/8; all access is denied"))
    };
    value.split(',').map(parse).collect()
}

fn protocol(value: &str) -> Result<bool, String> {
    match value {
        "HTTP" | "AUTO_HTTP" => Ok(false),
        "HTTPS" => Ok(true),
        _ => Err(format!("{value:?} is not one of HTTP, HTTPS")),
    }
}

fn cookie(value: &str) -> Result<String, String> {
    // nginx reads a cookie as the variable $cookie_NAME, so only variable characters can work.
    let valid = (1..=64).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if valid { Ok(value.to_owned()) } else { Err(format!("{value:?} is not a cookie name of letters, digits and _")) }
}

/// A path of plain URL characters: no variable, no quote, no space.
fn path(value: &str) -> Result<String, String> {
    let valid = value.starts_with('/') && value.len() <= 1024 && value.chars().all(|c| url_char(c) && c != '$');
    if valid { Ok(value.to_owned()) } else { Err(format!("{value:?} is not a path")) }
}

/// A path in which `$1` to `$9` stand for capture groups.
fn target(value: &str) -> Result<String, String> {
    let mut chars = value.chars().peekable();
    let mut valid = (value.starts_with('/') || value.starts_with('$')) && value.len() <= 1024;
    while let Some(c) = chars.next() {
        valid &= match c {
            '$' => chars.peek().is_some_and(|next| ('1'..='9').contains(next)),
            c => url_char(c),
        };
    }
    if valid { Ok(value.to_owned()) } else { Err(format!("{value:?} is not a path with groups such as /$2")) }
}

fn url_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~/%?&=:+,@!*#()".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Parsed {
        let mut ingress = Ingress::default();
        for (key, value) in pairs {
            ingress.annotations_mut().insert(format!("{PREFIX}{key}"), (*value).to_owned());
        }
        parse(&ingress)
    }

    #[test]
    fn good_values_become_options() {
        let parsed = with(&[
            ("rewrite-target", "/$2"),
            ("proxy-body-size", "8m"),
            ("proxy-read-timeout", "120"),
            ("whitelist-source-range", "10.0.0.0/8, 192.168.1.1"),
            ("affinity", "cookie"),
        ]);
        assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
        assert!(parsed.regex());
        assert_eq!(parsed.options.body_size, "8m");
        assert_eq!(parsed.options.read_timeout, 120);
        assert_eq!(parsed.options.allow.len(), 2);
        assert_eq!(parsed.options.affinity.as_deref(), Some("INGRESSCOOKIE"));
    }

    #[test]
    fn nothing_that_could_be_nginx_syntax_passes() {
        for (key, value) in [
            ("rewrite-target", "/; return 200"),
            ("rewrite-target", "/$request_uri"),
            ("rewrite-target", "http://evil/"),
            ("app-root", "/a\"; }"),
            ("app-root", "/$host"),
            ("proxy-body-size", "1m; root /"),
            ("proxy-body-size", "mm"),
            ("proxy-read-timeout", "-1"),
            ("session-cookie-name", "a}b"),
            ("configuration-snippet", "return 200;"),
            ("backend-protocol", "FCGI"),
        ] {
            let parsed = with(&[(key, value)]);
            assert_eq!(parsed.errors.len(), 1, "{key}={value}");
            assert_eq!(Parsed { errors: Vec::new(), ..parsed }, Parsed::default(), "{key}={value}");
        }
    }

    #[test]
    fn an_unreadable_source_range_closes_the_door() {
        let parsed = with(&[("whitelist-source-range", "10.0.0.0/40")]);
        assert!(parsed.closed && parsed.options.allow.is_empty());
    }
}
