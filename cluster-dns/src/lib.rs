//! knetsim-cluster-dns
