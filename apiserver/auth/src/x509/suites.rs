//! What TLS 1.2 encrypts with, by the names Go has for it.

use rustls::crypto::CryptoProvider;

/// Those Go knows that nobody should use any more, or that are there in TLS 1.3 anyway: they may be listed, and change nothing.
const KNOWN: &[&str] = &[
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
];
/// Those of TLS 1.3 begin so in rustls.
const NEWER: &str = "TLS13_";
/// Go's older names for two suites end so, and rustls' names with this, too.
const CHACHA: (&str, &str) = ("_CHACHA20_POLY1305", "_SHA256");

/// Leaves of TLS 1.2's suites those that are listed; all where none is.
pub fn choose(mut provider: CryptoProvider, listed: &[String]) -> anyhow::Result<CryptoProvider> {
    if listed.is_empty() {
        return Ok(provider);
    }
    let name = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite());
    let listed: Vec<String> = listed
        .iter()
        .map(|name| if name.ends_with(CHACHA.0) { format!("{name}{}", CHACHA.1) } else { name.clone() })
        .collect();
    let has = |wanted: &String| provider.cipher_suites.iter().any(|suite| name(suite) == *wanted);
    if let Some(unknown) = listed.iter().find(|wanted| !has(wanted) && !KNOWN.contains(&wanted.as_str())) {
        anyhow::bail!("Cipher suite {unknown} not supported or doesn't exist");
    }
    provider.cipher_suites.retain(|suite| name(suite).starts_with(NEWER) || listed.contains(&name(suite)));
    Ok(provider)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_chosen_by_name() {
        let choose = |listed: &[&str]| {
            let listed: Vec<String> = listed.iter().map(|&name| name.to_owned()).collect();
            let provider = choose(rustls::crypto::ring::default_provider(), &listed);
            provider.map(|provider| {
                let names = provider.cipher_suites.iter().map(|suite| format!("{:?}", suite.suite()));
                names.filter(|name| !name.starts_with(NEWER)).collect::<Vec<_>>()
            })
        };
        assert_eq!(choose(&[]).unwrap().len(), 6);
        let one = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
        assert_eq!(choose(&[one, "TLS_RSA_WITH_AES_128_CBC_SHA"]).unwrap(), [one]);
        let chacha = choose(&["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"]).unwrap();
        assert_eq!(chacha, ["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"]);
        assert!(choose(&["TLS_AES_128_GCM_SHA256"]).unwrap().is_empty(), "TLS 1.3 is left");
        let unknown = choose(&["x"]).unwrap_err().to_string();
        assert_eq!(unknown, "Cipher suite x not supported or doesn't exist");
    }
}
