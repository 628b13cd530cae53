//! Programs written with the client libraries of other languages, against an emulator that they can't tell from any cluster.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use knetsim_tests::session::{Session, check};
use knetsim_tests::shell;

/// Installing may take a slow network a while; a program takes seconds.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(400), Duration::from_secs(120));

#[test]
fn other_languages_clients_work_unchanged() {
    check(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
        let session = Session::new(None)?;
        let emulator = &session.emulator;
        let installed = emulator.binary.with_file_name("clients");
        shell::run(Command::new(source.join("setup.sh")).arg(&installed), PATIENCE.0)?.ok()?;
        session.up(&[])?;
        let python = installed.join("venv/bin/python");
        for (program, file) in [
            (python.as_path(), source.join("python/lifecycle.py")),
            (&python, source.join("python/parcels.py")),
            (Path::new("node"), installed.join("lifecycle.mjs")),
            (Path::new("bash"), source.join("helm/lifecycle.sh")),
        ] {
            let ran = shell::run(&mut emulator.command(program, &[&file.to_string_lossy()]), PATIENCE.1)?.ok()?;
            ensure!(ran.stdout.ends_with("ok\n"), "{}: {}", ran.command, ran.stdout);
            println!("{} ok", ran.command);
        }
        emulator.knetsim(&["down"])?;
        session.nothing_left()
    });
}
