//! Writing a catalogue entry's small layers: a root with /etc and the usual folders, and a sheet over the host's /usr.
//!
//! The sheet holds empty copies of those folders of /usr that a container wants to write to. In an overlay a folder's owner
//! is its topmost layer's, so they belong to the container's root even where the host's root is somebody else.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::catalogue::Entry;
use super::reference::Reference;
use super::{Config, Error, Image};

/// Raised with every change to what [`prepare`] writes, so that folders written by an older version are left alone.
const VERSION: u32 = 1;

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const FOLDERS: &[&str] = &[
    "/dev", "/etc", "/etc/network", "/home", "/mnt", "/opt", "/proc", "/root", "/run", "/srv", "/sys", "/tmp", "/usr",
    "/var/cache", "/var/lib", "/var/log", "/var/run", "/var/spool", "/var/tmp",
];

const SHEET: &[&str] = &["bin", "lib", "local/bin", "local/lib", "local/sbin", "local/share", "sbin", "share", "src"];

const FILES: &[(&str, &str)] = &[
    (
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n\
         www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\nnginx:x:101:101:nginx:/nonexistent:/usr/sbin/nologin\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ),
    (
        "/etc/group",
        "root:x:0:\ndaemon:x:1:\ntty:x:5:\nwww-data:x:33:\nnginx:x:101:\nnogroup:x:65534:\n",
    ),
    ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nprotocols: files\nservices: files\n"),
    ("/etc/shells", "/bin/sh\n/bin/bash\n"),
    ("/etc/profile", "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"),
    ("/etc/hosts", "127.0.0.1 localhost\n"),
    ("/etc/hostname", "localhost\n"),
    ("/etc/resolv.conf", ""),
];

/// Parts of the host's /etc that programs of the host need and that say nothing about it.
const FROM_HOST: &[&str] = &[
    "/etc/alternatives", "/etc/ca-certificates.conf", "/etc/debian_version", "/etc/ethertypes", "/etc/iproute2",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/mime.types",
    "/etc/nginx/mime.types", "/etc/nginx/modules-enabled", "/etc/os-release", "/etc/protocols", "/etc/rpc",
    "/etc/services", "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/terminfo",
];

/// Writes the entry's layers below `scratch` (once) and describes the image.
///
/// # Errors
/// When the disk refuses, or the host misses the program the entry is about.
pub fn prepare(entry: &Entry, reference: &Reference, scratch: &Path) -> Result<Image, Error> {
    if let Some((program, package)) = entry.needs
        && !["/usr/sbin", "/usr/bin"].iter().any(|folder| Path::new(folder).join(program).exists())
    {
        return Err(Error::Unknown(format!("{reference} (its stand-in is {program} of package {package}, not installed here)")));
    }
    let slug: String = entry.names[0].chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let home = scratch.join(format!("{slug}-v{VERSION}"));
    if !home.exists() {
        // Written aside and renamed, so that a half-written one is never used.
        let aside = scratch.join(format!(".{slug}-{}", uuid::Uuid::new_v4().simple()));
        write(entry, &aside).map_err(Error::io(&aside))?;
        match std::fs::rename(&aside, &home) {
            Ok(()) => {}
            // Another container of the same image was faster.
            Err(_) if home.exists() => drop(std::fs::remove_dir_all(&aside)),
            Err(error) => return Err(Error::io(&home)(error)),
        }
    }
    let own = std::env::current_exe().map_err(Error::io(Path::new("/proc/self/exe")))?;
    let strings = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let mut env = vec![PATH.to_owned()];
    env.extend(strings(entry.env));
    Ok(Image {
        name: reference.to_string(),
        id: format!("catalogue://{slug}"),
        size: 0,
        layers: vec![home.join("root")],
        usr: vec![home.join("usr"), PathBuf::from("/usr")],
        binds: vec![(own, PathBuf::from("/usr/local/bin/knetsim"))],
        config: Config {
            entrypoint: strings(entry.entrypoint),
            cmd: strings(entry.cmd),
            env,
            user: String::new(),
            working_dir: entry.working_dir.to_owned(),
            stop_signal: (slug == "nginx").then(|| "SIGQUIT".to_owned()),
        },
        stand_in: (!entry.what.is_empty()).then(|| {
            format!("Image \"{reference}\" is not stored here: {} from the host's file system is used in its place", entry.what)
        }),
    })
}

fn write(entry: &Entry, home: &Path) -> std::io::Result<()> {
    let (root, usr) = (home.join("root"), home.join("usr"));
    let within = |base: &Path, path: &str| base.join(path.trim_start_matches('/'));
    for folder in FOLDERS {
        std::fs::create_dir_all(within(&root, folder))?;
    }
    for folder in SHEET {
        std::fs::create_dir_all(usr.join(folder))?;
    }
    std::fs::set_permissions(root.join("tmp"), PermissionsExt::from_mode(0o1777))?;
    std::fs::set_permissions(root.join("var/tmp"), PermissionsExt::from_mode(0o1777))?;
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        // Only where the host has it merged the same way.
        if Path::new("/usr").join(name).exists() {
            symlink(format!("usr/{name}"), root.join(name))?;
        }
    }
    for path in FROM_HOST {
        copy(Path::new(path), &within(&root, path))?;
    }
    let mine = entry.files.iter().chain(FILES);
    for (path, text) in mine {
        let target = match path.strip_prefix("/usr/") {
            Some(rest) => usr.join(rest),
            None => within(&root, path),
        };
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder)?;
        }
        if !target.exists() {
            std::fs::write(target, text)?;
        }
    }
    for folder in entry.folders {
        std::fs::create_dir_all(within(&root, folder))?;
    }
    applets(entry, &usr)
}

/// Links busybox's applets: before the host's programs for busybox images, else only those the host lacks.
fn applets(entry: &Entry, usr: &Path) -> std::io::Result<()> {
    let Ok(output) = std::process::Command::new("/usr/bin/busybox").arg("--list").output() else {
        return Ok(());
    };
    for applet in String::from_utf8_lossy(&output.stdout).lines().map(str::trim) {
        let host_has = ["/usr/bin", "/usr/sbin"].iter().any(|folder| Path::new(folder).join(applet).exists());
        if applet.is_empty() || applet == "busybox" || (!entry.busybox && host_has) {
            continue;
        }
        symlink("/usr/bin/busybox", usr.join("local/bin").join(applet))?;
    }
    Ok(())
}

/// Copies a file or a folder, links as what they point to; what cannot be read by us is left out.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let Ok(kind) = std::fs::metadata(from) else { return Ok(()) };
    if kind.is_dir() {
        std::fs::create_dir_all(to)?;
        let Ok(files) = std::fs::read_dir(from) else { return Ok(()) };
        for file in files {
            let file = file?;
            let target = to.join(file.file_name());
            match std::fs::read_link(file.path()) {
                // Links into /usr stay links: that is the same /usr inside.
                Ok(link) if link.starts_with("/usr") => drop(symlink(link, target)),
                _ => copy(&file.path(), &target)?,
            }
        }
    } else if kind.is_file() {
        if let Some(folder) = to.parent() {
            std::fs::create_dir_all(folder)?;
        }
        if let Ok(bytes) = std::fs::read(from) {
            std::fs::write(to, bytes)?;
            std::fs::set_permissions(to, PermissionsExt::from_mode(0o644))?;
        }
    }
    Ok(())
}
