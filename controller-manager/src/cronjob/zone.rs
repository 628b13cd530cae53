//! Time zones by name, from the machine's zoneinfo files, in the folders Go looks in.

use std::fs;
use std::path::Path;

use k8s_openapi::jiff::tz::TimeZone;

const FOLDERS: [&str; 3] = ["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/etc/zoneinfo"];

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown time zone {0}")]
pub struct Unknown(String);

/// # Errors
/// When there is no such zone, or no folder of zones at all.
pub fn load(name: &str) -> Result<TimeZone, Unknown> {
    if name.is_empty() || name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    // A name is a path below a folder of zones, and must stay below it.
    let is_plain = !name.starts_with('/') && !name.contains('\\') && name.split('/').all(|part| part != "..");
    let read = |folder: &&str| {
        let data = fs::read(Path::new(folder).join(name)).ok()?;
        TimeZone::tzif(name, &data).ok()
    };
    FOLDERS.iter().filter(|_| is_plain).find_map(read).ok_or_else(|| Unknown(name.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(load("UTC"), Ok(TimeZone::UTC));
        for name in ["Nowhere/City", "../passwd", "/etc/localtime"] {
            assert_eq!(load(name).unwrap_err().to_string(), format!("unknown time zone {name}"));
        }
        if !FOLDERS.iter().any(|folder| Path::new(folder).join("Europe/Berlin").exists()) {
            println!("SKIPPED names: this machine has no zoneinfo files");
            return;
        }
        assert_eq!(load("Europe/Berlin").unwrap().iana_name(), Some("Europe/Berlin"));
    }
}
