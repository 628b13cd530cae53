//! `agnhost test-service-account-issuer-discovery`: a mounted token, judged by what its issuer publishes, as somebody would
//! who knows nothing of Kubernetes (OpenID Connect discovery).

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use auth::jose::{KeySet, Signed, unverified_issuer};
use http::Uri;
use kube::{Client, Config};
use serde_json::Value;

/// What upstream's test allows.
const ALGORITHMS: [&str; 2] = ["RS256", "ES256"];

/// Judges the token in a file.
///
/// # Errors
/// It cannot be read, its issuer not be asked, or it is not good.
pub async fn run(path: &Path, audience: &str) -> anyhow::Result<()> {
    let token = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    println!("OK: Got token");
    let issuer = unverified_issuer(&token).context("the token names no issuer")?;
    println!("OK: got issuer {issuer}");
    let document = get(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))).await?;
    let document: Value = serde_json::from_str(&document).context("read the discovery document")?;
    ensure!(document["issuer"] == *issuer, "the discovery document is of issuer {}", document["issuer"]);
    println!("OK: Constructed OIDC provider for issuer {issuer}");
    let keys = get(document["jwks_uri"].as_str().context("the discovery document names no keys")?).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    judge(&token, &keys, &issuer, audience, now)?;
    println!("OK: Validated signature on JWT");
    println!("OK: Got valid claims from token!");
    Ok(())
}

/// Asks with the pod's own token, trusting its cluster's authority alone.
async fn get(url: &str) -> anyhow::Result<String> {
    let uri: Uri = url.parse().with_context(|| format!("use {url}"))?;
    let (scheme, authority) = (uri.scheme_str().unwrap_or_default(), uri.authority().context("there is no host")?);
    let mut config = Config::incluster_env().context("this is no pod with a ServiceAccount")?;
    config.cluster_url = format!("{scheme}://{authority}").parse()?;
    let client = Client::try_from(config)?;
    let request = http::Request::get(uri.path()).body(Vec::new())?;
    client.request_text(request).await.with_context(|| format!("get {url}"))
}

fn judge(token: &str, keys: &str, issuer: &str, audience: &str, now: u64) -> anyhow::Result<()> {
    let keys = KeySet::parse(keys.as_bytes()).map_err(anyhow::Error::msg).context("read the keys")?;
    let signed = Signed::parse(token).map_err(anyhow::Error::msg).context("read the token")?;
    ensure!(ALGORITHMS.contains(&signed.algorithm.as_str()), "the token is signed with {}", signed.algorithm);
    ensure!(keys.verifies(&signed), "the token's signature is of none of the issuer's keys");
    let claims: Value = serde_json::from_slice(&signed.payload).context("read the token's claims")?;
    ensure!(claims["iss"] == *issuer, "the token is of issuer {}", claims["iss"]);
    let audiences = claims["aud"].as_array().map_or(std::slice::from_ref(&claims["aud"]), Vec::as_slice);
    ensure!(audiences.iter().any(|one| one == audience), "the token is for {}, not for {audience:?}", claims["aud"]);
    ensure!(claims["exp"].as_u64().is_some_and(|end| now <= end), "the token has expired at {}", claims["exp"]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use auth::serviceaccount::{PublicKey, Signer, SigningKey, TokenRequest, jwks};
    use jiff::{SignedDuration, Timestamp};

    use super::*;

    #[test]
    fn a_token_must_be_good_in_every_respect() {
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let signer = Signer::new(SigningKey::from_pem(key.as_bytes()).unwrap(), "https://i");
        let keys = jwks(&PublicKey::all_from_pem(key.as_bytes()).unwrap()).unwrap().to_string();
        let request = TokenRequest {
            audiences: vec!["a".into()],
            expires_in: SignedDuration::from_secs(60),
            ..TokenRequest::default()
        };
        let (token, _) = signer.issue(request, Timestamp::from_second(1000).unwrap()).unwrap();
        assert!(judge(&token, &keys, "https://i", "a", 1060).is_ok());
        for (keys, issuer, audience, now) in [
            ("{\"keys\":[]}", "https://i", "a", 1060),
            (&*keys, "https://j", "a", 1060),
            (&keys, "https://i", "b", 1060),
            (&keys, "https://i", "a", 1061),
        ] {
            assert!(judge(&token, keys, issuer, audience, now).is_err(), "{keys} {issuer} {audience} {now}");
        }
    }
}
