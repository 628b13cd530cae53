//! A system call that cannot succeed but need not fail.
//!
//! In a user namespace with a single id, setgroups(2) is denied for good (user_namespaces(7)), though there is no group to
//! give up: programs that drop supplementary groups before they work (tcpdump, nginx) would end there. For them the call
//! succeeds and does nothing, which is the truth: afterwards they have no group more than before.

use std::io;

/// Makes setgroups(2) succeed without effect, for this process and all its descendants. Needs CAP_SYS_ADMIN in the
/// process's user namespace.
///
/// # Errors
/// When the kernel has no seccomp filters.
pub fn setgroups_does_nothing() -> io::Result<()> {
    // Offsets of `nr` and `arch` in struct seccomp_data.
    const NR: u32 = 0;
    const ARCH: u32 = 4;
    #[cfg(target_arch = "x86_64")]
    const OWN_ARCH: u32 = 0xc000_003e;
    #[cfg(target_arch = "aarch64")]
    const OWN_ARCH: u32 = 0xc000_00b7;
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let setgroups = u32::try_from(libc::SYS_setgroups).map_err(io::Error::other)?;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        step(LOAD, 0, 0, ARCH),
        step(EQUAL, 0, 2, OWN_ARCH),
        step(LOAD, 0, 0, NR),
        step(EQUAL, 1, 0, setgroups),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        // An error number of 0 is success.
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO),
    ];
    let length = u16::try_from(program.len()).map_err(io::Error::other)?;
    let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: the program and its header live until the call returns; the kernel copies both.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &filter) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    #[test]
    fn groups_are_given_up_without_complaint() {
        crate::testing::in_namespace("seccomp::tests::groups_are_given_up_without_complaint", || {
            // `unshare --map-root-user` denies setgroups, as the kernel wants it of an ordinary user's single id.
            let give_up = || Command::new("setpriv").args(["--clear-groups", "true"]).status().unwrap().success();
            assert!(!give_up(), "setgroups is denied here");
            super::setgroups_does_nothing().unwrap();
            assert!(give_up());
        });
    }
}
