//! What a token says, and whether what it is bound to is still there.

use super::{TokenError, groups, username};
use crate::user::UserInfo;
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long a bound object may be under deletion before its tokens end, so that a pod can finish its work (upstream: 60 s).
const DELETION_LEEWAY: SignedDuration = SignedDuration::from_secs(60);

/// The payload of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    #[serde(deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    /// Seconds since 1970, as all times here.
    pub exp: i64,
    pub iat: i64,
    pub iss: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub jti: String,
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Private,
    #[serde(default)]
    pub nbf: i64,
    pub sub: String,
}

/// The claims of our own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Private {
    pub namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<BoundRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<BoundRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<BoundRef>,
    pub serviceaccount: BoundRef,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// An object a token is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundRef {
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// What a token is to say.
#[derive(Clone, Debug, Default)]
pub struct TokenRequest {
    pub namespace: String,
    pub serviceaccount: BoundRef,
    pub pod: Option<BoundRef>,
    pub secret: Option<BoundRef>,
    /// Of the pod, or the bound object itself.
    pub node: Option<BoundRef>,
    pub audiences: Vec<String>,
    /// How long it is valid.
    pub expires_in: SignedDuration,
    /// After this time a user of the token is to be warned, when it is valid for longer than was asked for.
    pub warn_after: Option<SignedDuration>,
}

impl Claims {
    pub(super) fn new(request: TokenRequest, issuer: &str, id: String, now: Timestamp) -> Self {
        let seconds = |duration: SignedDuration| now.as_second().saturating_add(duration.as_secs());
        Self {
            aud: request.audiences,
            exp: seconds(request.expires_in),
            iat: now.as_second(),
            iss: issuer.to_owned(),
            jti: id,
            nbf: now.as_second(),
            sub: username(&request.namespace, &request.serviceaccount.name),
            kubernetes: Private {
                namespace: request.namespace,
                node: request.node,
                pod: request.pod,
                secret: request.secret,
                serviceaccount: request.serviceaccount,
                warnafter: request.warn_after.map(seconds),
            },
        }
    }
}

pub(super) fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(deserializer)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}

/// An object as the lookup found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundState {
    pub uid: String,
    pub deletion_timestamp: Option<Timestamp>,
}

/// The caller's lookup of what tokens are bound to.
#[async_trait]
pub trait BoundObjects: Send + Sync {
    /// The object of core/v1 `resource` (`serviceaccounts`, `pods`, `secrets`, `nodes`); `namespace` is empty for nodes.
    async fn find(&self, resource: &str, namespace: &str, name: &str) -> anyhow::Result<Option<BoundState>>;
}

/// A token whose signature, issuer, audience and time are right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub claims: Claims,
    /// Those of the token that the verifier was asked for; what a TokenReview answers.
    pub audiences: Vec<String>,
}

impl Verified {
    /// The token's user, if all it is bound to is still there.
    ///
    /// # Errors
    /// [`TokenError`]; the request is to be answered with 401.
    pub async fn bound(&self, objects: &dyn BoundObjects, now: Timestamp) -> Result<UserInfo, TokenError> {
        let private = &self.claims.kubernetes;
        let namespace = &*private.namespace;
        let deleted = |found: &BoundState| found.deletion_timestamp.is_some_and(|at| at + DELETION_LEEWAY < now);
        let account = &private.serviceaccount;
        let found = objects.find("serviceaccounts", namespace, &account.name).await.map_err(TokenError::Lookup)?;
        let gone = || TokenError::Account(format!("serviceaccounts {:?} not found", account.name));
        let found = found.ok_or_else(gone)?;
        if found.uid != account.uid {
            let (found, claimed) = (&found.uid, &account.uid);
            return Err(TokenError::Account(format!("service account UID ({found}) does not match claim ({claimed})")));
        }
        if deleted(&found) {
            return Err(TokenError::Account(format!("service account {namespace}/{} has been deleted", account.name)));
        }
        let bound = [
            ("secrets", "secret", namespace, private.secret.as_ref()),
            ("pods", "pod", namespace, private.pod.as_ref()),
            // A token of a pod names the pod's node for information; only a token without pod is bound to it.
            ("nodes", "node", "", private.node.as_ref().filter(|_| private.pod.is_none())),
        ];
        for (resource, kind, namespace, reference) in bound {
            let Some(reference) = reference else { continue };
            let found = objects.find(resource, namespace, &reference.name).await.map_err(TokenError::Lookup)?;
            let found = found.ok_or(TokenError::Invalidated)?;
            if found.uid != reference.uid {
                let claimed = reference.uid.clone();
                return Err(TokenError::Replaced { kind, found: found.uid, claimed });
            }
            if deleted(&found) {
                return Err(TokenError::Invalidated);
            }
        }
        Ok(self.user())
    }

    /// The token's user, without looking whether it is still there.
    pub fn user(&self) -> UserInfo {
        let private = &self.claims.kubernetes;
        let mut user = UserInfo::new(self.claims.sub.clone(), groups(&private.namespace)).authenticated();
        user.uid = private.serviceaccount.uid.clone();
        let mut extra = |name: &str, value: &str| {
            if !value.is_empty() {
                user.extra.insert(format!("authentication.kubernetes.io/{name}"), vec![value.to_owned()]);
            }
        };
        if let Some(pod) = &private.pod {
            extra("pod-name", &pod.name);
            extra("pod-uid", &pod.uid);
        }
        if let Some(node) = &private.node {
            extra("node-name", &node.name);
            extra("node-uid", &node.uid);
        }
        if !self.claims.jti.is_empty() {
            extra("credential-id", &format!("JTI={}", self.claims.jti));
        }
        user
    }

    /// The token is only still valid because its life was extended; the client should fetch a new one.
    /// How many seconds ago that was; `None`: it was not yet.
    pub fn stale(&self, now: Timestamp) -> Option<i64> {
        let after = self.claims.kubernetes.warnafter?;
        (after != 0 && after < now.as_second()).then(|| now.as_second() - after)
    }
}
