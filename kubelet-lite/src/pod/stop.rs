//! Ending a container: preStop hook, its stop signal, the grace period, SIGKILL.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::actor::Event;
use crate::node::Node;
use crate::probes;

const SIGKILL: i32 = 9;

/// What ending one container needs.
pub struct Stop {
    pub container: Container,
    pub id: String,
    pub pod_ip: String,
    pub signal: i32,
    pub grace: Duration,
}

/// Takes the container through its end; signals go through the actor, which is told whose they are.
pub async fn run(node: Arc<Node>, stop: Stop, events: mpsc::UnboundedSender<Event>) {
    let deadline = Instant::now() + stop.grace;
    if let Some(hook) = stop.container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref())
        && !stop.grace.is_zero()
        && let Err(message) = hook_within(&node, hook, &stop, stop.grace).await
    {
        let _ = events.send(Event::HookFailed { name: stop.container.name.clone(), hook: "PreStop", message });
    }
    // However long the hook took, the program gets a moment to hear its signal (upstream's minimum is 2 s).
    let least = Duration::from_secs(if stop.grace.is_zero() { 0 } else { 2 });
    let left = deadline.saturating_duration_since(Instant::now()).max(least);
    if !left.is_zero() {
        let _ = events.send(Event::Signal { id: stop.id.clone(), signal: stop.signal });
        tokio::time::sleep(left).await;
    }
    let _ = events.send(Event::Signal { id: stop.id, signal: SIGKILL });
}

async fn hook_within(node: &Node, hook: &LifecycleHandler, stop: &Stop, limit: Duration) -> Result<(), String> {
    match tokio::time::timeout(limit, probes::hook(node, hook, &stop.container, &stop.id, &stop.pod_ip, limit)).await {
        Ok(result) => result,
        Err(_) => Err(format!("the hook did not end within {} s", limit.as_secs())),
    }
}

/// A signal's number by name, as images and containers name it.
#[must_use]
pub fn signal_number(name: &str) -> Option<i32> {
    let name = if name.starts_with("SIG") { name.to_owned() } else { format!("SIG{name}") };
    name.parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32).or_else(|| name[3..].parse().ok())
}
