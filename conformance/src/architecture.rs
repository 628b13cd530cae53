//! sig-architecture: the cluster the specs run on.

use serde_json::Value;

use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-architecture] Conformance Tests should have at least two untainted nodes [Conformance]" => untainted_nodes,
}

async fn untainted_nodes(t: Test) -> anyhow::Result<()> {
    let nodes = t.everywhere("v1", "nodes").items("").await?;
    let usable = |node: &&Value| {
        let conditions = node["status"]["conditions"].as_array();
        let ready = conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
        ready && node["spec"]["taints"].as_array().is_none_or(Vec::is_empty)
    };
    let count = nodes.iter().filter(usable).count();
    expect::that(count >= 2, || format!("{count} of {} nodes are Ready and untainted", nodes.len()))
}
