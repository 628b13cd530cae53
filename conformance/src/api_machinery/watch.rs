//! Watchers.

use std::time::Duration;

use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::client::{Event, Objects, Watch};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-api-machinery] Watchers should observe add, update, and delete watch notifications on configmaps [Conformance]" => several_watchers,
    "[sig-api-machinery] Watchers should be able to start watching from a specific resource version [Conformance]" => from_a_revision,
    "[sig-api-machinery] Watchers should be able to restart watching from the last resource version observed by the previous watch [Conformance]" => restarted,
    "[sig-api-machinery] Watchers should observe an object deletion if it stops meeting the requirements of the selector [Conformance]" => label_changed,
    "[sig-api-machinery] Watchers should receive events on concurrent watches in same order [Conformance]" => concurrent,
}

/// So long a watch that should be silent is listened to: an event that is wrong comes with the right ones beside it.
const SILENCE: Duration = Duration::from_millis(300);

fn config_map(name: &str, label: &str) -> Value {
    json!({ "metadata": { "name": name, "labels": { "watch-this-configmap": label } } })
}

async fn mutate(maps: &Objects, name: &str, mutation: &str) -> anyhow::Result<Value> {
    maps.modify(name, |map| map["data"] = json!({ "mutation": mutation })).await
}

async fn watch(maps: &Objects, labels: &str) -> anyhow::Result<Watch> {
    maps.watch(&format!("labelSelector=watch-this-configmap in ({labels})")).await
}

/// The next event must be this one, of this very object.
async fn tells(watch: &mut Watch, kind: &str, object: &Value) -> anyhow::Result<Event> {
    let event = watch.expect(kind).await?;
    if kind != "DELETED" {
        expect::same("the object of the event", &event.object, object)?;
    }
    Ok(event)
}

async fn several_watchers(t: Test) -> anyhow::Result<()> {
    let maps = t.objects("v1", "configmaps");
    let (mut a, mut b, mut ab) = (watch(&maps, "A").await?, watch(&maps, "B").await?, watch(&maps, "A,B").await?);
    let map = maps.create(&config_map("a", "A")).await?;
    tells(&mut a, "ADDED", &map).await?;
    tells(&mut ab, "ADDED", &map).await?;
    for mutation in ["1", "2"] {
        let map = mutate(&maps, "a", mutation).await?;
        tells(&mut a, "MODIFIED", &map).await?;
        tells(&mut ab, "MODIFIED", &map).await?;
    }
    maps.delete("a").await?;
    tells(&mut a, "DELETED", &Value::Null).await?;
    tells(&mut ab, "DELETED", &Value::Null).await?;
    // That B heard nothing of all this is seen by what it hears first.
    let map = maps.create(&config_map("b", "B")).await?;
    tells(&mut b, "ADDED", &map).await?;
    tells(&mut ab, "ADDED", &map).await?;
    maps.delete("b").await?;
    tells(&mut b, "DELETED", &Value::Null).await?;
    tells(&mut ab, "DELETED", &Value::Null).await?;
    a.expect_silence(SILENCE).await
}

async fn from_a_revision(t: Test) -> anyhow::Result<()> {
    let maps = t.objects("v1", "configmaps");
    maps.create(&config_map("x", "V")).await?;
    let first = mutate(&maps, "x", "1").await?;
    let second = mutate(&maps, "x", "2").await?;
    maps.delete("x").await?;
    let query = format!("labelSelector=watch-this-configmap=V&resourceVersion={}", expect::revision(&first));
    let mut watch = maps.watch(&query).await?;
    tells(&mut watch, "MODIFIED", &second).await?;
    tells(&mut watch, "DELETED", &Value::Null).await?;
    Ok(())
}

async fn restarted(t: Test) -> anyhow::Result<()> {
    let maps = t.objects("v1", "configmaps");
    let mut broken = watch(&maps, "R").await?;
    let map = maps.create(&config_map("x", "R")).await?;
    mutate(&maps, "x", "1").await?;
    tells(&mut broken, "ADDED", &map).await?;
    let last = broken.expect("MODIFIED").await?;
    drop(broken);
    let second = mutate(&maps, "x", "2").await?;
    let query = format!("labelSelector=watch-this-configmap=R&resourceVersion={}", last.revision());
    let mut watch = maps.watch(&query).await?;
    maps.delete("x").await?;
    tells(&mut watch, "MODIFIED", &second).await?;
    tells(&mut watch, "DELETED", &Value::Null).await?;
    Ok(())
}

async fn label_changed(t: Test) -> anyhow::Result<()> {
    let maps = t.objects("v1", "configmaps");
    let relabel = |label: &'static str| {
        maps.modify("x", move |map| map["metadata"]["labels"]["watch-this-configmap"] = label.into())
    };
    let mut watch = watch(&maps, "L").await?;
    let map = maps.create(&config_map("x", "L")).await?;
    let first = mutate(&maps, "x", "1").await?;
    let wrong = relabel("wrong-value").await?;
    tells(&mut watch, "ADDED", &map).await?;
    tells(&mut watch, "MODIFIED", &first).await?;
    let gone = tells(&mut watch, "DELETED", &Value::Null).await?;
    // The object is told as it last matched, at the revision at which it no longer did.
    expect::same("the revision of the deletion", &gone.revision(), &expect::revision(&wrong))?;
    expect::at(&gone.object, "/metadata/labels/watch-this-configmap", "L")?;
    mutate(&maps, "x", "2").await?;
    let restored = relabel("L").await?;
    let third = mutate(&maps, "x", "3").await?;
    maps.delete("x").await?;
    tells(&mut watch, "ADDED", &restored).await?;
    tells(&mut watch, "MODIFIED", &third).await?;
    tells(&mut watch, "DELETED", &Value::Null).await?;
    Ok(())
}

/// A new watch is begun at every event of the first one; all must hear the same from there on.
async fn concurrent(t: Test) -> anyhow::Result<()> {
    const WATCHES: usize = 100;
    let maps = t.objects("v1", "configmaps");
    let list = maps.list("").await?;
    let from = expect::revision(&list).to_owned();
    let writer = tokio::spawn({
        let maps = maps.clone();
        async move {
            for round in 0.. {
                let name = format!("cm-{}", round % 5);
                let result = match round % 15 {
                    0..5 => maps.create(&json!({ "metadata": { "name": name } })).await,
                    5..10 => mutate(&maps, &name, &round.to_string()).await,
                    _ => maps.delete(&name).await,
                };
                result?;
            }
            anyhow::Ok(())
        }
    });
    let heard = async {
        let mut watches: Vec<Watch> = Vec::new();
        let mut at = from;
        for _ in 0..WATCHES {
            watches.push(maps.watch(&format!("resourceVersion={at}")).await?);
            let heard = try_join_all(watches.iter_mut().map(Watch::expect_next)).await?;
            at = heard[0].revision().to_owned();
            for other in &heard {
                expect::same("the revision heard by another watch", &other.revision(), &at.as_str())?;
            }
        }
        anyhow::Ok(())
    };
    let result = heard.await;
    writer.abort();
    result
}
