//! `knetsim status`: one look at everything.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams};

use crate::launcher::control::{Answer, Request, ask};
use crate::layout::Layout;
use crate::topology::Plan;

/// How long an API server may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// # Errors
/// When nothing is running.
pub fn run(layout: &Layout) -> anyhow::Result<()> {
    let launcher = super::running(layout)?;
    let plan = layout.read_plan()?;
    println!(
        "knetsim {} is running (pid {}), data folder {}",
        env!("CARGO_PKG_VERSION"),
        launcher.pid,
        layout.root().display()
    );
    println!("KUBECONFIG={}", layout.kubeconfig().display());
    runtime::block_on(show(layout, &plan))
}

async fn show(layout: &Layout, plan: &Plan) -> anyhow::Result<()> {
    let Answer::Status { services, cuts, lacks } = ask(layout, &Request::Status).await? else {
        anyhow::bail!("the launcher gave an answer to another question");
    };
    for what in &lacks {
        println!("{what}");
    }
    for cluster in &plan.clusters {
        println!(
            "\ncluster {}  https://127.0.0.1:{}  store {:?}  pods {}  services {}",
            cluster.name, cluster.api_port, cluster.store, cluster.pod_cidr, cluster.service_cidr
        );
        let found = tokio::time::timeout(PATIENCE, nodes(layout, &cluster.name)).await;
        match found.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {} s", PATIENCE.as_secs()))) {
            Ok(states) => {
                println!("  {:<20}{:<14}{:<10}{:<6}", "NODE", "ADDRESS", "STATUS", "PODS");
                for node in &cluster.nodes {
                    let (ready, pods) = states.get(&node.name).cloned().unwrap_or(("Unknown".into(), 0));
                    println!("  {:<20}{:<14}{ready:<10}{pods:<6}", node.name, node.address.to_string());
                }
            }
            Err(error) => println!("  the API server does not answer: {error:#}"),
        }
        println!("  {:<28}{:<8}{:<10}LAST EXIT", "PROCESS", "PID", "RESTARTS");
        for (name, state) in services.iter().filter(|(name, _)| name.starts_with(&format!("{}/", cluster.name))) {
            let pid = state.pid.map_or("-".to_owned(), |pid| pid.to_string());
            println!("  {name:<28}{pid:<8}{:<10}{}", state.restarts, state.last_exit.as_deref().unwrap_or(""));
        }
    }
    for cut in &cuts {
        println!("\ncut: {} and {} (mend with `knetsim net mend {} {}`)", cut.0, cut.1, cut.0, cut.1);
    }
    Ok(())
}

/// Per node: its Ready condition in kubectl's words, and how many pods it has.
async fn nodes(layout: &Layout, context: &str) -> anyhow::Result<BTreeMap<String, (String, usize)>> {
    let client = super::system::client(layout, Some(context)).await?;
    let pods = Api::<Pod>::all(client.clone()).list(&ListParams::default()).await?;
    let nodes = Api::<Node>::all(client).list(&ListParams::default()).await?;
    Ok(nodes
        .into_iter()
        .map(|node| {
            let name = node.metadata.name.unwrap_or_default();
            let conditions = node.status.and_then(|s| s.conditions).unwrap_or_default();
            let ready = conditions
                .iter()
                .find(|c| c.type_ == "Ready")
                .map_or("Unknown", |c| if c.status == "True" { "Ready" } else { "NotReady" });
            let on_it = pods.iter().filter(|p| p.spec.as_ref().is_some_and(|s| s.node_name.as_ref() == Some(&name)));
            let pods = on_it.count();
            (name, (ready.to_owned(), pods))
        })
        .collect())
}
