//! Whom the cluster believes, as its API servers publish it: ConfigMap extension-apiserver-authentication.

use auth::request_header::RequestHeaders;
use auth::user::UserInfo;
use auth::x509::ClientAuthority;
use http::HeaderMap;
use kube::Client;
use rustls::pki_types::{CertificateDer, UnixTime};
use serde_json::Value;

const CONFIG_MAP: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";

/// Who is believed to speak for users.
#[derive(Clone, Debug)]
pub struct Front {
    pub authority: ClientAuthority,
    headers: RequestHeaders,
}

impl Front {
    /// Whether who shows `chain` is such a proxy.
    #[must_use]
    pub fn believes(&self, chain: &[CertificateDer<'_>]) -> bool {
        let proxy = self.authority.authenticate(chain, UnixTime::now());
        proxy.is_ok_and(|proxy| self.headers.believes(&proxy.username))
    }

    /// The user a believed proxy names.
    #[must_use]
    pub fn user(&self, headers: &HeaderMap) -> Option<UserInfo> {
        self.headers.user(headers)
    }
}

/// What is published; either may be missing.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    pub clients: Option<ClientAuthority>,
    pub front: Option<Front>,
}

impl Trust {
    /// # Errors
    /// The ConfigMap may not be read, or says something that cannot be used.
    pub async fn read(client: &Client) -> anyhow::Result<Self> {
        let request = http::Request::get(CONFIG_MAP).body(Vec::new())?;
        Self::of(&client.request::<Value>(request).await?)
    }

    fn of(map: &Value) -> anyhow::Result<Self> {
        let text = |name: &str| map["data"][name].as_str().unwrap_or_default();
        let list = |name: &str| serde_json::from_str::<Vec<String>>(text(name)).unwrap_or_default();
        let authority = |name: &str| match text(name) {
            "" => Ok(None),
            pem => ClientAuthority::from_pem(pem.as_bytes()).map(Some),
        };
        let front = authority("requestheader-client-ca-file")?.map(|authority| Front {
            authority,
            headers: RequestHeaders {
                allowed_names: list("requestheader-allowed-names"),
                username: list("requestheader-username-headers"),
                uid: list("requestheader-uid-headers"),
                group: list("requestheader-group-headers"),
                extra_prefix: list("requestheader-extra-headers-prefix"),
            },
        });
        Ok(Self { clients: authority("client-ca-file")?, front })
    }
}
