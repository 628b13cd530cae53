//! Small file habits used all over.

use std::io::Write;
use std::path::Path;

/// Writes a file so that a reader sees the old or the new content, never a part.
///
/// # Errors
/// When the folder is missing or the disk refuses.
pub fn write_atomically(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut aside = tempfile::NamedTempFile::new_in(folder)?;
    aside.write_all(content)?;
    aside.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// A new random name of 64 hexadecimal digits, the form of a container's ID.
#[must_use]
pub fn new_id() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}
