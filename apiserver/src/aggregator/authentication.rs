//! The ConfigMap `extension-apiserver-authentication`, by which aggregated servers learn whom to believe
//! (`pkg/controlplane/controller/clusterauthenticationtrust`).

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::app::App;
use crate::app::Call;
use crate::bootstrap;
use crate::http::status::{ApiError, ApiResult};
use crate::registry::update;

const NAME: &str = "extension-apiserver-authentication";
const NAMESPACE: &str = "kube-system";

/// Writes what the flags say into the ConfigMap.
///
/// # Errors
/// An authority cannot be read, or the ConfigMap not be written.
pub async fn publish(app: &Arc<App>) -> ApiResult<()> {
    let options = &app.options;
    let read = |path: &std::path::Path| std::fs::read_to_string(path).map(Value::from).map_err(ApiError::internal);
    let mut data = Map::new();
    data.insert("client-ca-file".to_owned(), read(&options.client_ca_file)?);
    if let Some(path) = &options.requestheader_client_ca_file {
        data.insert("requestheader-client-ca-file".to_owned(), read(path)?);
        for (field, words) in [
            ("requestheader-allowed-names", &options.requestheader_allowed_names),
            ("requestheader-username-headers", &options.requestheader_username_headers),
            ("requestheader-uid-headers", &options.requestheader_uid_headers),
            ("requestheader-group-headers", &options.requestheader_group_headers),
            ("requestheader-extra-headers-prefix", &options.requestheader_extra_headers_prefix),
        ] {
            data.insert(field.to_owned(), json!(words).to_string().into());
        }
    }
    let object = json!({ "metadata": { "name": NAME, "namespace": NAMESPACE }, "data": data });
    if !bootstrap::ensure(app, "", "configmaps", object.clone()).await? {
        let call = Call::internal(app, "", "configmaps", NAMESPACE, NAME)?;
        update::update(&call, &update::Change::Merge(json!({ "data": object["data"] }))).await?;
    }
    Ok(())
}
