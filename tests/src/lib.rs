//! A running emulator as its users see it: the real kubectl, the knetsim command line, and nothing else.
//!
//! [`emulator`] starts and stops one; [`hops`] are the steps of the demo, each a command and what must come of it. The demo
//! prints them as a table, and the end-to-end tests run the very same ones.

pub mod emulator;
pub mod exercises;
pub mod hops;
pub mod image;
pub mod registry;
pub mod session;
pub mod shell;
