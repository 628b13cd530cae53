//! The hops of the demo, in order. A hop runs one command that a person could type, says what came back, and fails with the
//! reason when it is not what upstream and physics demand.

mod clusters;
mod extending;
mod ingress;
mod leaving;
mod load;
mod nodes;
mod pods;
mod services;

use std::time::Instant;

use crate::emulator::Emulator;

/// What a hop shows when it went well: the command that tells the story, and what it said, in one line each.
pub struct Seen {
    pub command: String,
    pub saw: String,
}

/// Makes a [`Seen`].
fn seen(command: impl Into<String>, saw: impl Into<String>) -> anyhow::Result<Seen> {
    Ok(Seen { command: command.into(), saw: saw.into() })
}

/// One hop.
pub struct Hop {
    pub name: &'static str,
    pub run: fn(&Emulator) -> anyhow::Result<Seen>,
}

/// All hops but the last, which takes everything away again.
pub const HOPS: &[Hop] = &[
    Hop { name: "nodes of c0", run: |e| nodes::ready(e, "c0") },
    Hop { name: "nodes of c1", run: |e| nodes::ready(e, "c1") },
    Hop { name: "node to node", run: nodes::ping },
    Hop { name: "cluster to cluster", run: nodes::by_way_of_wan },
    Hop { name: "apply and roll out", run: pods::deploy },
    Hop { name: "one pod a worker", run: pods::spread },
    Hop { name: "pod to pod, same node", run: |e| pods::talk(e, true) },
    Hop { name: "pod to pod, across", run: |e| pods::talk(e, false) },
    Hop { name: "VXLAN on the wire", run: pods::vxlan },
    Hop { name: "logs", run: pods::logs },
    Hop { name: "logs, followed", run: pods::follow },
    Hop { name: "exec", run: pods::exec },
    Hop { name: "exec with a terminal", run: pods::terminal },
    Hop { name: "cp", run: pods::copy },
    Hop { name: "port-forward", run: pods::port_forward },
    Hop { name: "describe", run: pods::describe },
    Hop { name: "Service by name", run: services::by_name },
    Hop { name: "scale under load", run: services::scale },
    Hop { name: "delete under load", run: services::delete },
    Hop { name: "NodePort from outside", run: services::node_port },
    Hop { name: "Ingress from outside", run: ingress::paths },
    Hop { name: "Ingress edited", run: ingress::edit },
    Hop { name: "sites linked", run: clusters::link },
    Hop { name: "c1 asks c0", run: clusters::ask },
    Hop { name: "WAN cut", run: clusters::cut },
    Hop { name: "WAN mended", run: clusters::mend },
    Hop { name: "a kind of one's own", run: extending::custom_kind },
    Hop { name: "controller outside", run: extending::controller_outside },
    Hop { name: "controller as a pod", run: extending::controller_inside },
];

/// Deletes what the hops made, and looks for leftovers.
pub const LEAVE: Hop = Hop { name: "all deleted", run: leaving::nothing_left };

/// Runs hops one after the other and prints a line each; how many failed.
pub fn walk(emulator: &Emulator, hops: &[Hop]) -> usize {
    let mut failed = 0;
    println!("{:<24} {:<6} {:>6}  COMMAND  =>  WHAT CAME BACK", "HOP", "RESULT", "TIME");
    for hop in hops {
        let begun = Instant::now();
        let result = (hop.run)(emulator);
        let took = begun.elapsed().as_secs_f32();
        match result {
            Ok(Seen { command, saw }) => println!("{:<24} ok     {took:>5.2}s  {command}  =>  {saw}", hop.name),
            Err(error) => {
                failed += 1;
                println!("{:<24} FAILED {took:>5.2}s  {error:#}", hop.name);
            }
        }
    }
    println!("{} hops, {} ok, {failed} failed", hops.len(), hops.len() - failed);
    failed
}
