//! Upstream's atomic writer: files live in a dated folder, `..data` points to it, visible names point through `..data`.
//!
//! ```text
//! volume/..2026_11_21_07_00_00.123/app.conf     volume/..data -> ..2026…     volume/app.conf -> ..data/app.conf
//! ```
//! Moving `..data` is one rename, so that a reader sees all of an update or nothing of it.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::Path;

use super::owner::Owner;

/// A file's content and mode, and its user where that is not root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub content: Vec<u8>,
    pub mode: u32,
    pub user: Option<u32>,
}

/// Path below the volume (may hold slashes) to file.
pub type Files = BTreeMap<String, File>;

/// Makes `dir` hold exactly `files`, readable by their owner; nothing is touched when it does already. Returns whether it was changed.
///
/// # Errors
/// When the disk refuses.
pub fn write(dir: &Path, files: &Files, owner: Owner) -> std::io::Result<bool> {
    let data = dir.join("..data");
    let old = std::fs::read_link(&data).ok();
    if old.is_some() && holds(&data, files) {
        return Ok(false);
    }
    let name = format!("..{}", k8s_openapi::jiff::Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S.%N"));
    let folder = dir.join(&name);
    for (path, file) in files {
        let target = folder.join(path);
        std::fs::create_dir_all(target.parent().unwrap_or(&folder))?;
        std::fs::write(&target, &file.content)?;
        std::fs::set_permissions(&target, PermissionsExt::from_mode(file.mode))?;
        if let Some(user) = file.user
            && let Err(error) = lchown(&target, Some(user), None)
        {
            tracing::debug!(%error, path = %target.display(), user, "a file's user cannot be set");
        }
    }
    std::fs::create_dir_all(&folder)?;
    owner.take(dir, true)?;
    let aside = dir.join("..data_tmp");
    let _ = std::fs::remove_file(&aside);
    symlink(&name, &aside)?;
    std::fs::rename(&aside, &data)?;
    let tops: std::collections::BTreeSet<&str> = files.keys().filter_map(|path| path.split('/').next()).collect();
    for top in &tops {
        if std::fs::symlink_metadata(dir.join(top)).is_err() {
            symlink(format!("..data/{top}"), dir.join(top))?;
        }
    }
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !tops.contains(name.as_ref()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    if let Some(old) = old {
        std::fs::remove_dir_all(dir.join(old))?;
    }
    Ok(true)
}

fn holds(data: &Path, files: &Files) -> bool {
    fn count(dir: &Path) -> usize {
        std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| if entry.file_type().is_ok_and(|kind| kind.is_dir()) { count(&entry.path()) } else { 1 })
            .sum()
    }
    count(data) == files.len()
        && files.iter().all(|(path, file)| std::fs::read(data.join(path)).is_ok_and(|content| content == file.content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        let file = |text: &str| File { content: text.as_bytes().to_vec(), mode: 0o644, user: None };
        list.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
    }

    #[test]
    fn an_update_replaces_all_and_an_equal_one_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path();
        assert!(write(dir, &files(&[("a", "1"), ("sub/b", "2")]), Owner::default()).expect("written"));
        assert_eq!(std::fs::read_to_string(dir.join("sub/b")).expect("there"), "2");
        assert!(!write(dir, &files(&[("a", "1"), ("sub/b", "2")]), Owner::default()).expect("written"));
        assert!(write(dir, &files(&[("a", "3")]), Owner::default()).expect("written"));
        assert_eq!(std::fs::read_to_string(dir.join("a")).expect("there"), "3");
        assert!(!dir.join("sub").exists());
        let dated = std::fs::read_dir(dir).expect("listed").flatten();
        let dated = dated.filter(|entry| entry.file_name().to_string_lossy().starts_with("..2")).count();
        assert_eq!(dated, 1, "the old content is gone");
    }

    #[test]
    fn an_empty_volume_is_written_too() {
        let dir = tempfile::tempdir().expect("a folder");
        write(dir.path(), &files(&[]), Owner::default()).expect("written");
        assert!(dir.path().join("..data").exists());
    }
}
