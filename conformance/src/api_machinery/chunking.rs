//! Servers with support for API chunking.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::client::{Objects, Refusal};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-api-machinery] Servers with support for API chunking should return chunks of results for list calls [Conformance]" => chunks,
    "[sig-api-machinery] Servers with support for API chunking should support continue listing from the last key if the original version has been compacted away, though the list is inconsistent [Slow] [Conformance]" => expired,
}

const TOTAL: usize = 400;
/// How often it is looked whether the past has been forgotten, and how long it may take.
const TURN: Duration = Duration::from_millis(200);
const FORGETS: Duration = Duration::from_secs(60);

async fn fill(t: &Test) -> anyhow::Result<Objects> {
    let templates = t.objects("v1", "podtemplates");
    let names: Vec<String> = (0..TOTAL).map(|number| format!("template-{number:04}")).collect();
    for some in names.chunks(20) {
        let spec = json!({ "containers": [{ "name": "test", "image": "test2" }] });
        let object = |name: &String| json!({ "metadata": { "name": name }, "template": { "spec": spec } });
        let objects: Vec<Value> = some.iter().map(object).collect();
        try_join_all(objects.iter().map(|object| templates.create(object))).await?;
    }
    Ok(templates)
}

/// Page `list` goes on after `found` objects; how many there are then.
fn page(list: &Value, limit: usize, found: usize) -> anyhow::Result<usize> {
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    expect::that(items.len() <= limit, || format!("{} objects came where {limit} were asked for", items.len()))?;
    for (number, item) in items.iter().enumerate() {
        expect::same("the name", &expect::name(item), &format!("template-{:04}", found + number).as_str())?;
    }
    let found = found + items.len();
    let more = !expect::text(list, "/metadata/continue").is_empty();
    let remaining = list["metadata"]["remainingItemCount"].as_u64();
    let want = more.then_some((TOTAL - found) as u64);
    expect::same("remainingItemCount", &remaining, &want)?;
    Ok(found)
}

async fn chunks(t: Test) -> anyhow::Result<()> {
    let templates = fill(&t).await?;
    for limit in [40, 17, 1 + TOTAL / 11] {
        let mut found = 0;
        let mut next = String::new();
        let mut revision = String::new();
        loop {
            let list = templates.list(&format!("limit={limit}&continue={next}")).await?;
            if revision.is_empty() {
                expect::revision(&list).clone_into(&mut revision);
            }
            expect::same("the revision of every page", &expect::revision(&list), &revision.as_str())?;
            found = page(&list, limit, found)?;
            expect::text(&list, "/metadata/continue").clone_into(&mut next);
            if next.is_empty() {
                break;
            }
        }
        expect::same("the number of objects in all pages", &found, &TOTAL)?;
    }
    let all = templates.list(&format!("limit={}", TOTAL + 1)).await?;
    expect::same("the number of objects at once", &page(&all, TOTAL + 1, 0)?, &TOTAL)?;
    templates.list("continue=nonsense").await.refused_with(400)?;
    Ok(())
}

/// Waits until the server has forgotten what the first page was of, which is told by nothing else.
async fn expired(t: Test) -> anyhow::Result<()> {
    let limit = TOTAL / 10;
    let templates = fill(&t).await?;
    let list = templates.list(&format!("limit={limit}")).await?;
    let found = page(&list, limit, 0)?;
    let old = expect::text(&list, "/metadata/continue").to_owned();
    let (begun, mut turns) = (Instant::now(), tokio::time::interval(TURN));
    let refused = loop {
        turns.tick().await;
        expect::that(begun.elapsed() < FORGETS, || "the token is good still".to_owned())?;
        match templates.list(&format!("limit={limit}&continue={old}")).await {
            Ok(list) => expect::same("the number of objects in two pages", &page(&list, limit, found)?, &(2 * limit))?,
            refused => break refused.refused_with(410)?,
        };
    };
    expect::same("the reason", &refused.reason(), &"Expired")?;
    expect::has_text(refused.message(), "The provided continue parameter is too old")?;
    let mut next = expect::text(&refused.status, "/metadata/continue").to_owned();
    expect::that(!next.is_empty(), || format!("there is no token to go on with in {}", refused.status))?;
    // What was made since the first page is seen by the others.
    let later = json!({ "metadata": { "name": "a-new-one" }, "template": { "spec": { "containers": [{ "name": "test", "image": "test2" }] } } });
    templates.create(&later).await?;
    let mut found = found;
    let mut revision = String::new();
    while !next.is_empty() {
        let list = templates.list(&format!("limit={limit}&continue={next}")).await?;
        found = page(&list, limit, found)?;
        if revision.is_empty() {
            expect::revision(&list).clone_into(&mut revision);
        }
        expect::same("the revision of the later pages", &expect::revision(&list), &revision.as_str())?;
        expect::text(&list, "/metadata/continue").clone_into(&mut next);
    }
    expect::same("the number of objects in all pages", &found, &TOTAL)
}
