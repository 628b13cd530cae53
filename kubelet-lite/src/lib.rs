//! knetsim-kubelet-lite
