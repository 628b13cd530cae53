//! sig-node.
