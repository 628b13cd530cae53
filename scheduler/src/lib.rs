//! knetsim-scheduler
