//! The newest revision, asked for by every linearizable read: one question to etcd answers all who came before it was put.
//!
//! A read may be answered from any state that was the newest at some moment between its call and its answer. So whoever
//! comes while a question is under way waits for the next one, and that one is for all of them.

use super::newest;
use crate::{Revision, StoreError};
use etcd_client::Client;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::oneshot;

#[derive(Clone)]
pub(super) struct Newest {
    client: Client,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    /// A task is asking, and will ask again for those who wait.
    asking: bool,
    readers: Vec<oneshot::Sender<Result<Revision, String>>>,
}

impl Newest {
    pub fn new(client: Client) -> Self {
        Self { client, waiting: Arc::default() }
    }

    pub async fn get(&self) -> Result<Revision, StoreError> {
        let (answer, revision) = oneshot::channel();
        let begin = {
            let mut waiting = self.waiting.lock();
            waiting.readers.push(answer);
            !std::mem::replace(&mut waiting.asking, true)
        };
        if begin {
            // A task of its own: a reader may go away, those who wait with it may not be left behind.
            tokio::spawn(self.clone().ask());
        }
        let lost = |why: String| StoreError::Unavailable(anyhow::anyhow!(why));
        revision.await.map_err(|_| lost("the store was closed".into()))?.map_err(lost)
    }

    async fn ask(self) {
        loop {
            let readers = {
                let mut waiting = self.waiting.lock();
                if waiting.readers.is_empty() {
                    waiting.asking = false;
                    return;
                }
                std::mem::take(&mut waiting.readers)
            };
            let answer = newest(&self.client).await.map_err(|error| match error {
                StoreError::Unavailable(why) => format!("{why:#}"),
                other => other.to_string(),
            });
            for reader in readers {
                // Whoever is gone does not want it.
                let _ = reader.send(answer.clone());
            }
        }
    }
}
