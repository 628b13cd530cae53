//! tokencleaner: tokens are removed when their time is over.

use std::sync::Arc;
use std::time::Duration;

use super::{expiration, is_token};
use crate::context::Context;
use crate::framework::meta::key_of;
use crate::framework::{Controller, Outcome, Queue, drive};

struct Cleaner {
    context: Arc<Context>,
}

pub fn start(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let on_secret = queue.clone();
    context.kinds.bootstrap_tokens.on_change(move |change| {
        if let Some(secret) = change.new {
            on_secret.add(key_of(&secret.metadata));
        }
    });
    drive(&context.gate(), &Arc::new(Cleaner { context: context.clone() }), &queue, 1);
}

impl Controller for Cleaner {
    const NAME: &'static str = "token-cleaner-controller";

    async fn sync(&self, key: &str) -> Outcome {
        let kind = &self.context.kinds.bootstrap_tokens;
        let Some(secret) = kind.get(key).filter(|secret| is_token(secret)) else { return Ok(None) };
        let Some(expires) = expiration(&secret) else { return Ok(None) };
        match Duration::try_from(expires.duration_since(self.context.now())) {
            Ok(left) if !left.is_zero() => Ok(Some(left)),
            _ => kind.delete(&secret.metadata, None).await.map(|()| None),
        }
    }
}
