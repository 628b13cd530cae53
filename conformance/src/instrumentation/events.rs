//! Events of events.k8s.io.

use serde_json::{Value, json};

use crate::client::{Patch, Refusal};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-instrumentation] Events API should ensure that an event can be fetched, patched, deleted, and listed [Conformance]" => lifecycle,
    "[sig-instrumentation] Events API should delete a collection of events [Conformance]" => collection,
}

fn event(t: &Test, name: &str, label: &str) -> Value {
    json!({
        "metadata": { "name": name, "labels": { "testevent-constant": label } },
        "regarding": { "namespace": t.namespace }, "eventTime": "2024-01-02T03:04:05.000006Z",
        "note": "This is a test event", "type": "Normal", "reason": "Test", "action": "Do",
        "reportingController": "test-controller", "reportingInstance": "test-node",
    })
}

async fn lifecycle(t: Test) -> anyhow::Result<()> {
    let (events, all) = (t.objects("events.k8s.io/v1", "events"), t.everywhere("events.k8s.io/v1", "events"));
    let label = t.name("static");
    let selector = format!("labelSelector=testevent-constant={label}");
    let created = events.create(&event(&t, "event-test", &label)).await?;
    expect::at(&created, "/eventTime", "2024-01-02T03:04:05.000006Z")?;
    expect::same("the number of events in all namespaces", &all.items(&selector).await?.len(), &1)?;
    let items = events.items("fieldSelector=reportingController=test-controller").await?;
    expect::same("the number of events of the controller", &items.len(), &1)?;
    expect::at(&events.get("event-test").await?, "/note", "This is a test event")?;
    let series = json!({ "count": 2, "lastObservedTime": "2014-12-31T23:00:01.000000Z" });
    events.patch("event-test", Patch::Strategic, &json!({ "series": series })).await?;
    let got = events.get("event-test").await?;
    expect::contains(&got, &json!({ "series": { "count": 2, "lastObservedTime": "2014-12-31T23:00:01.000000Z" } }))?;
    let updated = events
        .modify("event-test", |e| {
            e["series"] = json!({ "count": 100, "lastObservedTime": "2014-12-31T23:00:02.000000Z" })
        })
        .await?;
    expect::at(&updated, "/series/count", 100)?;
    // The same object as the core group's clients see it.
    let core = t.objects("v1", "events").get("event-test").await?;
    expect::at(&core, "/message", "This is a test event")?;
    events.delete("event-test").await?;
    events.get("event-test").await.refused_with(404)?;
    expect::same("the number of events left", &all.items(&selector).await?.len(), &0)
}

async fn collection(t: Test) -> anyhow::Result<()> {
    let events = t.objects("events.k8s.io/v1", "events");
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
