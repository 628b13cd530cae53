//! placeholder
use std::sync::Arc;
pub async fn listen(_node: Arc<crate::node::Node>, _registry: crate::pod::registry::Registry) -> anyhow::Result<impl Future<Output = anyhow::Result<()>>> { Ok(std::future::pending()) }
