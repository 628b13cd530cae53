//! What this machine has and lets us do: read once at start.

use crate::flags::Flags;
use crate::oci_runtime::cgroup::Cgroup;
use crate::oci_runtime::spec::Sysfs;

/// Facts about the machine.
#[derive(Clone, Debug)]
pub struct Machine {
    pub cpus: usize,
    pub memory_kib: u64,
    pub disk_bytes: u64,
    pub kernel: String,
    pub os_image: String,
    pub machine_id: String,
    pub boot_id: String,
    pub runc_version: String,
    pub sysfs: Sysfs,
    /// Every user ID up to this can be used in a container; 1 when only root is mapped.
    pub mapped_uids: u64,
    /// Where containers get their limits.
    pub cgroup: Option<Cgroup>,
    /// Why they have none; `None` when they have.
    pub limits_off: Option<String>,
}

impl Machine {
    /// Looks around; what cannot be read gets upstream's neutral value.
    #[must_use]
    pub fn look(flags: &Flags) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let memory = read("/proc/meminfo");
        let memory_kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let memory_kib = memory_kib.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0);
        let disk =
            nix::sys::statvfs::statvfs(&flags.root_dir).map(|stat| stat.blocks() * stat.fragment_size()).unwrap_or(0);
        let release = read("/etc/os-release");
        let (cgroup, limits_off) = match &flags.cgroup_root {
            Some(root) => match Cgroup::below(root) {
                Ok(cgroup) => (Some(cgroup), None),
                Err(why) => (None, Some(why)),
            },
            None => (None, Some(flags.limits_off.clone().unwrap_or_else(|| "there is no --cgroup-root".to_owned()))),
        };
        let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        Self {
            cpus: std::thread::available_parallelism().map_or(1, Into::into),
            memory_kib,
            disk_bytes: disk,
            kernel: read("/proc/sys/kernel/osrelease"),
            os_image: name.unwrap_or("Linux").trim_matches('"').to_owned(),
            machine_id: read("/etc/machine-id"),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            runc_version: runc_version(),
            sysfs: probe_sysfs(),
            mapped_uids: mapped(&read("/proc/self/uid_map")),
            cgroup,
            limits_off,
        }
    }
}

fn runc_version() -> String {
    let output = std::process::Command::new("runc").arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let version = text.split_whitespace().nth(2).unwrap_or("unknown");
    version.split('+').next().unwrap_or(version).to_owned()
}

/// How many IDs from 0 on are mapped in a row.
fn mapped(uid_map: &str) -> u64 {
    let mut ranges: Vec<(u64, u64)> = uid_map
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().filter_map(|number| number.parse().ok());
            let (inside, _, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
            Some((inside, count))
        })
        .collect();
    ranges.sort_unstable();
    ranges.iter().fold(0, |next, (inside, count)| if *inside == next { next + count } else { next })
}

/// Tries to mount a sysfs of a new network namespace, in a child that then goes away with the mount.
fn probe_sysfs() -> Sysfs {
    let script =
        "d=$(mktemp -d) && mount -t sysfs -o ro sysfs $d; code=$?; umount $d 2>/dev/null; rmdir $d; exit $code";
    let output = std::process::Command::new("unshare").args(["--net", "--mount", "sh", "-c", script]).output();
    match output {
        Ok(output) if output.status.success() => Sysfs::Own,
        _ => {
            tracing::info!("the kernel gives no sysfs of a pod's own: pods see the node's /sys");
            Sysfs::Bind
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_user_ids_are_counted_from_zero() {
        assert_eq!(mapped("         0       1001          1"), 1);
        assert_eq!(mapped("0 1001 1\n1 100000 65536"), 65537);
        assert_eq!(mapped("0 0 4294967295"), 4_294_967_295);
        assert_eq!(mapped("5 1 1"), 0);
    }
}
