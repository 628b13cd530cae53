//! Linux capabilities as containerd grants them.

/// What every container gets.
pub const DEFAULT: &[&str] = &[
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
    "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
];

/// What a privileged container gets: all there are.
pub const ALL: &[&str] = &[
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
    "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
];

/// The set after `add` and `drop` (without or with the `CAP_` prefix; `ALL` is all), adds winning over drops except when
/// both name the same one, as upstream.
#[must_use]
pub fn resolve(privileged: bool, add: &[String], drop: &[String]) -> Vec<String> {
    let canonical = |name: &String| {
        let upper = name.to_ascii_uppercase();
        if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") }
    };
    let (add, drop): (Vec<_>, Vec<_>) = (add.iter().map(canonical).collect(), drop.iter().map(canonical).collect());
    let all = "CAP_ALL".to_owned();
    let base: &[&str] = match () {
        () if privileged || add.contains(&all) => ALL,
        () if drop.contains(&all) => &[],
        () => DEFAULT,
    };
    let mut set: Vec<String> = base.iter().map(|name| (*name).to_owned()).collect();
    for name in add.iter().filter(|name| **name != all && ALL.contains(&name.as_str())) {
        if !set.contains(name) {
            set.push(name.clone());
        }
    }
    set.retain(|name| !drop.contains(name) || (drop.contains(&all) && add.contains(name)));
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_and_drops() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(resolve(false, &[], &[]).len(), DEFAULT.len());
        assert_eq!(resolve(false, &names(&["NET_ADMIN"]), &names(&["ALL"])), ["CAP_NET_ADMIN"]);
        assert!(!resolve(false, &[], &names(&["net_raw"])).contains(&"CAP_NET_RAW".to_owned()));
        assert_eq!(resolve(true, &[], &[]).len(), ALL.len());
        assert_eq!(resolve(false, &names(&["all"]), &[]).len(), ALL.len());
    }
}
