//! knetsim-tests
