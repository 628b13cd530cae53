//! What must be there before anything starts: tools (scripts/packages.txt) and kernel features.
//!
//! Everything missing is named in one go, one line each, with the package or setting that brings it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::topology::{Plan, Store};

/// The one list of packages, shared with the installation script.
const PACKAGES: &str = include_str!("../../scripts/packages.txt");

/// A line of the list.
#[derive(Debug, PartialEq, Eq)]
struct Requirement {
    package: &'static str,
    /// A command, or a file where it begins with a slash.
    file: &'static str,
    need: &'static str,
}

fn requirements() -> impl Iterator<Item = Requirement> {
    PACKAGES.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut columns = line.split_whitespace();
        Some(Requirement { package: columns.next()?, file: columns.next()?, need: columns.next()? })
    })
}

/// Where programs are found: the caller's PATH, and the system folders that an ordinary user's PATH may lack.
#[must_use]
pub fn search_path() -> String {
    let own = std::env::var("PATH").unwrap_or_default();
    format!("{own}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}

/// The first program of that name on [`search_path`].
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    search_path().split(':').filter(|d| !d.is_empty()).map(|dir| Path::new(dir).join(program)).find(|p| p.is_file())
}

/// All that is missing; empty when everything is there.
#[must_use]
pub fn missing(plan: &Plan) -> Vec<String> {
    let etcd = plan.clusters.iter().any(|cluster| cluster.store == Store::Etcd);
    let needed = [("run", true), ("etcd", etcd), ("pull", plan.pull)];
    let tools = requirements()
        .filter(|r| needed.contains(&(r.need, true)))
        // Without it an ordinary user has one user id, which is enough.
        .filter(|r| r.package != "uidmap")
        .filter(|r| if r.file.starts_with('/') { !Path::new(r.file).exists() } else { find(r.file).is_none() })
        .map(|r| format!("{} is missing: install the package {}", r.file, r.package));
    tools.chain(kernel()).collect()
}

/// Kernel features, each probed for real in a throw-away sandbox.
fn kernel() -> Vec<String> {
    const PROBES: [(&str, &str, &str); 6] = [
        ("network namespaces with veth", "ip link add knet0 type veth peer name knet1", "kernel module veth"),
        ("bridges", "ip link add knet2 type bridge", "kernel module bridge"),
        ("vxlan", "ip link add knet3 type vxlan id 1 dstport 8472", "kernel module vxlan"),
        (
            "nftables with NAT",
            "nft add table ip k '{ chain c { type nat hook output priority -100; }; }'",
            "kernel modules nf_tables and nft_chain_nat",
        ),
        ("tmpfs mounts", "mount -t tmpfs tmpfs /mnt", "unprivileged mounts"),
        (
            "overlay mounts",
            "mount -t tmpfs tmpfs /mnt && mkdir /mnt/l /mnt/u /mnt/w && mount -t overlay overlay -o lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w /mnt",
            "kernel 5.11 or newer with module overlay",
        ),
    ];
    let inside = |script: &str| {
        Command::new("unshare")
            .args(["--user", "--map-root-user", "--net", "--mount", "sh", "-c", script])
            .env("PATH", search_path())
            .output()
    };
    // One sandbox for the usual case that all is there; one each to name what is not.
    let all: Vec<_> = PROBES.iter().map(|(_, script, _)| *script).collect();
    if inside(&all.join(" && ")).is_ok_and(|output| output.status.success()) {
        return Vec::new();
    }
    match inside("true") {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            return vec![format!(
                "user namespaces are not allowed here ({}): see sysctl user.max_user_namespaces, \
                 kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns",
                String::from_utf8_lossy(&output.stderr).trim()
            )];
        }
        Err(error) => return vec![format!("cannot run unshare ({error}): install the package util-linux")],
    }
    PROBES
        .iter()
        .filter(|(_, script, _)| !inside(script).is_ok_and(|output| output.status.success()))
        .map(|(what, _, needs)| format!("this kernel does not give us {what}: needs {needs}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_well_formed() {
        let rows: Vec<_> = requirements().collect();
        assert!(rows.len() > 10);
        for row in &rows {
            assert!(["build", "run", "etcd", "pull", "tools", "test"].contains(&row.need), "{row:?}");
        }
        assert!(rows.iter().any(|r| r.package == "runc" && r.file == "runc"));
    }
}
