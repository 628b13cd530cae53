//! csrsigning: approved requests of the kubernetes.io signers are signed by the cluster's authority
//! (`pkg/controller/certificates/signer`).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use auth::csr::{
    Authority, KUBE_APISERVER_CLIENT, KUBE_APISERVER_CLIENT_KUBELET, KUBELET_SERVING, LEGACY_UNKNOWN, Request, Terms,
    kubelet,
};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{has, is_issued, parse, usages, with_condition};
use crate::context::Context;
use crate::framework::{Controller, Outcome, Queue, drive};

const SIGNERS: [&str; 4] = [KUBE_APISERVER_CLIENT, KUBE_APISERVER_CLIENT_KUBELET, KUBELET_SERVING, LEGACY_UNKNOWN];
/// Clocks differ: certificates hold a little before they are made.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);
/// The shortest life that can be asked for.
const SHORTEST: i64 = 600;

/// The authority that signs, and for how long at most.
pub struct Signer {
    pub authority: Authority,
    pub duration: Duration,
}

impl Signer {
    /// From `--cluster-signing-cert-file` and `--cluster-signing-key-file`.
    ///
    /// # Errors
    /// A file cannot be read or holds no certificate or key.
    pub fn load(certificate: &Path, key: &Path, duration: Duration) -> anyhow::Result<Self> {
        let read = |path: &Path| std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()));
        let authority = Authority::from_pem(&read(certificate)?, &read(key)?).context("use the signing authority")?;
        Ok(Self { authority, duration })
    }
}

struct Signing {
    context: Arc<Context>,
    signer: Signer,
}

pub fn start(context: &Arc<Context>, queue: &Arc<Queue>, signer: Signer) {
    drive(&context.gate(), &Arc::new(Signing { context: context.clone(), signer }), queue, 1);
}

impl Controller for Signing {
    const NAME: &'static str = "certificatesigningrequest-signing-controller";

    async fn sync(&self, key: &str) -> Outcome {
        let kind = &self.context.kinds.signing_requests;
        let Some(request) = kind.get(key) else { return Ok(None) };
        let settled = is_issued(&request) || has(&request, "Denied") || has(&request, "Failed");
        if settled || !has(&request, "Approved") || !SIGNERS.contains(&request.spec.signer_name.as_str()) {
            return Ok(None);
        }
        let failed = |why: &str| with_condition(&request, "Failed", "SignerValidationFailure", why);
        let changed = match self.sign(&request) {
            Ok(pem) => {
                let mut changed = (*request).clone();
                changed.status.get_or_insert_default().certificate = Some(ByteString(pem.into_bytes()));
                changed
            }
            Err(why) => failed(&why),
        };
        kind.update_status(&request, &changed).await?;
        Ok(None)
    }
}

impl Signing {
    fn sign(&self, request: &CertificateSigningRequest) -> Result<String, String> {
        let parsed = parse(request).ok_or("unable to parse csr")?;
        let usages = usages(request);
        check(&request.spec.signer_name, &parsed, &usages)?;
        let now = self.context.now();
        let (not_before, not_after) = validity(now, self.signer.duration, request.spec.expiration_seconds);
        let serial = *uuid::Uuid::new_v4().as_bytes();
        let terms = Terms { usages: &usages, not_before, not_after, serial: &serial };
        self.signer.authority.sign(&parsed, &terms).map_err(|error| error.to_string())
    }
}

/// From when to when a certificate holds: what was asked for, no shorter than ten minutes, no longer than the signer allows.
fn validity(now: Timestamp, longest: Duration, asked: Option<i32>) -> (Timestamp, Timestamp) {
    let longest = i64::try_from(longest.as_secs()).unwrap_or(i64::MAX);
    let seconds = asked.map_or(longest, |asked| i64::from(asked).clamp(SHORTEST, longest.max(SHORTEST)));
    let shift = |by: SignedDuration| now.checked_add(by).unwrap_or(now);
    (shift(-BACKDATE), shift(SignedDuration::from_secs(seconds)))
}

/// What each signer accepts.
fn check(signer: &str, request: &Request, usages: &[&str]) -> Result<(), String> {
    match signer {
        KUBE_APISERVER_CLIENT_KUBELET | KUBELET_SERVING => kubelet(signer, request, usages),
        KUBE_APISERVER_CLIENT => {
            let known = |usage: &&str| matches!(*usage, "digital signature" | "key encipherment" | "client auth");
            if usages.iter().all(known) && usages.contains(&"client auth") {
                Ok(())
            } else {
                Err("usages did not match [\"client auth\"]".to_owned())
            }
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes() {
        let now = Timestamp::UNIX_EPOCH;
        let year = Duration::from_secs(365 * 86400);
        let rows = [(None, 365 * 86400), (Some(3600), 3600), (Some(1), 600), (Some(i32::MAX), 365 * 86400)];
        for (asked, seconds) in rows {
            let (from, to) = validity(now, year, asked);
            assert_eq!((from.as_second(), to.as_second()), (-300, seconds), "{asked:?}");
        }
    }

    #[test]
    fn clients_are_clients_only() {
        let request = Request::default();
        assert!(check(KUBE_APISERVER_CLIENT, &request, &["client auth", "digital signature"]).is_ok());
        assert!(check(KUBE_APISERVER_CLIENT, &request, &["client auth", "server auth"]).is_err());
        assert!(check(KUBE_APISERVER_CLIENT, &request, &["digital signature"]).is_err());
        assert!(check(LEGACY_UNKNOWN, &request, &[]).is_ok());
        assert!(check(KUBELET_SERVING, &request, &[]).is_err());
    }
}
