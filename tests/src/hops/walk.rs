//! Walking the table: hops run side by side as far as their rows allow, and are told of in the table's order.

use std::collections::HashMap;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::{Hop, Scene, Seen};
use crate::emulator::Emulator;

/// So many hops run at once: they wait more than they work, but the longest chain should not wait for the others.
const AT_ONCE: usize = 4;

/// What came of a hop.
enum Outcome {
    Done(anyhow::Result<Seen>, Duration),
    /// The hop it needed that did not go well.
    Missing(&'static str),
}

impl Outcome {
    fn went_well(&self) -> bool {
        matches!(self, Self::Done(Ok(_), _))
    }
}

/// Runs hops, each as soon as those it needs went well, and prints a line each; how many did not go well.
pub fn walk(emulator: &Emulator, hops: &'static [Hop]) -> usize {
    let begun = Instant::now();
    let scene = Arc::new(Scene::new(emulator.clone()));
    println!("{:<24} {:<7} {:>6}  COMMAND  =>  WHAT CAME BACK", "HOP", "RESULT", "TIME");
    let mut outcomes: HashMap<&'static str, Outcome> = HashMap::new();
    let mut waiting: Vec<&'static Hop> = hops.iter().collect();
    waiting.sort_by_key(|hop| std::cmp::Reverse(chain(hops, hop)));
    let mut told = 0;
    let mut running = 0;
    let (report, reports) = mpsc::channel();
    while told < hops.len() {
        // A hop starts a longer chain than those that need it, so one pass finds also what is missing because something
        // else is.
        waiting.retain(|hop| {
            let missing = hop.after.iter().find(|name| outcomes.get(*name).is_some_and(|o| !o.went_well()));
            if let Some(name) = missing {
                outcomes.insert(hop.name, Outcome::Missing(name));
                return false;
            }
            let ready = running < AT_ONCE && hop.after.iter().all(|name| outcomes.contains_key(name));
            if ready {
                running += 1;
                let (report, scene, hop) = (report.clone(), scene.clone(), *hop);
                thread::spawn(move || {
                    let begun = Instant::now();
                    let result = (hop.run)(&scene);
                    // The receiver is there until every hop has reported.
                    let _ = report.send((hop.name, Outcome::Done(result, begun.elapsed())));
                });
            }
            !ready
        });
        while let Some(hop) = hops.get(told)
            && let Some(outcome) = outcomes.get(hop.name)
        {
            tell(hop.name, outcome);
            told += 1;
        }
        if running > 0 {
            let Ok((name, outcome)) = reports.recv() else { break };
            running -= 1;
            outcomes.insert(name, outcome);
        }
    }
    let failed = hops.len() - outcomes.values().filter(|o| o.went_well()).count();
    let took = begun.elapsed().as_secs_f32();
    println!("{} hops in {took:.1} s, {} ok, {failed} failed", hops.len(), hops.len() - failed);
    failed
}

/// How long the hops that come one after the other from this one on last: the longest chain is begun first, for it decides
/// how long all of it takes.
fn chain(hops: &[Hop], hop: &Hop) -> usize {
    let next = hops.iter().filter(|next| next.after.contains(&hop.name));
    hop.lasts + next.map(|next| chain(hops, next)).max().unwrap_or(0)
}

fn tell(name: &str, outcome: &Outcome) {
    match outcome {
        Outcome::Done(Ok(Seen { command, saw }), took) => {
            println!("{name:<24} ok      {:>5.2}s  {command}  =>  {saw}", took.as_secs_f32());
        }
        Outcome::Done(Err(error), took) => println!("{name:<24} FAILED  {:>5.2}s  {error:#}", took.as_secs_f32()),
        Outcome::Missing(other) => println!("{name:<24} NOT RUN         it needs `{other}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::HOPS;

    #[test]
    fn a_row_needs_only_rows_above_it() {
        for (index, hop) in HOPS.iter().enumerate() {
            for name in hop.after {
                assert!(HOPS[..index].iter().any(|above| above.name == *name), "{} needs {name}", hop.name);
            }
            assert!(!HOPS[..index].iter().any(|above| above.name == hop.name), "{} stands twice", hop.name);
        }
    }
}
