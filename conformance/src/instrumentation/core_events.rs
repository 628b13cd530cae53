//! Events of the core group.

use serde_json::{Value, json};

use crate::client::Patch;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-instrumentation] Events should manage the lifecycle of an event [Conformance]" => lifecycle,
    "[sig-instrumentation] Events should delete a collection of events [Conformance]" => collection,
}

fn event(t: &Test, name: &str, label: &str) -> Value {
    json!({
        "metadata": { "name": name, "labels": { "testevent-constant": label } },
        "message": "This is a test event", "reason": "Test", "type": "Normal", "count": 1,
        "involvedObject": { "namespace": t.namespace },
    })
}

async fn lifecycle(t: Test) -> anyhow::Result<()> {
    let (events, all) = (t.objects("v1", "events"), t.everywhere("v1", "events"));
    let label = t.name("static");
    let selector = format!("labelSelector=testevent-constant={label}");
    events.create(&event(&t, "event-test", &label)).await?;
    let items = all.items(&selector).await?;
    expect::same("the number of events in all namespaces", &items.len(), &1)?;
    expect::at(&items[0], "/metadata/name", "event-test")?;
    let message = "This is a test event - patched";
    events.patch("event-test", Patch::Strategic, &json!({ "message": message })).await?;
    let got = events.get("event-test").await?;
    expect::at(&got, "/message", message)?;
    let updated = events
        .modify("event-test", |e| {
            e["series"] = json!({ "count": 100, "lastObservedTime": "2024-01-02T03:04:05.000000Z" })
        })
        .await?;
    expect::at(&updated, "/series/count", 100)?;
    events.delete("event-test").await?;
    expect::same("the number of events left", &all.items(&selector).await?.len(), &0)
}

async fn collection(t: Test) -> anyhow::Result<()> {
    let events = t.objects("v1", "events");
    let label = t.name("set");
    let selector = format!("labelSelector=testevent-constant={label}");
    for name in ["test-event-1", "test-event-2", "test-event-3"] {
        events.create(&event(&t, name, &label)).await?;
    }
    expect::same("the number of events", &events.items(&selector).await?.len(), &3)?;
    events.delete_collection(&selector).await?;
    events.wait_list(&selector, "no events", <[Value]>::is_empty).await?;
    Ok(())
}
