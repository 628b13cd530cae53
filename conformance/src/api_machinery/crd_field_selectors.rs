//! CustomResourceFieldSelectors.

use serde_json::{Value, json};

use super::crd;
use crate::client::{Patch, Refusal};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-api-machinery] CustomResourceFieldSelectors [Privileged:ClusterAdmin] CustomResourceFieldSelectors MUST list and watch custom resources matching the field selector [Conformance]" => list_and_watch,
}

async fn list_and_watch(t: Test) -> anyhow::Result<()> {
    let schema = json!({ "type": "object", "properties": {
        "hostPort": { "type": "string" }, "host": { "type": "string" }, "port": { "type": "string" },
    } });
    let mut version = crd::version("v1", true, &schema);
    version["selectableFields"] = json!([{ "jsonPath": ".host" }, { "jsonPath": ".port" }]);
    let group = format!("{}.example.com", t.name("selectable"));
    let custom = crd::create(&t, &crd::definition(&t, &group, true, &[version])).await?;
    let objects = custom.objects("v1");
    let mut watch = objects.watch("fieldSelector=host=host1").await?;
    let mut both = objects.watch("fieldSelector=host=host1,port=80").await?;
    for (name, host, port) in [("a", "host1", "80"), ("b", "host1", "8080"), ("c", "host2", "80")] {
        objects.create(&custom.object("v1", name, &json!({ "host": host, "port": port }))).await?;
    }
    let names = async |query: &str| -> anyhow::Result<Vec<String>> {
        Ok(objects.items(query).await?.iter().map(|o| expect::name(o).to_owned()).collect())
    };
    for (selector, want) in [
        ("host=host1", vec!["a", "b"]),
        ("host=host1,port=80", vec!["a"]),
        ("host!=host1", vec!["c"]),
        ("port=80", vec!["a", "c"]),
    ] {
        let have = names(&format!("fieldSelector={selector}")).await?;
        expect::same(&format!("what {selector} chooses"), &have, &want.into_iter().map(str::to_owned).collect())?;
    }
    expect::same("the first ADDED", &watch.expect("ADDED").await?.name(), &"a")?;
    expect::same("the second ADDED", &watch.expect("ADDED").await?.name(), &"b")?;
    expect::same("the ADDED of both fields", &both.expect("ADDED").await?.name(), &"a")?;
    // An object that leaves the selection is told as deleted.
    objects.patch("a", Patch::Merge, &json!({ "host": "host3" })).await?;
    expect::same("what left", &watch.expect("DELETED").await?.name(), &"a")?;
    expect::same("what left both", &both.expect("DELETED").await?.name(), &"a")?;
    let refused = objects.list("fieldSelector=hostPort=x").await.refused_with(400)?;
    expect::has_text(refused.message(), "field label not supported")?;
    objects.delete_collection("fieldSelector=host=host1").await?;
    objects.wait_list("fieldSelector=host=host1", "no objects of host1", <[Value]>::is_empty).await?;
    expect::same("what is left", &names("").await?, &vec!["a".to_owned(), "c".to_owned()])?;
    custom.remove().await
}
