//! knetsim-cni
