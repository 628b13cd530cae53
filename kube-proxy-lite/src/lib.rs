//! knetsim-kube-proxy-lite
