//! From a container in a pod's spec to a bundle that the runtime can start.
//!
//! [`env`] and [`expand`] make its environment, [`user`] finds who it runs as, [`resources`] reads quantities,
//! [`read_only`] says how far a mount is so, [`prepare`] puts all of it and the image's root together.

pub mod env;
pub mod expand;
pub mod fields;
pub mod prepare;
pub mod read_only;
pub mod resources;
pub mod user;
