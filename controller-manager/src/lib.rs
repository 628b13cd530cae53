//! knetsim-controller-manager
