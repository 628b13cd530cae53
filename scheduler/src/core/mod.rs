//! The pure part of scheduling: what pods ask for, what nodes have, who fits where and where best.
//!
//! ```text
//!  Pod ──► PodInfo (parsed once)      Node ──► NodeInfo (+ the pods on it)      all NodeInfos ──► Cluster
//!  filter: which nodes can take the pod, and why not the others ──► diagnosis (what the Event says)
//!  score:  which of these is best                                preempt: whom to evict when none is left
//! ```
//!
//! Nothing here copies the cluster: a pod is judged against the live [`Cluster`](cluster::Cluster), whose cost per change is
//! that of the one node it touches.

pub mod budget;
pub mod cluster;
pub mod diagnosis;
pub mod filter;
pub mod interpod;
pub mod matching;
pub mod node;
pub mod pod;
pub mod preempt;
pub mod resources;
pub mod score;
pub mod spread;
#[cfg(test)]
mod tests;
pub mod volumes;
