//! knetsim-network-policy
