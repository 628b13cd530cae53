//! hostPath volumes and their types.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

/// Makes or checks what `type` asks for; the messages are upstream's.
///
/// # Errors
/// When the path is not what it has to be.
pub fn check(path: &Path, type_: &str) -> Result<(), String> {
    let kind = std::fs::metadata(path).ok().map(|found| found.file_type());
    let is = |test: fn(&std::fs::FileType) -> bool| kind.as_ref().is_some_and(test);
    let wanted = match type_ {
        // Nothing is asked for, but a bind mount needs something to bind: upstream's runtimes make a folder as well.
        "" => {
            if kind.is_none() {
                std::fs::create_dir_all(path).map_err(|error| error.to_string())?;
            }
            return Ok(());
        }
        "DirectoryOrCreate" => {
            if kind.is_none() {
                std::fs::create_dir_all(path).map_err(|error| error.to_string())?;
                std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).map_err(|error| error.to_string())?;
                return Ok(());
            }
            (is(std::fs::FileType::is_dir), "a directory")
        }
        "Directory" => (is(std::fs::FileType::is_dir), "a directory"),
        "FileOrCreate" => {
            if kind.is_none() {
                return std::fs::write(path, "").map_err(|error| error.to_string());
            }
            (is(std::fs::FileType::is_file), "a file")
        }
        "File" => (is(std::fs::FileType::is_file), "a file"),
        "Socket" => (is(FileTypeExt::is_socket), "a socket file"),
        "CharDevice" => (is(FileTypeExt::is_char_device), "a character device"),
        "BlockDevice" => (is(FileTypeExt::is_block_device), "a block device"),
        other => return Err(format!("hostPath type \"{other}\" is unknown")),
    };
    match wanted {
        (true, _) => Ok(()),
        (false, what) => Err(format!("hostPath type check failed: {} is not {what}", path.display())),
    }
}
