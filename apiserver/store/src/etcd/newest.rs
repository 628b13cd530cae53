//! The newest revision, asked for by every linearizable read: one question to etcd answers all who came before it was put.
//!
//! A read may be answered from any state that was the newest at some moment between its call and its answer. So whoever
//! comes while a question is under way waits for the next one, and that one is for all of them.

use super::newest;
use crate::{Revision, StoreError};
use etcd_client::Client;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::runtime::Handle;
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
        let answer = {
            let mut waiting = self.waiting.lock();
            if std::mem::replace(&mut waiting.asking, true) {
                let (reader, answer) = oneshot::channel();
                waiting.readers.push(reader);
                Some(answer)
            } else {
                None
            }
        };
        let Some(answer) = answer else {
            // Whoever is alone asks themselves: nothing is handed from task to task.
            let _turn = Turn(self);
            return newest(&self.client).await;
        };
        let lost = |why: String| StoreError::Unavailable(anyhow::anyhow!(why));
        answer.await.map_err(|_| lost("the store was closed".into()))?.map_err(lost)
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

/// A reader's own question. At its end, and when the reader goes away before it, those who came meanwhile are asked for.
struct Turn<'a>(&'a Newest);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting.lock();
        if waiting.readers.is_empty() {
            waiting.asking = false;
            return;
        }
        match Handle::try_current() {
            // A task of its own: each of them may go away, too, and the others may not be left behind.
            Ok(runtime) => drop(runtime.spawn(self.0.clone().ask())),
            Err(_) => *waiting = Waiting::default(),
        }
    }
}
