//! Following the file (`--encryption-provider-config-automatic-reload`).

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use super::{Rules, read};
use crate::access::file::Changes;
use crate::access::reloads;
use crate::app::App;

/// Follows the file, if that is asked for: as long as what is in it cannot be used, what was in it before stays in force.
pub fn start(app: &Arc<App>) {
    let options = &app.options;
    let Some(path) =
        options.encryption_provider_config.clone().filter(|_| options.encryption_provider_config_automatic_reload)
    else {
        return;
    };
    let mut changes = Changes::of(&path);
    let (app, stop) = (app.clone(), app.stop.clone());
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        loop {
            look(&app, &path).await;
            changes.next().await;
        }
    }));
}

async fn look(app: &Arc<App>, path: &Path) {
    let (times, last) = (&app.metrics.reloads_encryption, &app.metrics.reloaded_encryption);
    match app.encryption.reload(path).await {
        Ok(false) => {}
        Ok(true) => {
            reloads::note(app, times, last, true);
            tracing::info!("loaded new encryption config content");
        }
        Err(error) => {
            reloads::note(app, times, last, false);
            tracing::error!(path = %path.display(), error = format!("{error:#}"), "error processing encryption config file");
        }
    }
}

impl super::Encryption {
    /// Reads the file again; `false`: it says nothing new. Plugins it names must be well, lest nobody can write.
    pub(super) async fn reload(&self, path: &Path) -> anyhow::Result<bool> {
        let of = path.to_owned();
        let (text, hash) =
            tokio::task::spawn_blocking(move || read(&of)).await.context("the file was not looked at")??;
        if hash == self.rules.load().hash {
            return Ok(false);
        }
        let rules = Rules::parse(&text, &hash, path, true, &self.metrics).await?;
        rules.settle().await?;
        // Who reads with those before has them still.
        self.rules.store(Arc::new(rules));
        Ok(true)
    }
}
