//! How the server speaks where few clients look: over WebSocket, in other forms than JSON, of what is wrong and what only looks so.

#[path = "../../examples/dev_cluster/pki.rs"]
mod pki;
#[path = "../support/process.rs"]
#[allow(dead_code, reason = "etcd is for others")]
mod process;
#[path = "../support/serving.rs"]
mod serving;
#[path = "../support/wire.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod wire;

mod extensions;
mod forms;
mod oddities;
mod patches;
mod refusals;
mod websocket;

use http::Method;
use process::ApiServer;
use serde_json::{Value, json};
use wire::{Ask, Connection};

const MEDIA: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[test]
#[ignore = "the server process of the other test"]
fn child() {
    process::child();
}

struct World {
    server: ApiServer,
    connection: Connection,
    dir: tempfile::TempDir,
}

impl World {
    async fn ask(&self, ask: Ask<'_>) -> (u16, Value) {
        let answer = self.server.target.send(&mut self.connection.clone(), ask).await.unwrap();
        (answer.status, answer.json())
    }

    async fn create(&self, name: &str) {
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } });
        assert_eq!(self.ask(Ask::new(Method::POST, MAPS, map.to_string())).await.0, 201);
    }

    async fn delete(&self, name: &str) {
        let path = format!("{MAPS}/{name}");
        assert_eq!(self.ask(Ask::new(Method::DELETE, &path, "")).await.0, 200);
    }
}

#[test]
fn unusual_ways_to_speak() {
    serving::with_server(async |server, dir| {
        let connection = server.target.http2().await.unwrap();
        let mut world = World { server, connection, dir };
        websocket::watches_over_websockets(&world).await;
        websocket::handshakes_that_are_wrong(&world).await;
        websocket::tokens_as_subprotocols(&world).await;
        forms::media_types(&world).await;
        refusals::refusals(&world).await;
        refusals::what_is_forgiven(&world).await;
        refusals::as_often_as_upstream(&world).await;
        forms::items_leave_it_to_their_list(&world).await;
        forms::for_people(&world).await;
        forms::bookmarks_are_rows(&world).await;
        forms::bookmarks_say_how_far_it_is(&world).await;
        forms::discovery_is_kept(&world).await;
        forms::writes_are_answered_as_reads(&world).await;
        patches::patches_are_looked_at(&world).await;
        patches::scales(&world).await;
        patches::applied_values(&world).await;
        refusals::requests_have_an_end(&world).await;
        oddities::odd_addresses_are_taken(&world).await;
        oddities::devices_for_administrators(&world).await;
        oddities::services_have_several_ranges(&world).await;
        extensions::what_is_new_is_warned_of(&world).await;
        extensions::definitions_change(&world).await;
        refusals::what_upstream_takes(&world).await;
        refusals::too_large_with_managers(&world).await;
        refusals::tokens_for_namesakes(&world).await;
        oddities::the_server_has_a_lease(&world).await;
        world.server.kill();
        world.server.start();
        world.server.ready().await;
        websocket::errors_are_events(&world.server.target).await;
    });
}
