//! What is in configMap, secret, downwardAPI and projected volumes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, PodSpec, Volume};
use kube::ResourceExt;
use tokio::time::Instant;

use super::Context;
use super::atomic::{File, Files};
use super::owner::Owner;
use crate::container::fields;
use crate::sources::{self, Data, Kind, Sources};

/// A token in a volume, and when it has to be renewed.
#[derive(Clone, Debug)]
pub struct Token {
    text: String,
    pub renew: Instant,
}

/// Tokens by volume and path.
pub type Tokens = HashMap<(String, String), Token>;

/// Files, and the tokens among them.
#[derive(Debug, Default)]
pub struct Payload {
    pub files: Files,
    pub tokens: Tokens,
}

/// Upstream's default mode of such files.
const MODE: i32 = 0o644;

/// Collects a volume's files with its plugin's name; `None` when it is of another type.
pub async fn collect(
    context: &Context<'_>,
    volume: &Volume,
    sources: &mut Sources<'_>,
) -> Result<Option<(&'static str, Payload)>, String> {
    let mut payload = Payload::default();
    if let Some(map) = &volume.config_map {
        let mode = map.default_mode.unwrap_or(MODE);
        keys(&mut payload, sources, Kind::ConfigMap, &map.name, map.items.as_deref(), map.optional, mode).await?;
        return Ok(Some(("configmap", payload)));
    }
    if let Some(secret) = &volume.secret {
        let name = secret.secret_name.as_deref().unwrap_or_default();
        let mode = secret.default_mode.unwrap_or(MODE);
        keys(&mut payload, sources, Kind::Secret, name, secret.items.as_deref(), secret.optional, mode).await?;
        return Ok(Some(("secret", payload)));
    }
    if let Some(downward) = &volume.downward_api {
        own_fields(&mut payload, context, downward.items.iter().flatten(), downward.default_mode.unwrap_or(MODE))?;
        return Ok(Some(("downward-api", payload)));
    }
    let Some(projected) = &volume.projected else { return Ok(None) };
    let mode = projected.default_mode.unwrap_or(MODE);
    for source in projected.sources.iter().flatten() {
        if let Some(map) = &source.config_map {
            keys(&mut payload, sources, Kind::ConfigMap, &map.name, map.items.as_deref(), map.optional, mode).await?;
        }
        if let Some(secret) = &source.secret {
            keys(&mut payload, sources, Kind::Secret, &secret.name, secret.items.as_deref(), secret.optional, mode)
                .await?;
        }
        if let Some(downward) = &source.downward_api {
            own_fields(&mut payload, context, downward.items.iter().flatten(), mode)?;
        }
        if let Some(token) = &source.service_account_token {
            let seconds = token.expiration_seconds.unwrap_or(3600);
            let key = (volume.name.clone(), token.path.clone());
            let token = match context.tokens.get(&key).filter(|known| known.renew > Instant::now()) {
                Some(known) => known.clone(),
                None => {
                    let audience = token.audience.as_deref();
                    let (text, granted) = sources::token(context.client, context.pod, audience, seconds).await?;
                    // Upstream renews at 80 % of the life, and at the latest after a day.
                    let life = Duration::from_secs(u64::try_from(granted * 8 / 10).unwrap_or(60).clamp(60, 86_400));
                    Token { text, renew: Instant::now() + life }
                }
            };
            // With a user or a group to give it to, a token is for nobody else; the group's right comes with the group.
            let spec = context.pod.spec.as_ref();
            let user = spec.and_then(only_user);
            let mode = if user.is_some() || Owner::of(spec).group.is_some() { 0o600 } else { mode };
            insert(&mut payload.files, &key.1, token.text.clone().into_bytes(), mode)?;
            if let Some(file) = payload.files.get_mut(&key.1) {
                file.user = user;
            }
            payload.tokens.insert(key, token);
        }
    }
    Ok(Some(("projected", payload)))
}

/// The user that all containers run as, if the pod says so (`FsUserFrom`).
fn only_user(spec: &PodSpec) -> Option<u32> {
    let of_pod = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let of_all = spec.init_containers.iter().flatten().chain(&spec.containers);
    let mut users =
        of_all.map(|container| container.security_context.as_ref().and_then(|context| context.run_as_user).or(of_pod));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok())?
}

async fn keys(
    payload: &mut Payload,
    sources: &mut Sources<'_>,
    kind: Kind,
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    mode: i32,
) -> Result<(), String> {
    let data = match sources.get(kind, name).await {
        Ok(data) => data,
        Err(sources::Error::NotFound { .. }) if optional == Some(true) => Arc::new(Data::new()),
        Err(error) => return Err(error.into()),
    };
    let Some(items) = items else {
        for (key, content) in data.iter() {
            insert(&mut payload.files, key, content.clone(), mode)?;
        }
        return Ok(());
    };
    for item in items {
        match data.get(&item.key) {
            Some(content) => insert(&mut payload.files, &item.path, content.clone(), item.mode.unwrap_or(mode))?,
            None if optional == Some(true) => {}
            None => {
                return Err(format!(
                    "{} references non-existent {} key: {}",
                    kind_word(kind),
                    kind_word(kind),
                    item.key
                ));
            }
        }
    }
    Ok(())
}

fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::ConfigMap => "config",
        Kind::Secret => "secret",
    }
}

fn own_fields<'a>(
    payload: &mut Payload,
    context: &Context<'_>,
    items: impl Iterator<Item = &'a DownwardAPIVolumeFile>,
    mode: i32,
) -> Result<(), String> {
    for item in items {
        let spec = context.pod.spec.as_ref();
        let text = if let Some(selector) = &item.field_ref {
            fields::field(context.pod, context.known, &selector.field_path)
                .ok_or_else(|| format!("unsupported fieldPath: {}", selector.field_path))?
        } else if let Some(selector) = &item.resource_field_ref {
            let name = selector.container_name.as_deref().unwrap_or_default();
            let container = spec.and_then(|spec| {
                spec.containers.iter().chain(spec.init_containers.iter().flatten()).find(|c| c.name == name)
            });
            container.and_then(|container| fields::resource(container, context.known, selector)).ok_or_else(|| {
                format!("container {name} of pod {} has no {}", context.pod.name_any(), selector.resource)
            })?
        } else {
            continue;
        };
        insert(&mut payload.files, &item.path, text.into_bytes(), item.mode.unwrap_or(mode))?;
    }
    Ok(())
}

fn insert(files: &mut Files, path: &str, content: Vec<u8>, mode: i32) -> Result<(), String> {
    if path.is_empty() || path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(format!("invalid path \"{path}\": it must stay inside the volume"));
    }
    files.insert(path.to_owned(), File { content, mode: u32::try_from(mode).unwrap_or(0o644) & 0o777, user: None });
    Ok(())
}
