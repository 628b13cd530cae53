//! Who a container runs as: its security context, else the pod's, else the image's `USER`.

use std::path::Path;

use k8s_openapi::api::core::v1::{Container, PodSecurityContext};

use crate::images::Image;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// Who it should have been, when the machine cannot give it that user.
    pub instead_of: Option<u32>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("unable to find user {0}: no matching entries in passwd file")]
    Unknown(String),
    #[error("container has runAsNonRoot and image will run as root")]
    Root,
}

/// Finds the user. `mapped` user IDs exist here: one above them becomes root, and is named in `instead_of`.
///
/// # Errors
/// When the image names a user it does not have, or root is not allowed.
pub fn find(container: &Container, pod: Option<&PodSecurityContext>, image: &Image, mapped: u64) -> Result<User, Error> {
    let own = container.security_context.as_ref();
    let id = |value: i64| u32::try_from(value).ok();
    let (image_user, image_group) = match image.config.user.split_once(':') {
        Some((user, group)) => (user, group),
        None => (image.config.user.as_str(), ""),
    };
    let asked = own.and_then(|own| own.run_as_user).or_else(|| pod.and_then(|pod| pod.run_as_user)).and_then(id);
    let (uid, mut gid) = match asked {
        Some(uid) => (uid, group_of(image, uid).unwrap_or(0)),
        None if image_user.is_empty() => (0, 0),
        None => match image_user.parse::<u32>() {
            Ok(uid) => (uid, group_of(image, uid).unwrap_or(0)),
            Err(_) => passwd(image)
                .into_iter()
                .find(|entry| entry.0 == image_user)
                .map(|entry| (entry.1, entry.2))
                .ok_or_else(|| Error::Unknown(image_user.to_owned()))?,
        },
    };
    if asked.is_none() {
        if let Ok(group) = image_group.parse() {
            gid = group;
        }
    }
    let group = own.and_then(|own| own.run_as_group).or_else(|| pod.and_then(|pod| pod.run_as_group)).and_then(id);
    gid = group.unwrap_or(gid);
    let non_root = own.and_then(|own| own.run_as_non_root).or_else(|| pod.and_then(|pod| pod.run_as_non_root));
    if non_root == Some(true) && uid == 0 {
        return Err(Error::Root);
    }
    let mut groups: Vec<u32> = pod.and_then(|pod| pod.supplemental_groups.clone()).into_iter().flatten().filter_map(id).collect();
    groups.extend(pod.and_then(|pod| pod.fs_group).and_then(id));
    groups.retain(|group| u64::from(*group) < mapped);
    let exists = |id: u32| u64::from(id) < mapped;
    let instead_of = (!exists(uid)).then_some(uid);
    Ok(User { uid: if exists(uid) { uid } else { 0 }, gid: if exists(gid) { gid } else { 0 }, groups, instead_of })
}

fn group_of(image: &Image, uid: u32) -> Option<u32> {
    passwd(image).into_iter().find(|entry| entry.1 == uid).map(|entry| entry.2)
}

/// The image's users: name, user ID, group ID.
fn passwd(image: &Image) -> Vec<(String, u32, u32)> {
    let read = |layer: &Path| std::fs::read_to_string(layer.join("etc/passwd")).ok();
    let text = image.layers.iter().find_map(|layer| read(layer)).unwrap_or_default();
    let parse = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((name, fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    text.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(user: &str) -> Image {
        Image {
            name: String::new(),
            id: String::new(),
            size: 0,
            layers: vec![],
            usr: vec![],
            binds: vec![],
            config: crate::images::Config { user: user.to_owned(), ..Default::default() },
            stand_in: None,
        }
    }

    fn container(context: serde_json::Value) -> Container {
        serde_json::from_value(serde_json::json!({ "name": "c", "securityContext": context })).expect("a container")
    }

    #[test]
    fn the_nearest_setting_wins() {
        let plain = container(serde_json::json!({}));
        let own = container(serde_json::json!({ "runAsUser": 5, "runAsGroup": 6 }));
        let pod = PodSecurityContext { run_as_user: Some(7), ..Default::default() };
        let ids = |container, pod, user| {
            let user = find(container, pod, &image(user), 65536).expect("found");
            (user.uid, user.gid)
        };
        assert_eq!(ids(&plain, None, ""), (0, 0));
        assert_eq!(ids(&plain, None, "101:102"), (101, 102));
        assert_eq!(ids(&plain, Some(&pod), "101"), (7, 0));
        assert_eq!(ids(&own, Some(&pod), "101"), (5, 6));
        assert!(matches!(find(&plain, None, &image("www"), 65536), Err(Error::Unknown(_))));
    }

    #[test]
    fn a_user_that_is_not_mapped_becomes_root_and_says_so() {
        let own = container(serde_json::json!({ "runAsUser": 1000, "runAsNonRoot": true }));
        let user = find(&own, None, &image(""), 1).expect("found");
        assert_eq!((user.uid, user.instead_of), (0, Some(1000)));
        let root = container(serde_json::json!({ "runAsNonRoot": true }));
        assert!(matches!(find(&root, None, &image(""), 1), Err(Error::Root)));
    }
}
