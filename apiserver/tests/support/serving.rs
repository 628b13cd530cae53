//! A test that one server is enough for.

use super::process::ApiServer;

/// Runs `test` with a server over an embedded store of its own, and the server's folder.
pub fn with_server(test: impl AsyncFnOnce(ApiServer, tempfile::TempDir)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let mut server = ApiServer::new(dir.path(), &[format!("--store-dir={}", dir.path().join("store").display())]);
        server.start();
        server.ready().await;
        test(server, dir).await;
    });
}
