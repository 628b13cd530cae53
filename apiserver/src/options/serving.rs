//! The flags about TLS, and about clients that are far away: browsers and those behind load balancers.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use auth::x509::Version;
use regex::Regex;

/// A certificate for clients that ask for one of some names: `CERTIFICATE,KEY` and, after a colon, the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPair {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Names of hosts, or `*.` and what is below; none: those of the certificate.
    pub names: Vec<String>,
}

impl FromStr for NamedPair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (pair, names) = text.split_once(':').unwrap_or((text, ""));
        let parts: Vec<&str> = pair.split(',').map(str::trim).collect();
        let [certificate, key] = parts[..] else {
            return Err("expected comma separated certificate and key file paths".into());
        };
        if names.contains(':') {
            return Err("only one :-separator is allowed".into());
        }
        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Ok(Self { certificate: certificate.into(), key: key.into(), names })
    }
}

/// The share of requests after which an HTTP/2 client is asked to connect anew.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Chance(f64);

/// Upstream's bound.
const HIGHEST: f64 = 0.02;

impl Chance {
    /// Whether this is such a request; `drawn` is between 0 and 1.
    #[must_use]
    pub fn hits(self, drawn: f64) -> bool {
        drawn < self.0
    }

    #[must_use]
    pub fn is_none(self) -> bool {
        self.0 <= 0.0
    }
}

impl FromStr for Chance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let chance: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
        if (0.0..=HIGHEST).contains(&chance) {
            Ok(Self(chance))
        } else {
            Err("--goaway-chance can not be less than 0 or greater than 0.02".to_owned())
        }
    }
}

/// How the server serves.
#[derive(Clone, Debug, clap::Args)]
pub struct Serving {
    /// The server's certificate; without it one that is made and kept in `--cert-dir`.
    #[arg(long, requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// The key of `--tls-cert-file`.
    #[arg(long, requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// Where apiserver.crt and apiserver.key are where no certificate is given.
    #[arg(long, default_value = "/var/run/kubernetes")]
    pub cert_dir: PathBuf,
    /// The oldest version of TLS that is spoken; none is older than VersionTLS12 here.
    #[arg(long, value_parser = version)]
    pub tls_min_version: Option<Version>,
    /// What TLS 1.2 may encrypt with; of those that are not safe any more none is there.
    #[arg(long, value_delimiter = ',')]
    pub tls_cipher_suites: Vec<String>,
    /// Another certificate for some names, CERTIFICATE,KEY:NAMES; repeatable.
    #[arg(long)]
    pub tls_sni_cert_key: Vec<NamedPair>,
    /// Speak HTTP/1.1 alone.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub disable_http2_serving: bool,
    /// Patterns of origins whose pages may use this server, comma-separated.
    #[arg(long, value_delimiter = ',')]
    pub cors_allowed_origins: Vec<Regex>,
    /// What the header Strict-Transport-Security says, comma-separated.
    #[arg(long, value_delimiter = ',')]
    pub strict_transport_security_directives: Vec<String>,
    /// The share of requests after which an HTTP/2 client is asked to connect anew, at most 0.02.
    #[arg(long, default_value = "0")]
    pub goaway_chance: Chance,
    /// For so long everything is served as before when the server is to stop; only /readyz says it at once.
    #[arg(long, default_value = "0s", value_parser = runtime::flags::duration)]
    pub shutdown_delay_duration: Duration,
}

fn version(text: &str) -> Result<Version, String> {
    match text {
        // Nobody speaks these here, so that the oldest is newer.
        "VersionTLS10" | "VersionTLS11" | "VersionTLS12" => Ok(Version::Tls12),
        "VersionTLS13" => Ok(Version::Tls13),
        _ => Err(format!("unknown tls version {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs() {
        let pair = |names: &[&str]| NamedPair {
            certificate: "c".into(),
            key: "k".into(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
        };
        for (text, expected) in [
            ("c,k", Ok(pair(&[]))),
            ("c,k:a.io, *.b.io", Ok(pair(&["a.io", "*.b.io"]))),
            ("c", Err("expected comma separated certificate and key file paths")),
            ("c,k,x:a", Err("expected comma separated certificate and key file paths")),
            ("c,k:a:b", Err("only one :-separator is allowed")),
        ] {
            assert_eq!(
                text.parse::<NamedPair>().map_err(|why| why.to_string()),
                expected.map_err(str::to_owned),
                "{text}"
            );
        }
    }

    #[test]
    fn chances() {
        let chance = |text: &str| text.parse::<Chance>();
        assert!(chance("0").unwrap().is_none() && !chance("0").unwrap().hits(0.0));
        let some = chance("0.02").unwrap();
        assert!(some.hits(0.01) && !some.hits(0.02) && !some.is_none());
        for text in ["0.03", "-1", "NaN"] {
            let why = chance(text).unwrap_err();
            assert_eq!(why, "--goaway-chance can not be less than 0 or greater than 0.02");
        }
        assert!(chance("x").is_err());
    }
}
