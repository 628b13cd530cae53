//! knetsim-apiserver
