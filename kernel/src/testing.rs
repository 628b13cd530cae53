//! The fixture of all kernel tests: a test body that runs in namespaces of its own.
//!
//! [`in_namespace`] re-runs the test binary, filtered to the calling test, below `unshare`: a user namespace in which it
//! is root, and private network, mount and PID namespaces with empty tmpfs at /run. So kernel tests need no privileges,
//! cannot touch the host, run in parallel, and leave nothing behind even when they are killed.

use std::process::Command;

const MARK: &str = "KNETSIM_TEST_NAMESPACE";

/// Runs `body` in fresh namespaces. `test` is the calling test's full path (`module_path!` without the crate, then the
/// function), as libtest prints it.
///
/// Where the machine forbids user namespaces or misses a tool, the test says so and counts as skipped.
///
/// # Panics
/// When `body` panicked inside.
pub fn in_namespace(test: &str, body: impl FnOnce()) {
    if std::env::var_os(MARK).is_some() {
        return body();
    }
    if let Err(why) = available() {
        return skip(test, &why);
    }
    let exe = std::env::current_exe().expect("a running test has a path");
    let script = "mount -t tmpfs tmpfs /run && mkdir -p /run/netns && ip link set lo up && exec \"$@\"";
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-c", script, "sh"])
        .arg(exe)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(MARK, "1")
        .status()
        .expect("unshare was found a moment ago");
    assert!(status.success(), "{test} failed inside its namespaces");
}

/// Runs a shell script, which must succeed; gives what it printed.
///
/// # Panics
/// With the script and its words when it fails.
pub fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().expect("sh runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{script}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Starts `body` on a thread of its own in the named network namespace.
pub fn enter<T: Send + 'static>(netns: &str, body: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
    let netns = crate::netns::Netns::open(netns).expect("the namespace was made");
    std::thread::spawn(move || {
        let flag = nix::sched::CloneFlags::CLONE_NEWNET;
        nix::sched::setns(std::os::fd::AsFd::as_fd(&netns), flag).expect("root in the user namespace");
        body()
    })
}

/// Runs `body` in the named network namespace, to its end.
///
/// # Panics
/// When `body` does.
pub fn within<T: Send + 'static>(netns: &str, body: impl FnOnce() -> T + Send + 'static) -> T {
    enter(netns, body).join().expect("the thread ended well")
}

/// Says by name that a test did not run, and why. CI counts these lines; they are never counted as passed.
pub fn skip(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
}

fn available() -> Result<(), String> {
    let probe = Command::new("unshare").args(["--user", "--map-root-user", "--net", "--mount", "true"]).output();
    match probe {
        Ok(output) if output.status.success() => {}
        Ok(output) => return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => return Err(format!("cannot run unshare (package util-linux): {error}")),
    }
    match Command::new("ip").arg("-V").output() {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("cannot run ip (package iproute2): {error}")),
    }
}
