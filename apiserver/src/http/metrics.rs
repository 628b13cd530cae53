//! /metrics and /metrics/slis, in the text format of Prometheus. DELETE begins anew.

use axum::body::Body;
use bytes::Bytes;
use component_base::metrics::FORM;
use http::header::HeaderValue;
use http::{Method, Response};

use super::{answer, discovery};
use crate::app::App;
use crate::metrics::families::{
    BUILD, DECLARATIVE_MISMATCHES, DECLARATIVE_PANICS, DISABLED, HIDDEN, INFLIGHT, REGISTERED, RESOURCE_OBJECTS,
    STORAGE_SIZE, STORED_OBJECTS, stabilities,
};
use crate::metrics::{self, Page, Process, Stability, storage};

/// The page of a path, compressed for who takes gzip, however short; `None`: there is none.
pub async fn answer(app: &App, method: &Method, path: &str, gzip: bool) -> Option<Response<Body>> {
    let delete = *method == Method::DELETE;
    let page = match path {
        "/metrics" if delete => {
            app.metrics.families().for_each(metrics::Family::reset);
            return Some(answer::text(200, "metrics reset\n"));
        }
        "/metrics/slis" if delete => {
            app.health.results.reset();
            return Some(answer::text(200, "metrics reset\n"));
        }
        "/metrics" => page(app).await,
        "/metrics/slis" => {
            let mut page = Page::default();
            app.health.results.write(&mut page);
            page
        }
        _ => return None,
    };
    let text: Bytes = page.text().into();
    let mut response = if gzip { answer::packed(200, FORM, &text) } else { answer::bytes(200, FORM, text, false) };
    if let Ok(started) = HeaderValue::from_str(&format!("{:.0}", metrics::started().floor())) {
        response.headers_mut().insert("process-start-time-unix", started);
    }
    Some(response)
}

#[allow(clippy::cast_precision_loss)] // As all numbers on the page.
async fn page(app: &App) -> Page {
    let mut page = Page::default();
    app.metrics.families().for_each(|family| family.write(&mut page));
    app.audit.write(&mut page);
    app.encryption.tell(app, &mut page);
    app.flow.write(&mut page);
    for (kind, count) in app.metrics.inflight.told() {
        page.number(&INFLIGHT, &[kind], count as f64);
    }
    for (prefix, count) in counts(app).await {
        let (group, resource) = storage::resource_at(&prefix);
        let qualified = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        let count = count.map_or(-1.0, |count| count as f64);
        page.number(&STORED_OBJECTS, &[&qualified], count);
        page.number(&RESOURCE_OBJECTS, &[group, resource], count);
    }
    if let Some(bytes) = size(app) {
        page.number(&STORAGE_SIZE, &["etcd-0"], bytes as f64);
    }
    build(&mut page);
    match Process::read() {
        Ok(process) => process.write(&mut page),
        Err(error) => tracing::warn!(%error, "the process cannot be looked at"),
    }
    registered(&mut page);
    page
}

/// How many objects there are at each prefix; `None`: the store does not say.
async fn counts(app: &App) -> Vec<(String, Option<u64>)> {
    let catalogue = app.catalogue.load_full();
    let all = catalogue.groups.iter().flat_map(|group| group.versions.iter().map(move |version| (group, version)));
    let resources = all.flat_map(|(group, version)| catalogue.of(&group.name, version));
    let mut prefixes: Vec<String> = resources.map(|r| r.prefix.clone()).filter(|prefix| !prefix.is_empty()).collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    let count = |prefix: String| async move {
        // What nobody has read yet is counted by the store, which need not hand it out for that.
        let count = match app.caches.size(&prefix) {
            Some((count, _)) => Some(count as u64),
            None => app.store.range(&prefix, None, 1, None).await.ok().map(|range| range.count),
        };
        (prefix, count)
    };
    futures::future::join_all(prefixes.into_iter().map(count)).await
}

/// The bytes of the embedded store's files; etcd tells those of its own itself.
fn size(app: &App) -> Option<u64> {
    let files = std::fs::read_dir(app.options.store_dir.as_ref()?).ok()?;
    Some(files.filter_map(|file| file.ok()?.metadata().ok()).map(|file| file.len()).sum())
}

fn build(page: &mut Page) {
    let version = discovery::version();
    let fields =
        ["buildDate", "compiler", "gitCommit", "gitTreeState", "gitVersion", "goVersion", "major", "minor", "platform"];
    let values = fields.map(|field| version[field].as_str().unwrap_or_default());
    page.number(&BUILD, &values, 1.0);
}

/// What there is to say about the page itself.
#[allow(clippy::cast_precision_loss)] // As all numbers on the page.
fn registered(page: &mut Page) {
    for (stability, label) in [(Stability::Alpha, "ALPHA"), (Stability::Beta, "BETA"), (Stability::Stable, "STABLE")] {
        let count = stabilities().filter(|other| *other == stability).count();
        page.number(&REGISTERED, &["", label], count as f64);
    }
    // There is one validation here, so that nothing can differ.
    for about in [&DECLARATIVE_MISMATCHES, &DECLARATIVE_PANICS] {
        page.number(about, &[], 0.0);
    }
    page.number(&DISABLED, &[], 0.0);
    page.number(&HIDDEN, &[], 0.0);
}
