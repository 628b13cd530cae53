//! greeting-controller
