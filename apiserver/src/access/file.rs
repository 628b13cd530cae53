//! Configuration files: read strictly, and watched for changes.

use std::path::Path;
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde_json::Value;
use tokio::sync::watch;

/// The group of most of them.
pub const GROUP: &str = "apiserver.config.k8s.io";
/// The file is looked at this often even when nothing tells of a change (upstream's `filesystem.WatchUntil`).
const ANYWAY: Duration = Duration::from_secs(60);

/// Which fields there may be, and below which of them more.
pub enum Shape {
    /// A value that serde judges.
    Leaf,
    Object(&'static [(&'static str, Shape)]),
    List(&'static Shape),
}

/// Reads a configuration: `kind` of `group` in one of `versions`, with no field that `shape` does not know.
///
/// # Errors
/// What is wrong, in upstream's words.
pub fn decode<T: serde::de::DeserializeOwned>(
    text: &str,
    kind: (&str, &str),
    versions: &[&str],
    shape: &Shape,
) -> anyhow::Result<T> {
    let value = read(text, kind, versions)?;
    let mut unknown = Vec::new();
    compare(&value, shape, "", &mut unknown);
    anyhow::ensure!(unknown.is_empty(), "strict decoding error: {}", unknown.join(", "));
    Ok(serde_json::from_value(value)?)
}

/// The fields of a configuration: `kind` of `group` in one of `versions`.
///
/// # Errors
/// What is wrong, in upstream's words; nothing of the text is shown.
pub fn read(text: &str, (group, kind): (&str, &str), versions: &[&str]) -> anyhow::Result<Value> {
    anyhow::ensure!(!text.is_empty(), "empty config data");
    let mut value: Value =
        serde_saphyr::from_str(text).map_err(|error| anyhow::anyhow!("{}", error.without_snippet()))?;
    let told = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let (version, found) = (told("apiVersion"), told("kind"));
    anyhow::ensure!(!found.is_empty(), "Object 'Kind' is missing");
    anyhow::ensure!(!version.is_empty(), "Object 'apiVersion' is missing");
    let known = version.split_once('/').is_some_and(|(found, version)| found == group && versions.contains(&version));
    anyhow::ensure!(known && found == kind, "no kind {found:?} is registered for version {version:?}");
    if let Some(object) = value.as_object_mut() {
        object.retain(|field, _| field != "apiVersion" && field != "kind");
    }
    Ok(value)
}

fn compare(value: &Value, shape: &Shape, at: &str, unknown: &mut Vec<String>) {
    match (shape, value) {
        (Shape::Object(fields), Value::Object(have)) => {
            for (name, value) in have {
                let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                match fields.iter().find(|(known, _)| known == name) {
                    Some((_, shape)) => compare(value, shape, &path, unknown),
                    None => unknown.push(format!("unknown field {path:?}")),
                }
            }
        }
        (Shape::List(shape), Value::Array(items)) => {
            items.iter().enumerate().for_each(|(index, item)| compare(item, shape, &format!("{at}[{index}]"), unknown));
        }
        _ => {}
    }
}

/// All that is wrong, as one text: as Go's aggregates tell it, each mistake once.
#[must_use]
pub fn aggregate<E: ToString>(errors: impl IntoIterator<Item = E>) -> String {
    let mut texts: Vec<String> = Vec::new();
    for text in errors.into_iter().map(|error| error.to_string()) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    match &texts[..] {
        [only] => only.clone(),
        all => format!("[{}]", all.join(", ")),
    }
}

/// Tells when a file may have changed.
pub struct Changes {
    /// `None`: the folder cannot be watched.
    told: Option<watch::Receiver<()>>,
}

impl Changes {
    /// Watches the file's folder, for files are often replaced rather than written. Where that is not possible, the file is
    /// only looked at from time to time.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match watch_folder(folder) {
            Ok(told) => Self { told: Some(told) },
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "a configuration file cannot be watched");
                Self { told: None }
            }
        }
    }

    /// Resolves when it is time to look again.
    pub async fn next(&mut self) {
        let told = async {
            if let Some(told) = &mut self.told
                && told.changed().await.is_ok()
            {
                return;
            }
            // There is no watcher, or it has ended: time alone is left.
            std::future::pending().await
        };
        // Either may end first; the file's content decides whether there is anything to do.
        let _ = tokio::time::timeout(ANYWAY, told).await;
    }
}

/// A thread of its own reads what the kernel tells; it ends with the first news nobody waits for any more.
fn watch_folder(folder: &Path) -> std::io::Result<watch::Receiver<()>> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
    let changes = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CREATE;
    inotify.add_watch(folder, changes | AddWatchFlags::IN_DELETE_SELF)?;
    let (sender, receiver) = watch::channel(());
    std::thread::Builder::new()
        .name("config-file".to_owned())
        .spawn(move || while inotify.read_events().is_ok() && sender.send(()).is_ok() {})?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape =
        Shape::Object(&[("a", Shape::Leaf), ("l", Shape::List(&Shape::Object(&[("b", Shape::Leaf)])))]);

    #[test]
    fn what_is_not_known_is_refused() {
        let decode =
            |text: &str| decode::<Value>(text, (GROUP, "K"), &["v1"], &SHAPE).map_err(|error| error.to_string());
        let header = "apiVersion: apiserver.config.k8s.io/v1\nkind: K\n";
        assert_eq!(decode(&format!("{header}a: 1")), Ok(serde_json::json!({ "a": 1 })));
        for (text, error) in [
            (String::new(), "empty config data"),
            ("kind: K".to_owned(), "Object 'apiVersion' is missing"),
            ("apiVersion: v1".to_owned(), "Object 'Kind' is missing"),
            (header.replace("v1", "v2"), "no kind \"K\" is registered for version \"apiserver.config.k8s.io/v2\""),
            (
                format!("{header}x: 1\nl: [{{b: 1}}, {{c: 1}}]"),
                "strict decoding error: unknown field \"l[1].c\", unknown field \"x\"",
            ),
        ] {
            assert_eq!(decode(&text), Err(error.to_owned()), "{text}");
        }
    }
}
