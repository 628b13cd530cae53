//! What became of a container's bundle: its images above all, and those of its volumes.

use std::time::Duration;

use runtime::events::EventType;

use super::{Actor, millis, now};
use crate::container::prepare::{self, Prepared};
use crate::pause::protocol::Request;
use crate::pod::setup;
use crate::pod::state::{Run, Waiting, named};
use crate::volumes::image;

impl Actor {
    /// What became of the images that are volumes is said of the pod, whoever mounts them.
    pub(super) fn tell_images(&self, images: &[image::Found]) {
        for found in images {
            let events = match &found.image {
                Ok(had) => had.events(&found.reference),
                Err(refused) => refused.events(),
            };
            for (kind, reason, text) in events {
                self.event(None, kind, reason, text);
            }
        }
    }

    pub(super) async fn take_prepared(&mut self, name: &str, attempt: u32, result: Result<Prepared, prepare::Error>) {
        let image = named(self.spec(), name).and_then(|container| container.image.clone()).unwrap_or_default();
        match result {
            Ok(prepared) => {
                if self.ground.is_none() || self.state.terminating {
                    self.state.entry(name).run = Run::Idle;
                    let (node, start) = (self.node.clone(), prepared.start);
                    tokio::spawn(async move { setup::free_container(&node, &start.bundle, &start.id).await });
                    return;
                }
                for (kind, reason, text) in prepared.image.events(&image) {
                    self.event(Some(name), kind, reason, text);
                }
                let image = &prepared.image.image;
                if let Some(uid) = prepared.instead_of {
                    let text = format!(
                        "user {uid} is not mapped into this user namespace: the container runs as root of it instead"
                    );
                    self.event(Some(name), EventType::Warning, "UserNotMapped", text);
                }
                let tracked = self.state.entry(name);
                tracked.image.clone_from(&image.name);
                tracked.image_id.clone_from(&image.id);
                tracked.attempt = attempt;
                tracked.resized = None;
                tracked.resizing = false;
                tracked.refusals = 0;
                tracked.waiting = None;
                tracked.run = Run::Starting { id: prepared.start.id.clone() };
                self.event(Some(name), EventType::Normal, "Created", "Container created");
                self.request(&Request::Start(prepared.start)).await;
            }
            Err(error) => {
                let tracked = self.state.entry(name);
                tracked.run = tracked.last.take().map_or(Run::Idle, Run::Ended);
                let first = tracked.refusals == 0;
                tracked.refusals += 1;
                let refused = match &error {
                    prepare::Error::Image(refused) | prepare::Error::Volume(refused) => Some(refused),
                    prepare::Error::Config(_) | prepare::Error::Create(_) => None,
                };
                let delay = if refused.is_some() {
                    self.node.backoff.after(tracked.refusals)
                } else {
                    Duration::from_millis(250 << tracked.refusals.min(5))
                };
                tracked.retry_at = Some(now() + millis(delay));
                let text = error.to_string();
                let (reason, message) =
                    refused.map_or_else(|| (error.reason(), text.clone()), |refused| refused.waiting(first));
                tracked.waiting = Some(Waiting { reason: reason.into(), message: Some(message) });
                // Of a volume's image it is said already.
                if let prepare::Error::Image(refused) = &error {
                    for (kind, reason, text) in refused.events() {
                        self.event(Some(name), kind, reason, text);
                    }
                }
                let why = if refused.is_some() { error.reason().to_owned() } else { text };
                self.event(Some(name), EventType::Warning, "Failed", format!("Error: {why}"));
            }
        }
    }
}
