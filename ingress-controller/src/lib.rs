//! knetsim-ingress-controller
