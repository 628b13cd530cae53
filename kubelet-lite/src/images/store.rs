//! The image store: what was loaded or pulled, shared read-only by all nodes.
//!
//! ```text
//! D/images/names/<sha256 of the name>.json   {"name", "id", "size", "config", "digest" of what was pulled}
//! D/images/roots/<hex of the id>/            the image's layers, unpacked over each other once
//! ```
//!
//! Archives are OCI layouts (`index.json`) or docker archives (`manifest.json`) as tar, gzipped or not. Unpacking is done
//! by the host's tar; whiteouts are applied as deletions, so a stored root needs no overlay of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::reference::Reference;
use super::{Config, Image};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path} is not valid: {source}")]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("{0} is neither an OCI layout nor a docker archive: it has no index.json and no manifest.json")]
    NoArchive(PathBuf),
    #[error("the archive is damaged: {0}")]
    Damaged(String),
    #[error("cannot unpack {archive}: {message}")]
    Tar { archive: PathBuf, message: String },
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { path: path.to_owned(), source }
}

/// The OCI image configuration's `config`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct OciConfig {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    user: Option<String>,
    working_dir: Option<String>,
    stop_signal: Option<String>,
}

/// Looks a name up; `None` when it was never loaded.
///
/// # Errors
/// When the store's own files cannot be read.
pub fn find(store: &Path, reference: &Reference) -> Result<Option<Image>, Error> {
    let path = name_file(store, &reference.to_string());
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(&path)(error)),
    };
    let entry: Value = serde_json::from_slice(&text).map_err(|source| Error::Json { path: path.clone(), source })?;
    let config: OciConfig = serde_json::from_value(entry["config"]["config"].clone()).unwrap_or_default();
    let id = entry["id"].as_str().unwrap_or_default().to_owned();
    Ok(Some(Image {
        name: reference.to_string(),
        layers: vec![root_of(store, &id)],
        id,
        size: entry["size"].as_u64().unwrap_or_default(),
        usr: Vec::new(),
        binds: Vec::new(),
        config: Config {
            entrypoint: config.entrypoint.unwrap_or_default(),
            cmd: config.cmd.unwrap_or_default(),
            env: config.env.unwrap_or_default(),
            user: config.user.unwrap_or_default(),
            working_dir: config.working_dir.unwrap_or_default(),
            stop_signal: config.stop_signal,
        },
        stand_in: None,
    }))
}

/// What was pulled under a name, by the digest the registry gave it; `None` for what was loaded or is not there.
///
/// # Errors
/// When the store's own files cannot be read.
pub fn digest(store: &Path, reference: &Reference) -> Result<Option<String>, Error> {
    let entry = read_json(&name_file(store, &reference.to_string()))?;
    Ok(entry.and_then(|entry| entry["digest"].as_str().map(str::to_owned)))
}

/// The names and sizes of all stored images.
///
/// # Errors
/// When the store's own files cannot be read.
pub fn list(store: &Path) -> Result<Vec<(String, u64)>, Error> {
    let folder = store.join("names");
    let files = match std::fs::read_dir(&folder) {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io(&folder)(error)),
    };
    let mut found = Vec::new();
    for file in files {
        let path = file.map_err(io(&folder))?.path();
        let entry: Value = serde_json::from_slice(&std::fs::read(&path).map_err(io(&path))?)
            .map_err(|source| Error::Json { path, source })?;
        found.push((entry["name"].as_str().unwrap_or_default().to_owned(), entry["size"].as_u64().unwrap_or_default()));
    }
    found.sort();
    Ok(found)
}

/// Adds every image of an archive to the store and returns their full names. Loading one again replaces it.
///
/// # Errors
/// When the archive is none of the two known forms, or is damaged; nothing is added by then.
pub fn load(store: &Path, archive: &Path) -> Result<Vec<String>, Error> {
    make_folders(store)?;
    let unpacked = tempfile::Builder::new().prefix(".load-").tempdir_in(store).map_err(io(store))?;
    tar(archive, unpacked.path(), &[])?;
    let images = match read_json(&unpacked.path().join("index.json"))? {
        Some(index) => oci_images(unpacked.path(), &index)?,
        None => match read_json(&unpacked.path().join("manifest.json"))? {
            Some(manifest) => docker_images(&manifest)?,
            None => return Err(Error::NoArchive(archive.to_owned())),
        },
    };
    let mut names = Vec::new();
    for image in images {
        names.extend(add(store, unpacked.path(), &image, None)?);
    }
    Ok(names)
}

/// Adds the one image of an OCI layout, a folder, which a registry gave out as `digest`.
///
/// # Errors
/// When the layout is damaged; nothing is added by then.
pub fn add_layout(store: &Path, layout: &Path, reference: &Reference, digest: &str) -> Result<(), Error> {
    make_folders(store)?;
    let index = read_json(&layout.join("index.json"))?.ok_or_else(|| Error::NoArchive(layout.to_owned()))?;
    let image = oci_image(layout, &index["manifests"][0], reference.to_string())?;
    add(store, layout, &image, Some(digest)).map(drop)
}

fn make_folders(store: &Path) -> Result<(), Error> {
    ["names", "roots"].iter().try_for_each(|folder| std::fs::create_dir_all(store.join(folder)).map_err(io(store)))
}

/// One image of an archive: files relative to its top.
struct Found {
    names: Vec<String>,
    config: PathBuf,
    layers: Vec<PathBuf>,
}

fn oci_images(top: &Path, index: &Value) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    for entry in index["manifests"].as_array().into_iter().flatten() {
        let annotations = &entry["annotations"];
        let name = ["io.containerd.image.name", "org.opencontainers.image.ref.name"]
            .iter()
            .find_map(|key| annotations[*key].as_str())
            .ok_or_else(|| {
                Error::Damaged("an image in index.json has no name (org.opencontainers.image.ref.name)".into())
            })?;
        found.push(oci_image(top, entry, name.to_owned())?);
    }
    Ok(found)
}

fn oci_image(top: &Path, entry: &Value, name: String) -> Result<Found, Error> {
    let mut manifest = blob_json(top, &entry["digest"])?;
    if let Some(platforms) = manifest["manifests"].as_array() {
        // An index of platforms: ours, else the only one.
        let ours = |entry: &&Value| entry["platform"]["architecture"] == architecture();
        let chosen = platforms.iter().find(ours).or_else(|| platforms.first());
        let chosen = chosen.ok_or_else(|| Error::Damaged("an image index is empty".into()))?;
        manifest = blob_json(top, &chosen["digest"])?;
    }
    let layers = manifest["layers"].as_array().into_iter().flatten();
    Ok(Found {
        names: vec![name],
        config: blob(&manifest["config"]["digest"])?,
        layers: layers.map(|layer| blob(&layer["digest"])).collect::<Result<_, _>>()?,
    })
}

/// Go's name of this machine's architecture.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn docker_images(manifest: &Value) -> Result<Vec<Found>, Error> {
    let inside = |value: &Value| match value.as_str().map(Path::new) {
        Some(path) if path.is_relative() && !path.components().any(|part| part.as_os_str() == "..") => {
            Ok(path.to_owned())
        }
        _ => Err(Error::Damaged(format!("manifest.json names the file {value}"))),
    };
    let images = manifest.as_array().ok_or_else(|| Error::Damaged("manifest.json is not a list".into()))?;
    images
        .iter()
        .map(|image| {
            let tags = image["RepoTags"].as_array().into_iter().flatten();
            Ok(Found {
                names: tags.filter_map(|tag| tag.as_str().map(str::to_owned)).collect(),
                config: inside(&image["Config"])?,
                layers: image["Layers"].as_array().into_iter().flatten().map(inside).collect::<Result<_, _>>()?,
            })
        })
        .collect()
}

fn add(store: &Path, top: &Path, image: &Found, digest: Option<&str>) -> Result<Vec<String>, Error> {
    let path = top.join(&image.config);
    let text = std::fs::read(&path).map_err(io(&path))?;
    let config: Value = serde_json::from_slice(&text).map_err(|source| Error::Json { path, source })?;
    let id = format!("sha256:{}", hex(&Sha256::digest(&text)));
    let root = root_of(store, &id);
    let mut size = 0;
    for layer in &image.layers {
        let path = top.join(layer);
        size += std::fs::metadata(&path).map_err(io(&path))?.len();
    }
    if !root.exists() {
        let aside = tempfile::Builder::new().prefix(".root-").tempdir_in(store).map_err(io(store))?;
        for layer in &image.layers {
            apply_layer(&top.join(layer), aside.path())?;
        }
        let aside = aside.keep();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&aside, PermissionsExt::from_mode(0o755)).map_err(io(&aside))?;
        std::fs::rename(&aside, &root).map_err(io(&root))?;
    }
    let mut names = Vec::new();
    for name in &image.names {
        let name = Reference::parse(name)
            .ok_or_else(|| Error::Damaged(format!("\"{name}\" is not an image name")))?
            .to_string();
        let entry = serde_json::json!({ "name": name, "id": id, "size": size, "config": config, "digest": digest });
        let path = name_file(store, &name);
        let mut aside = tempfile::NamedTempFile::new_in(store).map_err(io(store))?;
        std::io::Write::write_all(&mut aside, entry.to_string().as_bytes()).map_err(io(&path))?;
        aside.persist(&path).map_err(|error| io(&path)(error.error))?;
        names.push(name);
    }
    Ok(names)
}

/// Unpacks a layer over `root`, first deleting what its whiteouts name.
fn apply_layer(layer: &Path, root: &Path) -> Result<(), Error> {
    let output = Command::new("tar").arg("-tf").arg(layer).output().map_err(io(Path::new("tar")))?;
    if !output.status.success() {
        return Err(tar_error(layer, &output));
    }
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let path = Path::new(line);
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let Some(hidden) = name.strip_prefix(".wh.") else { continue };
        if path.components().any(|part| part.as_os_str() == "..") {
            return Err(Error::Damaged(format!("a layer names the file {line}")));
        }
        let folder = root.join(
            path.parent().unwrap_or(Path::new("")).strip_prefix("/").unwrap_or(path.parent().unwrap_or(Path::new(""))),
        );
        // A link on the way would lead the deletion out of the root.
        if folder.canonicalize().is_ok_and(|real| !real.starts_with(root)) {
            continue;
        }
        if hidden == ".wh..opq" {
            for file in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                remove(&file.path());
            }
        } else {
            remove(&folder.join(hidden));
        }
    }
    tar(
        layer,
        root,
        &["--exclude=.wh.*", "--exclude=./dev/*", "--exclude=dev/*", "--anchored", "--keep-directory-symlink"],
    )
}

fn remove(path: &Path) {
    let is_dir = std::fs::symlink_metadata(path).is_ok_and(|kind| kind.is_dir());
    let _ = if is_dir { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
}

fn tar(archive: &Path, target: &Path, more: &[&str]) -> Result<(), Error> {
    let output = Command::new("tar")
        .arg("-xf")
        .arg(archive)
        .arg("-C")
        .arg(target)
        .args(["--no-same-owner", "--no-anchored"])
        .args(more)
        .output()
        .map_err(io(Path::new("tar")))?;
    if output.status.success() { Ok(()) } else { Err(tar_error(archive, &output)) }
}

fn tar_error(archive: &Path, output: &std::process::Output) -> Error {
    let message = String::from_utf8_lossy(&output.stderr);
    Error::Tar { archive: archive.to_owned(), message: message.lines().next().unwrap_or("tar failed").to_owned() }
}

fn read_json(path: &Path) -> Result<Option<Value>, Error> {
    match std::fs::read(path) {
        Ok(text) => {
            serde_json::from_slice(&text).map(Some).map_err(|source| Error::Json { path: path.to_owned(), source })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io(path)(error)),
    }
}

fn blob(digest: &Value) -> Result<PathBuf, Error> {
    match digest.as_str().and_then(|digest| digest.split_once(':')) {
        Some((algorithm, hash)) if hash.chars().all(|c| c.is_ascii_hexdigit()) && algorithm == "sha256" => {
            Ok(Path::new("blobs").join(algorithm).join(hash))
        }
        _ => Err(Error::Damaged(format!("{digest} is no digest"))),
    }
}

fn blob_json(top: &Path, digest: &Value) -> Result<Value, Error> {
    let path = top.join(blob(digest)?);
    read_json(&path)?.ok_or_else(|| Error::Damaged(format!("the blob {digest} is missing")))
}

fn root_of(store: &Path, id: &str) -> PathBuf {
    store.join("roots").join(id.trim_start_matches("sha256:"))
}

fn name_file(store: &Path, name: &str) -> PathBuf {
    store.join("names").join(format!("{}.json", hex(&Sha256::digest(name.as_bytes()))))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(folder: &Path, archive: &Path) {
        let status = Command::new("tar").arg("-cf").arg(archive).arg("-C").arg(folder).arg(".").status();
        assert!(status.expect("tar runs").success());
    }

    /// Two layers: the second removes a file of the first and adds one.
    fn docker_archive(dir: &Path) -> PathBuf {
        let (one, two, top) = (dir.join("one"), dir.join("two"), dir.join("top"));
        for folder in [&one, &two, &top] {
            std::fs::create_dir_all(folder.join("etc")).expect("made");
        }
        std::fs::write(one.join("etc/old"), "old").expect("written");
        std::fs::write(one.join("etc/kept"), "kept").expect("written");
        std::fs::write(two.join("etc/.wh.old"), "").expect("written");
        std::fs::write(two.join("etc/new"), "new").expect("written");
        std::fs::remove_dir(top.join("etc")).expect("empty");
        pack(&one, &top.join("one.tar"));
        pack(&two, &top.join("two.tar"));
        std::fs::write(top.join("config.json"), r#"{"config":{"Cmd":["run"],"Env":["A=b"]}}"#).expect("written");
        let manifest = r#"[{"Config":"config.json","RepoTags":["my/app:1"],"Layers":["one.tar","two.tar"]}]"#;
        std::fs::write(top.join("manifest.json"), manifest).expect("written");
        pack(&top, &dir.join("image.tar"));
        dir.join("image.tar")
    }

    #[test]
    fn a_docker_archive_is_loaded_with_its_whiteouts_applied() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = dir.path().join("images");
        let names = load(&store, &docker_archive(dir.path())).expect("loads");
        assert_eq!(names, ["docker.io/my/app:1"]);
        let image = find(&store, &Reference::parse("my/app:1").expect("a name")).expect("reads").expect("is there");
        assert_eq!(image.config.cmd, ["run"]);
        assert_eq!(image.config.env, ["A=b"]);
        let root = &image.layers[0];
        assert!(!root.join("etc/old").exists());
        assert!(root.join("etc/kept").exists() && root.join("etc/new").exists());
        assert!(!root.join("etc/.wh.old").exists());
    }

    #[test]
    fn another_tar_is_refused_and_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(dir.path().join("x")).expect("made");
        pack(&dir.path().join("x"), &dir.path().join("x.tar"));
        let store = dir.path().join("images");
        assert!(matches!(load(&store, &dir.path().join("x.tar")), Err(Error::NoArchive(_))));
        assert!(list(&store).expect("lists").is_empty());
    }
}
