//! What the audit log is told of a request: who asks from where, and what was answered, and when.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use http::Response;
use http::header::CONTENT_TYPE;
use http_body::Body as _;
use http_body_util::BodyExt;

use super::request_info::RequestInfo;
use crate::access::Peer;
use crate::app::App;
use crate::audit::parts::Part;
use crate::audit::{self, Beginning, Ending, Level, Stage, Trail};

/// Where a request comes from: proxies on the way say whom they speak for; the last address is the one the connection comes from.
fn sources(forwarded: &str, real: &str, peer: Option<IpAddr>) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = forwarded.split(',').filter_map(|address| address.trim().parse().ok()).collect();
    all.extend(real.trim().parse().ok().filter(|address| !all.contains(address)));
    all.extend(peer.filter(|address| all.last() != Some(address)));
    all
}

/// Begins the request's line in the audit log; it travels with the request.
pub fn begin(
    app: &App,
    peer: &Peer,
    request: &mut Request,
    user: &auth::UserInfo,
    info: &RequestInfo,
    (id, early): (&str, bool),
) -> Option<Arc<Trail>> {
    let headers = request.headers();
    let text = |name: &str| headers.get(name).map_or("".into(), |value| String::from_utf8_lossy(value.as_bytes()));
    let addresses = sources(&text("x-forwarded-for"), &text("x-real-ip"), peer.address);
    let addresses = addresses.iter().map(ToString::to_string).collect();
    let uri = request.uri().path_and_query().map_or("", |uri| uri.as_str());
    let beginning = Beginning { id, user, info, uri, agent: &text("user-agent"), addresses, early };
    let trail = app.audit.begin(&beginning)?;
    request.extensions_mut().insert(trail.clone());
    Some(trail)
}

/// The answer is another server's, whose log tells what is in it.
#[derive(Clone, Copy)]
pub struct PassedOn;

/// The answer is a Status, which is told also where objects are not.
#[derive(Clone, Copy)]
pub struct IsStatus;

/// Notes the answer; where it goes on for long, or is made while it is taken, when it ends. `early`: nobody had looked at the
/// request yet.
pub async fn end(
    response: Response<Body>,
    trail: Arc<Trail>,
    (long, early): (bool, bool),
    ending: Ending,
) -> Response<Body> {
    let code = response.status().as_u16();
    if long && code < 400 {
        trail.response(code, None);
        trail.stage(Stage::ResponseStarted);
        trail.settle().await;
        return response.map(|body| audit::watched(body, trail, ending));
    }
    let told = |mark: bool| trail.wants(Level::RequestResponse) || code >= 400 || early || mark;
    let passed_on = response.extensions().get::<PassedOn>().is_some();
    if passed_on || !told(response.extensions().get::<IsStatus>().is_some()) {
        trail.response(code, None);
        if response.body().size_hint().exact().is_none() {
            return response.map(|body| audit::watched(body, trail, ending));
        }
        ending.annotate(&trail);
        trail.stage(Stage::ResponseComplete);
        trail.settle().await;
        return response;
    }
    let (head, body) = response.into_parts();
    let media = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // Our own answers are whole already, or lists made from the cache: reading them cannot fail.
    let since = Instant::now();
    let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    if let Some(parts) = &ending.parts {
        parts.add(Part::Serialize, since.elapsed());
    }
    trail.response(code, Some((media, &bytes)));
    if long || early {
        trail.stage(Stage::ResponseStarted);
    }
    if !early {
        ending.annotate(&trail);
        trail.stage(Stage::ResponseComplete);
    }
    trail.settle().await;
    Response::from_parts(head, Body::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_from_proxies_and_from_their_peer() {
        let peer = Some(IpAddr::from([10, 0, 0, 1]));
        for (forwarded, real, expected) in [
            ("", "", "10.0.0.1"),
            ("1.2.3.4, 5.6.7.8", "9.9.9.9", "1.2.3.4 5.6.7.8 9.9.9.9 10.0.0.1"),
            ("1.2.3.4,nonsense", "1.2.3.4", "1.2.3.4 10.0.0.1"),
            ("1.2.3.4, 10.0.0.1", "", "1.2.3.4 10.0.0.1"),
            ("10.0.0.1, 1.2.3.4", "", "10.0.0.1 1.2.3.4 10.0.0.1"),
        ] {
            let found: Vec<String> = sources(forwarded, real, peer).iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), expected, "{forwarded} {real}");
        }
    }
}
