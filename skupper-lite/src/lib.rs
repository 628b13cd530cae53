//! knetsim-skupper-lite
