//! Images made on the spot: a docker-archive of one layer, from a program and the libraries it is linked with.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::{NamedTempFile, tempdir};

use crate::shell;

/// An archive of an image `reference` whose entrypoint is a copy of `program`.
///
/// # Errors
/// When tar or ldd fail.
pub fn of_program(program: &Path, reference: &str) -> anyhow::Result<NamedTempFile> {
    let root = tempdir()?;
    let name = program.file_name().context("a program has a name")?.to_string_lossy().into_owned();
    copy(program, &root.path().join(&name))?;
    // A statically linked program has none, and ldd fails.
    let linked = shell::run(Command::new("ldd").arg(program), Duration::from_secs(10))?;
    for word in linked.stdout.split_whitespace().filter(|word| word.starts_with('/')) {
        copy(Path::new(word), &root.path().join(word.trim_start_matches('/')))?;
    }
    archive(root.path(), &format!("/{name}"), reference)
}

/// An archive of an image `reference` that is nothing but the distribution's static busybox.
///
/// # Errors
/// When busybox is not installed, or tar fails.
pub fn of_busybox(reference: &str) -> anyhow::Result<NamedTempFile> {
    let root = tempdir()?;
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().map(Path::new).find(|p| p.exists());
    copy(busybox.context("busybox is missing: install the package busybox-static")?, &root.path().join("bin/busybox"))?;
    for applet in [
        "sh", "sleep", "cat", "echo", "ls", "hostname", "ip", "ping", "wget", "nc", "httpd", "id", "env", "kill",
        "tar", "true", "false", "nslookup", "ps", "mkdir", "tee", "touch", "date", "seq", "head", "grep",
    ] {
        symlink("busybox", root.path().join("bin").join(applet))?;
    }
    archive(root.path(), "/bin/sh", reference)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to.parent().context("every file lies in a folder")?)?;
    std::fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn archive(root: &Path, entrypoint: &str, reference: &str) -> anyhow::Result<NamedTempFile> {
    let parts = tempdir()?;
    let layer = parts.path().join("layer.tar");
    tar(&layer, root, ".")?;
    let digest = shell::run(Command::new("sha256sum").arg(&layer), Duration::from_secs(60))?.ok()?.stdout;
    let digest = digest.split_whitespace().next().context("sha256sum printed nothing")?.to_owned();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "config": { "Entrypoint": [entrypoint], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
    });
    std::fs::write(parts.path().join("config.json"), config.to_string())?;
    let manifest = serde_json::json!([{ "Config": "config.json", "RepoTags": [reference], "Layers": ["layer.tar"] }]);
    std::fs::write(parts.path().join("manifest.json"), manifest.to_string())?;
    let file = NamedTempFile::with_suffix(".tar")?;
    tar(file.path(), parts.path(), ".")?;
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644))?;
    Ok(file)
}

fn tar(to: &Path, folder: &Path, what: &str) -> anyhow::Result<()> {
    let mut command = Command::new("tar");
    command.args(["--owner=0", "--group=0", "-cf"]).arg(to).arg("-C").arg(folder).arg(what);
    let output = shell::run(&mut command, Duration::from_secs(120))?;
    ensure!(output.code == 0, "{}", output.stderr);
    Ok(())
}
