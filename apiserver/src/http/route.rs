//! The one handler behind every path: authenticate, impersonate, authorize, then hand over to what the path is about.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use futures::FutureExt;
use http::header::{HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Response};

use super::negotiate::{Accept, Media, takes_gzip};
use super::request_info::{Query, RequestInfo};
use super::status::{ApiError, ApiResult};
use super::{
    answer, browsers, debug, discovery, health, logged, metrics, openapi, pretty, proxy, resource, warnings, websocket,
};
use crate::access::{self, Notes, Peer};
use crate::aggregator;
use crate::app::App;
use crate::audit::parts::{self, Part, Parts};
use crate::audit::{self, Ending, Trail};
use crate::flow::{self, Admitted};
use crate::metrics::requests::{self, Labels};

/// What every connection hands its requests to.
#[derive(Clone)]
pub struct Routes {
    app: Arc<App>,
}

impl Routes {
    #[must_use]
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    /// So many streams a client may have open on one HTTP/2 connection.
    #[must_use]
    pub fn streams(&self) -> u32 {
        self.app.options.limits.streams()
    }

    /// A client and we could not agree on TLS.
    pub fn no_handshake(&self) {
        self.app.metrics.tls_handshake_errors.increase(&[]);
    }

    /// Answers a request of `peer`.
    pub async fn handle(&self, peer: &Peer, request: Request) -> Response<Body> {
        let serving = &self.app.options.serving;
        let origin = browsers::origin(serving, request.headers());
        let mut response = match browsers::preflight(request.method(), origin.as_ref()) {
            Some(mut response) => {
                if let Ok(id) = HeaderValue::from_str(&audit::id(request.headers())) {
                    response.headers_mut().insert(audit::ID_HEADER, id);
                }
                response
            }
            None => handle(self, peer, request).await,
        };
        browsers::add(serving, origin, response.headers_mut());
        response
    }

    /// Whether a client on HTTP/2 is asked to connect anew after this request.
    #[must_use]
    pub fn sends_away(&self) -> bool {
        let chance = self.app.options.serving.goaway_chance;
        if chance.is_none() {
            return false;
        }
        // 32 random bits.
        let (bits, ..) = uuid::Uuid::new_v4().as_fields();
        chance.hits(f64::from(bits) / (f64::from(u32::MAX) + 1.0))
    }
}

async fn handle(shared: &Routes, peer: &Peer, mut request: Request) -> Response<Body> {
    let started = Instant::now();
    let _inflight = shared.app.metrics.inflight.begin(request.method());
    let media = Accept::parse(request.headers(), true, true).map_or(Media::Json, |accept| accept.media);
    let query = Query::parse(request.uri().query());
    let pretty = pretty::is_wanted(&query, request.headers());
    let name = fixed_name(&query);
    let info = RequestInfo::parse(request.method(), request.uri().path(), query.flag("watch"), name.as_deref());
    let app = &shared.app;
    let id = audit::id(request.headers());
    let mut trail = None;
    let verb = info.verb;
    let long = is_long(&info);
    let limit = deadline(&query, long, app.options.limits.request_timeout);
    if let Ok(Some(limit)) = &limit {
        request.extensions_mut().insert(Deadline(started + *limit));
    }
    let labels = Labels::new(request.method(), &info, &query, request.headers());
    let resource = if info.is_resource { info.resource.clone() } else { String::new() };
    // A panic is a bug of ours; it costs one answer, not the connection with all its other streams.
    let mut admitted = None;
    let mut notes = Notes { timeout: limit.as_ref().err().cloned(), ..Notes::default() };
    let admitting = admit(app, peer, request, info, query, &id, (&mut trail, &mut admitted, &mut notes));
    // A watch lasts as long as it lasts.
    let noted = (app.audit.is_kept() && verb != "watch").then(Arc::<Parts>::default);
    let guarded = AssertUnwindSafe(parts::noted(noted.clone(), admitting)).catch_unwind();
    let result = match limit {
        Ok(Some(limit)) => tokio::time::timeout(limit, guarded).await,
        _ => Ok(guarded.await),
    };
    let late = result.is_err();
    let result = match result {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => {
            if let Some(trail) = trail.take() {
                let why = panic.downcast_ref::<String>().map(String::as_str);
                trail.panicked(why.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default());
                trail.settle().await;
            }
            Err(ApiError::internal("this request caused the apiserver to panic. Look in the logs for details."))
        }
        Err(_elapsed) => Err(ApiError::deadline()),
    };
    let mut response = match result {
        Ok(response) => response,
        Err(error) => {
            if error.code >= 500 {
                tracing::warn!(%error, verb, resource, "a request failed");
            }
            let mut response = if late { answer::late(&error) } else { answer::error(&error, media) };
            if notes.forbidden {
                response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            }
            if pretty { pretty::print(response).await } else { response }
        }
    };
    warnings::add(response.headers_mut(), &notes.warnings);
    if let Some(admitted) = &admitted {
        admitted.stamp(response.headers_mut());
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(audit::ID_HEADER, id);
    }
    if let Some(trail) = trail {
        if let (Some(parts), Some(admitted)) = (&noted, &admitted) {
            parts.add(Part::Queue, admitted.waited);
        }
        let ending = Ending { deprecated: notes.deprecated, started, parts: noted };
        response = logged::end(response, trail, (long, notes.early), ending).await;
    }
    if notes.served {
        let aside = notes.webhooks.saturating_add(admitted.map_or(Duration::ZERO, |admitted| admitted.waited));
        response = requests::measured(app, labels, started, aside, long, response);
    }
    response
}

/// Until when a request is to be answered.
#[derive(Clone, Copy)]
pub struct Deadline(pub Instant);

/// How long a request may take: what `?timeout=` says, and `most` at most; `None` for what goes on for long.
///
/// # Errors
/// In Go's words, when that is no duration.
fn deadline(query: &Query, long: bool, most: Duration) -> Result<Option<Duration>, String> {
    if long {
        return Ok(None);
    }
    let asked = query.text("timeout").map_or(Ok(0), schema::time::parse_duration)?;
    let asked = u64::try_from(asked).ok().filter(|nanoseconds| *nanoseconds > 0).map(Duration::from_nanos);
    Ok(Some(asked.map_or(most, |asked| asked.min(most))))
}

/// The name a `metadata.name=` field selector fixes: authorizers see it as the request's name.
fn fixed_name(query: &Query) -> Option<String> {
    let fields = schema::selector::FieldSelector::parse(query.text("fieldSelector")?).ok()?;
    fields.requirements.into_iter().find(|r| r.field == "metadata.name" && r.equal).map(|r| r.value)
}

/// Requests whose answers go on for long.
fn is_long(info: &RequestInfo) -> bool {
    info.verb == "watch" || matches!(info.subresource.as_str(), "proxy" | "exec" | "attach" | "portforward" | "log")
}
/// Everything before the path matters.
async fn admit(
    app: &Arc<App>,
    peer: &Peer,
    mut request: Request,
    info: RequestInfo,
    query: Query,
    id: &str,
    (trail, admitted, notes): (&mut Option<Arc<Trail>>, &mut Option<Admitted>, &mut Notes),
) -> ApiResult<Response<Body>> {
    if let Some(why) = notes.timeout.take() {
        *trail = logged::begin(app, peer, &mut request, &auth::UserInfo::default(), &info, (id, true));
        notes.early = true;
        return Err(ApiError::bad_request(format!("invalid timeout specified in the request URL - {why}")));
    }
    let since = Instant::now();
    let known = match websocket::take_token(request.headers_mut()) {
        Ok(()) => access::authenticate(app, peer, request.uri().path(), request.headers(), notes).await,
        Err(error) => Err(error),
    };
    parts::note(Part::Authentication, since.elapsed());
    let user = match known {
        Ok(user) => user,
        Err(error) => {
            *trail = logged::begin(app, peer, &mut request, &auth::UserInfo::default(), &info, (id, true));
            notes.tell(trail.as_deref());
            notes.early = true;
            return Err(error);
        }
    };
    *trail = logged::begin(app, peer, &mut request, &user, &info, (id, false));
    notes.tell(trail.as_deref());
    if let Some(trail) = trail
        && !trail.settle().await
    {
        trail.refuse();
        let target = request.uri().path_and_query().map_or("", |target| target.as_str());
        let text = format!("Internal Server Error: {target:?}: failed to store audit event\n");
        return Ok(answer::text(500, text));
    }
    let user = access::impersonate(app, user, request.headers(), trail.as_deref()).await;
    let user = user.inspect_err(|error| notes.forbidden = error.code == 403)?;
    let width = flow::work::width(app, &info, &query);
    let (seat, decision) = app.flow.admit(&user, &info, is_long(&info), width, &app.metrics).await;
    *admitted = decision;
    seat?;
    let since = Instant::now();
    let allowed = access::authorize(app, &user, &info, &query, trail.as_deref()).await;
    parts::note(Part::Authorization, since.elapsed());
    allowed.inspect_err(|error| notes.forbidden = error.code == 403)?;
    if let Some(address) = peer.address {
        request.extensions_mut().insert(proxy::From(address));
    }
    if let Some(remote) = app.aggregator.remote_at(request.uri().path()) {
        // The other server's log tells of the same request.
        if let Ok(id) = HeaderValue::from_str(id) {
            request.headers_mut().insert(audit::ID_HEADER, id);
        }
        let mut response = Box::pin(aggregator::proxy::answer(app, &remote, &user, request)).await;
        response.extensions_mut().insert(logged::PassedOn);
        return Ok(response);
    }
    if info.is_resource {
        resource::answer(app, user, request, info, query, notes).await
    } else {
        Box::pin(other(app, &user, request, &info, &query, notes)).await
    }
}

/// Paths that are no resources.
async fn other(
    app: &Arc<App>,
    user: &auth::UserInfo,
    request: Request,
    info: &RequestInfo,
    query: &Query,
    notes: &mut Notes,
) -> ApiResult<Response<Body>> {
    let headers = request.headers();
    // Of these paths some are upstream's REST services, which take GET alone; to the others every method is the same.
    let form = discovery::only_form(&info.path);
    if (form.is_some() || discovery::is_restful(app, &info.path)) && *request.method() != Method::GET {
        return Err(ApiError::no_method());
    }
    if let Some(form) = form.filter(|form| !discovery::names_one_of(headers, &[form])) {
        return Err(discovery::no_representation(form));
    }
    if let Some(answer) = health::answer(app, &info.path, query).await {
        notes.served = matches!(info.path.as_str(), "/healthz" | "/livez" | "/readyz");
        return Ok(answer);
    }
    if let Some(answer) = metrics::answer(app, request.method(), &info.path, takes_gzip(headers)).await {
        return Ok(answer);
    }
    match info.path.as_str() {
        "/.well-known/openid-configuration" | "/.well-known/openid-configuration/" => return Ok(access::openid(app)),
        "/openid/v1/jwks" | "/openid/v1/jwks/" => return access::jwks(app),
        path if path.starts_with("/openapi/") => {
            let document = path.strip_prefix("/openapi/v3").and_then(|path| app.aggregator.remote_at(path));
            return match document {
                Some(remote) => Ok(aggregator::proxy::answer(app, &remote, user, request).await),
                None => {
                    let asked = openapi::Asked { method: request.method(), query, headers };
                    Ok(openapi::answer(app, path, asked).await)
                }
            };
        }
        _ => {}
    }
    if info.path.starts_with("/debug/") {
        let (head, body) = request.into_parts();
        let found = debug::answer(app, info, query, &head.method, body).await;
        return Ok(found.unwrap_or_else(answer::page_not_found));
    }
    let response = discovery::answer(app, &info.path, headers)?;
    // Two of these are always written for people.
    let human =
        matches!(info.path.trim_end_matches('/'), "" | "/index.html" | "/version") || pretty::is_wanted(query, headers);
    Ok(if human { pretty::print(response).await } else { response })
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_end_when_they_say_and_after_a_minute() {
        let most = Duration::from_secs(60);
        let minute = Ok(Some(most));
        for (query, long, expected) in [
            ("", false, minute.clone()),
            ("timeout=0", false, minute.clone()),
            ("timeout=-5s", false, minute.clone()),
            ("timeout=2h", false, minute),
            ("timeout=1.5s", false, Ok(Some(Duration::from_millis(1500)))),
            ("timeout=x", true, Ok(None)),
            ("timeout=x", false, Err("time: invalid duration \"x\"".to_owned())),
        ] {
            assert_eq!(deadline(&Query::parse(Some(query)), long, most), expected, "{query}");
        }
    }
}
