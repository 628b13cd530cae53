//! Servers with support for API chunking.

use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::client::{Objects, Refusal};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-api-machinery] Servers with support for API chunking should return chunks of results for list calls [Conformance]" => chunks,
}

const TOTAL: usize = 400;

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
