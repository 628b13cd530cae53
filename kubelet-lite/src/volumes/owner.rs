//! Whose a volume's files are: the group that the pod asks for with `fsGroup` (upstream `pkg/volume/volume_linux.go`).

use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use k8s_openapi::api::core::v1::PodSpec;

const READ_WRITE: u32 = 0o660;
const READ_ONLY: u32 = 0o440;
const ENTER: u32 = 0o110;
const SET_GID: u32 = 0o2000;

/// What a pod asks of its volumes' files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    pub group: Option<u32>,
    /// Nothing is done to a volume whose root is as it should be already.
    pub only_on_mismatch: bool,
}

impl Owner {
    #[must_use]
    pub fn of(spec: Option<&PodSpec>) -> Self {
        let context = spec.and_then(|spec| spec.security_context.as_ref());
        Self {
            group: context.and_then(|context| context.fs_group).and_then(|group| u32::try_from(group).ok()),
            only_on_mismatch: context
                .is_some_and(|context| context.fs_group_change_policy.as_deref() == Some("OnRootMismatch")),
        }
    }

    /// Gives everything in and of `dir` to the group, with the rights a member needs. Where the sandbox has no such id, the
    /// files stay as they are: nobody there has another one either.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn take(self, dir: &Path, read_only: bool) -> std::io::Result<()> {
        match self.group {
            Some(group) if !(self.only_on_mismatch && is_right(dir, group, read_only)?) => give(dir, group, read_only),
            _ => Ok(()),
        }
    }
}

fn rights(read_only: bool, is_dir: bool) -> u32 {
    let rights = if read_only { READ_ONLY } else { READ_WRITE };
    if is_dir { rights | ENTER | SET_GID } else { rights }
}

fn is_right(dir: &Path, group: u32, read_only: bool) -> std::io::Result<bool> {
    let found = dir.metadata()?;
    let wanted = rights(read_only, true);
    Ok(found.gid() == group && found.mode() & wanted == wanted)
}

/// Children before their folder, so that a folder that is right has children that are.
fn give(path: &Path, group: u32, read_only: bool) -> std::io::Result<()> {
    let found = path.symlink_metadata()?;
    if found.is_dir() {
        for entry in path.read_dir()? {
            give(&entry?.path(), group, read_only)?;
        }
    }
    if let Err(error) = lchown(path, None, Some(group)) {
        tracing::debug!(%error, path = %path.display(), group, "a file's group cannot be set");
    }
    if !found.is_symlink() {
        let mode = (found.mode() & 0o7777) | rights(read_only, found.is_dir());
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_the_group_can_use_the_volume() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().join("volume");
        std::fs::create_dir_all(root.join("sub")).expect("made");
        std::fs::write(root.join("sub/file"), "text").expect("written");
        std::os::unix::fs::symlink("sub/file", root.join("link")).expect("made");
        let mode = |name: &str, mode: u32| {
            std::fs::set_permissions(root.join(name), PermissionsExt::from_mode(mode)).expect("set");
        };
        // A group that whoever runs this may give away: their own.
        let group = root.metadata().expect("there").gid();
        let owner = Owner { group: Some(group), only_on_mismatch: false };
        let found = |name: &str| root.join(name).metadata().expect("there").mode() & 0o7777;
        for (read_only, file, folder) in [(true, 0o440, 0o2750), (false, 0o660, 0o2770)] {
            mode("sub/file", 0o400);
            mode("sub", 0o700);
            owner.take(&root, read_only).expect("taken");
            assert_eq!((found("sub/file"), found("sub")), (file, folder), "read only: {read_only}");
        }
        mode("sub/file", 0o400);
        Owner { only_on_mismatch: true, ..owner }.take(&root, false).expect("taken");
        assert_eq!(found("sub/file"), 0o400, "the root is right");
        Owner::default().take(&root, false).expect("taken");
        assert_eq!(found("sub/file"), 0o400, "nobody asked");
    }
}
