//! Who is asked a second time: mutating webhooks and policies, when the object changed behind their back and they are willing
//! (upstream's `webhookReinvokeContext` and `policyReinvokeContext`).

use std::collections::BTreeSet;

use serde_json::Value;

#[derive(Default)]
pub struct Rounds {
    /// What the last of them left behind.
    last: Value,
    /// Asked already, and willing to be asked again.
    willing: BTreeSet<String>,
    /// To be asked again, because the object has changed since.
    due: BTreeSet<String>,
}

impl Rounds {
    /// A round begins with this object; `again`: the second.
    pub fn begin(&mut self, object: &Value, again: bool) {
        if again && self.last != *object {
            self.changed();
        }
    }

    /// Whether this one is to be asked now: who was not asked in the first round is not asked in the second either.
    #[must_use]
    pub fn asks(&self, key: &str, again: bool) -> bool {
        !again || self.due.contains(key)
    }

    /// The object was changed: who was asked before is to be asked again.
    pub fn changed(&mut self) {
        self.due.append(&mut self.willing);
    }

    /// This one was asked, and may be asked again.
    pub fn asked(&mut self, key: String) {
        self.willing.insert(key);
    }

    /// The round is over.
    pub fn end(&mut self, object: &Value) {
        self.last = object.clone();
    }
}
