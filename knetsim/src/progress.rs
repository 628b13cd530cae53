//! What happens while the emulator starts, from the launcher to `knetsim up`: one JSON line a step on a pipe.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

/// One thing that has come about, or gone wrong.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Bridges, router and node namespaces are there.
    Network,
    /// A process of a cluster said that it is ready.
    Ready { cluster: String, component: String },
    /// A process ended and is started again.
    Restarted { component: String, why: String },
    /// The launcher gives up.
    Failed { why: String },
}

/// The launcher's end of the pipe. When `up` has gone, reports go nowhere.
#[derive(Clone)]
pub struct Progress {
    out: Arc<Mutex<Option<std::io::Stdout>>>,
}

impl Progress {
    #[must_use]
    pub fn to_stdout() -> Self {
        Self { out: Arc::new(Mutex::new(Some(std::io::stdout()))) }
    }

    pub fn report(&self, step: Step) {
        tracing::info!(?step, "progress");
        let line = serde_json::to_string(&step).expect("a step is plain data");
        let mut out = self.out.lock().expect("no code panics while holding this lock");
        if out.as_mut().is_some_and(|pipe| writeln!(pipe, "{line}").and_then(|()| pipe.flush()).is_err()) {
            *out = None;
        }
    }
}
