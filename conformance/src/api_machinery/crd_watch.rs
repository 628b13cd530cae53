//! CustomResourceDefinition Watch.

use serde_json::json;

use super::crd;
use crate::client::Patch;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-api-machinery] CustomResourceDefinition Watch [Privileged:ClusterAdmin] CustomResourceDefinition Watch watch on custom resource definition objects [Conformance]" => watch_custom_objects,
}

async fn watch_custom_objects(t: Test) -> anyhow::Result<()> {
    let group = format!("{}.example.com", t.name("watch"));
    let custom =
        crd::create(&t, &crd::definition(&t, &group, false, &[crd::version("v1", true, &crd::anything())])).await?;
    let objects = custom.objects("v1");
    let mut watch = objects.watch("").await?;
    for name in ["name1", "name2"] {
        let created = objects.create(&custom.object("v1", name, &json!({ "content": { "key": "value" } }))).await?;
        expect::same("the object told as ADDED", &watch.expect("ADDED").await?.object, &created)?;
    }
    for name in ["name1", "name2"] {
        let patched = objects.patch(name, Patch::Merge, &json!({ "num": { "num1": 9223372036854775807_i64 } })).await?;
        expect::same("the object told as MODIFIED", &watch.expect("MODIFIED").await?.object, &patched)?;
    }
    for name in ["name1", "name2"] {
        objects.delete(name).await?;
        expect::same("the name told as DELETED", &watch.expect("DELETED").await?.name(), &name)?;
    }
    custom.remove().await
}
