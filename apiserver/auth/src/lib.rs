//! knetsim-auth
