//! From nothing to usable, and what it weighs then.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use knetsim_tests::emulator::Emulator;
use knetsim_tests::hops::{HOPS, walk};

use crate::stats::row;

/// `up` to all nodes Ready, to its end, to DNS answering, and to the demo all green, cold and warm; leaves the emulator running.
pub fn measure(emulator: &Emulator, runs: usize) -> anyhow::Result<()> {
    let (mut ready, mut total, mut dns, mut demo, mut again) = (vec![], vec![], vec![], vec![], vec![]);
    for run in 0..runs {
        if run > 0 {
            emulator.knetsim(&["down", "--delete-data"])?;
        }
        let begun = Instant::now();
        let up = emulator.knetsim(&["up"])?;
        total.push(begun.elapsed().as_secs_f64() * 1000.0);
        // `up` says of every node when it became Ready.
        let last = up
            .lines()
            .filter(|l| l.contains(": node ") && l.ends_with("is Ready"))
            .filter_map(|l| l.split_whitespace().next()?.parse::<f64>().ok());
        ready.push(last.fold(f64::NAN, f64::max) * 1000.0);
        emulator.knetsim(&[
            "exec",
            "c0w1",
            "--",
            "sh",
            "-c",
            "until nslookup -timeout=1 kubernetes.default.svc.cluster.local 10.96.0.10 >/dev/null; do :; done",
        ])?;
        dns.push(begun.elapsed().as_secs_f64() * 1000.0);
        // As `make demo` does it.
        emulator.knetsim(&["down", "--delete-data"])?;
        let begun = Instant::now();
        emulator.knetsim(&["up"])?;
        anyhow::ensure!(walk(emulator, HOPS) == 0, "the demo is not green");
        demo.push(begun.elapsed().as_secs_f64() * 1000.0);
        let begun = Instant::now();
        anyhow::ensure!(walk(emulator, HOPS) == 0, "the demo is not green when it is walked again");
        again.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    println!();
    row("up: all 8 nodes Ready", &ready, "ms");
    row("up: system Deployments available", &total, "ms");
    row("up: cluster DNS answers", &dns, "ms");
    row("up and every hop of the demo green", &demo, "ms");
    row("every hop again, with the emulator up", &again, "ms");
    Ok(())
}

/// Proportional set size of every process of the emulator, summed by program.
pub fn weight(emulator: &Emulator) -> anyhow::Result<()> {
    emulator.kubectl("c0", &["delete", "namespace", "demo", "--ignore-not-found"])?;
    emulator.kubectl("c1", &["delete", "namespace", "demo", "--ignore-not-found"])?;
    let script = "for p in /proc/[0-9]*; do printf '%s\\t' \"$(tr '\\0' ' ' <$p/cmdline | cut -c1-120)\"; \
                  awk '/^Pss:/{print $2}' $p/smaps_rollup; done 2>/dev/null";
    let output = emulator.try_knetsim(&["exec", "c0w1", "--", "sh", "-c", script])?;
    let mut by_program: BTreeMap<String, (usize, u64)> = BTreeMap::new();
    for line in output.lines() {
        let Some((command, pss)) = line.split_once('\t') else { continue };
        let Ok(pss) = pss.trim().parse::<u64>() else { continue };
        let mut words = command.split_whitespace();
        let program = words.next().map(|w| w.rsplit('/').next().unwrap_or(w).to_owned()).unwrap_or_default();
        let name = if program == "knetsim" { words.next().unwrap_or("?").to_owned() } else { program };
        let entry = by_program.entry(name).or_default();
        *entry = (entry.0 + 1, entry.1 + pss);
    }
    let total: u64 = by_program.values().map(|(_, pss)| pss).sum();
    println!("\nPSS at idle, both clusters: {} MiB", total / 1024);
    for (name, (count, pss)) in by_program {
        println!("  {name:<24} {count:>3} processes {:>7} KiB", pss);
    }
    println!("  (host: {})", fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim());
    Ok(())
}
