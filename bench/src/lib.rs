//! knetsim-bench
