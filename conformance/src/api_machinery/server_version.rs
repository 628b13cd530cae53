//! `/version`

use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-api-machinery] server version should find the server version [Conformance]" => server_version,
}

async fn server_version(t: Test) -> anyhow::Result<()> {
    let version = t.api().get("/version").await?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    expect::that(digits(expect::text(&version, "/major")), || format!("major is no number in {version}"))?;
    // Upstream takes a minor version with something after the number, such as `35+`.
    let minor: String = expect::text(&version, "/minor").chars().filter(char::is_ascii_alphanumeric).collect();
    expect::that(digits(&minor), || format!("minor is no number in {version}"))
}
