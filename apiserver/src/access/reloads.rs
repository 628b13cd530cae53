//! What is counted of files that are read again when they change: of those that say who is believed, who may do what,
//! and how objects are stored.

use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use crate::app::App;
use crate::metrics::Family;

/// Counts a reload in `times`, and notes in `last` when it was.
pub fn note(app: &App, times: &Family, last: &Family, done: bool) {
    let hash = server(app);
    let labels = [hash.as_str(), if done { "success" } else { "failure" }];
    times.increase(&labels);
    last.set(&labels, SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()));
}

/// This server, as such series name it.
pub fn server(app: &App) -> String {
    let server = format!("{}:{}", app.options.advertised(), app.options.secure_port);
    let hash: String = Sha256::digest(server).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hash}")
}
