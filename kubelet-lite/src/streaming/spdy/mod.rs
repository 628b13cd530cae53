//! SPDY/3.1, as much of it as upstream's `moby/spdystream` speaks: streams opened by the client, data both ways, half
//! closing, ping. There is no flow control, neither there nor here; queues are bounded by not reading on.

mod dictionary;
mod frame;
mod headers;
mod session;

pub use session::{Stream, StreamWriter, serve};
