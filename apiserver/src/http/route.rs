//! The one handler behind every path: authenticate, impersonate, authorize, then hand over to what the path is about.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use futures::FutureExt;
use http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Response};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Value, json};

use super::answer;
use super::negotiate::{Accept, Media, Shape, content_type, patch_type, takes_gzip};
use super::request_info::{Query, RequestInfo};
use super::status::{ApiError, ApiResult};
use super::{
    browsers, component_status, debug, discovery, health, metrics, openapi, pretty, proxy, subresource, warnings,
    websocket,
};
use crate::access::{self, Notes, Peer, review};
use crate::admission::{self, Attributes};
use crate::aggregator;
use crate::app::{App, Call};
use crate::audit::parts::{self, Part, Parts};
use crate::audit::{self, Beginning, Ending, Level, Stage, Trail};
use crate::flow::{self, Admitted};
use crate::metrics::requests::{self, Labels};
use crate::registry::delete::Deleted;
use crate::registry::patch::Sent;
use crate::registry::resource::{Resource, Sub};
use crate::registry::table::Include;
use crate::registry::write::Written;
use crate::registry::{body, create, delete, options, read, update, watch};

/// The largest body that is read (upstream: 3 MiB).
const BODY_LIMIT: usize = 3 * 1024 * 1024;

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

async fn handle(shared: &Routes, peer: &Peer, request: Request) -> Response<Body> {
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
            let mut response = answer::error(&error, media);
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
        response = logged(response, trail, (long, notes.early), ending).await;
    }
    if notes.served {
        let aside = notes.webhooks.saturating_add(admitted.map_or(Duration::ZERO, |admitted| admitted.waited));
        response = requests::measured(app, labels, started, aside, long, response);
    }
    response
}

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

/// Where a request comes from: proxies on the way say whom they speak for; the last address is the one the connection comes from.
fn sources(forwarded: &str, real: &str, peer: Option<IpAddr>) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = forwarded.split(',').filter_map(|address| address.trim().parse().ok()).collect();
    all.extend(real.trim().parse().ok().filter(|address| !all.contains(address)));
    all.extend(peer.filter(|address| all.last() != Some(address)));
    all
}

/// Begins the request's line in the audit log; it travels with the request.
fn begin(
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
struct PassedOn;

/// The answer is a Status, which is told also where objects are not.
#[derive(Clone, Copy)]
struct IsStatus;

/// Notes the answer; where it goes on for long, or is made while it is taken, when it ends. `early`: nobody had looked at the
/// request yet.
async fn logged(
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
        *trail = begin(app, peer, &mut request, &auth::UserInfo::default(), &info, (id, true));
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
            *trail = begin(app, peer, &mut request, &auth::UserInfo::default(), &info, (id, true));
            notes.tell(trail.as_deref());
            notes.early = true;
            return Err(error);
        }
    };
    *trail = begin(app, peer, &mut request, &user, &info, (id, false));
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
        response.extensions_mut().insert(PassedOn);
        return Ok(response);
    }
    if info.is_resource {
        resource(app, user, request, info, query, notes).await
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

/// A resource of some group and version.
async fn resource(
    app: &Arc<App>,
    user: auth::UserInfo,
    request: Request,
    info: RequestInfo,
    query: Query,
    notes: &mut Notes,
) -> ApiResult<Response<Body>> {
    let catalogue = app.catalogue.load_full();
    let resource = match catalogue.get(&info.group, &info.version, &info.resource).cloned() {
        Some(resource) => resource,
        None if catalogue.is_built_in(&info.group) => return Err(ApiError::no_route()),
        None => return Ok(answer::page_not_found()),
    };
    if let Some(refusal) = misplaced(&resource, &info, request.method())? {
        return Ok(refusal);
    }
    // Reviews and the like have no metadata to show.
    let views = resource.has_verb("get") && matches!(info.subresource.as_str(), "" | "status" | "scale");
    let protobuf = schema::protobuf::supports(&resource.api_version(), &resource.kind);
    let streams = matches!(info.subresource.as_str(), "proxy" | "exec" | "attach" | "portforward" | "log");
    if !streams && !resource.is_custom() && !discovery::names_one_of(request.headers(), &discovery::FORMS) {
        let watches = matches!(info.verb, "list" | "watch") && resource.has_verb("watch");
        let watches = if watches {
            ", application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
        } else {
            ""
        };
        return Err(discovery::no_representation(&format!("{}{watches}", discovery::FORMS.join(", "))));
    }
    notes.served = true;
    let accept = if streams { Accept::JSON } else { Accept::parse(request.headers(), protobuf, views)? };
    if info.name.is_empty() || info.verb != "get" {
        suits(accept, &resource, &info, &query)?;
    }
    let mut call = Call::new(app.clone(), user, resource, info);
    if call.resource.is("", "namespaces") {
        // Namespaces are no inhabitants of themselves: to the registry they are cluster-scoped.
        call.info.namespace.clear();
    }
    call.trail = request.extensions().get::<Arc<Trail>>().cloned();
    call.query = query;
    call.accept = accept;
    call.agent = request.headers().get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let pretty = !streams && call.info.verb != "watch" && pretty::is_wanted(&call.query, request.headers());
    call.accept.gzip &= !pretty;
    if let Some(text) = call.resource.deprecation() {
        call.warn(text);
        notes.deprecated = true;
        let info = &call.info;
        // No deprecated version of those there are is to go in a known release.
        app.metrics.deprecated.set(&[&info.group, "", &info.resource, &info.subresource, &info.version], 1.0);
    }
    let result = dispatch(&call, request).await;
    // What is refused is warned of, too.
    notes.warnings.extend(call.take_warnings());
    notes.webhooks = call.webhooks();
    let response = result?;
    Ok(if pretty { Box::pin(pretty::print(response)).await } else { response })
}

/// Whether the path, which names a resource, is one that upstream serves, and in this way. Custom resources, which upstream serves
/// by a handler of their own, are refused in other words.
fn misplaced(resource: &Resource, info: &RequestInfo, method: &Method) -> ApiResult<Option<Response<Body>>> {
    let custom = resource.is_custom();
    let namespaces = resource.is("", "namespaces");
    // The name is the path's, not one that a selector fixes.
    let collection = info.name.is_empty() || info.is_collection();
    let astray = !namespaces && !resource.namespaced && !info.namespace.is_empty();
    let everywhere = resource.namespaced && info.namespace.is_empty();
    if astray || everywhere && !(collection && resource.has_verb("list")) {
        return if custom { Ok(Some(answer::page_not_found())) } else { Err(ApiError::no_route()) };
    }
    if everywhere && !matches!(info.verb, "list" | "watch") {
        return if custom { Ok(Some(answer::page_not_found())) } else { Err(ApiError::no_method()) };
    }
    let sub = match info.subresource.as_str() {
        "" => None,
        name => Some(resource.sub(name).ok_or_else(|| match custom {
            true => ApiError::not_found(&resource.group, &resource.plural, &info.name),
            false => ApiError::no_route(),
        })?),
    };
    let refused = || match custom {
        true => ApiError::method_not_allowed(&resource.group, &resource.plural, info.verb),
        false => ApiError::no_method(),
    };
    if info.subresource == "proxy" {
        // A proxied server may know methods that no verb stands for.
        let known = |sub: &Sub| sub.verbs.iter().any(|verb| verb == info.verb);
        return if *method == Method::OPTIONS || sub.is_some_and(known) { Ok(None) } else { Err(refused()) };
    }
    if !info.rest.is_empty() && !custom {
        return Err(ApiError::no_route());
    }
    let verbs = sub.map_or(&resource.verbs, |sub| &sub.verbs);
    let verb = if info.verb == "watch" && sub.is_some() { "get" } else { info.verb };
    let fits = match verb {
        "create" => sub.is_some() || collection,
        "update" | "patch" => !collection,
        _ => true,
    };
    let head = *method == Method::HEAD && !custom;
    if head || !fits || !verbs.iter().any(|known| known == verb) { Err(refused()) } else { Ok(None) }
}

/// Whether the view that is wished for is one of what will be answered.
///
/// # Errors
/// 406 for a list in place of an object or the other way round, 400 for a Table with an unknown `includeObject`.
pub fn suits(accept: Accept, resource: &Resource, info: &RequestInfo, query: &Query) -> ApiResult<()> {
    let go_type = |kind: &str, custom: &str| match (info.subresource.as_str(), resource.is_custom()) {
        ("scale", true) => "v1.Scale".to_owned(),
        ("scale", false) => "autoscaling.Scale".to_owned(),
        (_, false) => {
            schema::go_types(&resource.api_version(), kind).map_or_else(String::new, |(_, internal)| internal)
        }
        (_, true) => format!("unstructured.{custom}"),
    };
    let text = match (accept.shape, info.verb) {
        (Shape::Table, _) => {
            let word = query.get("includeObject").unwrap_or_default();
            if matches!(word, "" | "Metadata" | "Object" | "None") {
                return Ok(());
            }
            let error = schema::field::Error::invalid(
                &schema::field::Path::new("includeObject"),
                word,
                "must be 'Metadata', 'Object', 'None', or empty",
            );
            return Err(ApiError::bad_request(format!("Unable to convert to Table as requested: {error}")));
        }
        (Shape::Partial { list: false }, "list") => {
            let of = go_type(&resource.list_kind, "UnstructuredList");
            format!("you requested PartialObjectMetadata, but the requested object is a list (*{of})")
        }
        (Shape::Partial { list: true }, "get") => {
            let of = go_type(&resource.kind, "Unstructured");
            format!("you requested PartialObjectMetadataList, but the requested object is not a list (*{of})")
        }
        _ => return Ok(()),
    };
    Err(ApiError::new(406, "NotAcceptable", text))
}

/// The body, not more than is allowed.
pub async fn collect(request: Request) -> ApiResult<Bytes> {
    let trail = request.extensions().get::<Arc<Trail>>().cloned();
    let media = content_type(request.headers());
    match Limited::new(request.into_body(), BODY_LIMIT).collect().await {
        Ok(body) => {
            let bytes = body.to_bytes();
            if let Some(trail) = trail {
                trail.request(&media, &bytes);
            }
            Ok(bytes)
        }
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::too_large(format_args!("limit is {BODY_LIMIT}"))),
        Err(error) => Err(ApiError::bad_request(format!("the body could not be read: {error}"))),
    }
}

/// A GET of an object is answered here. What takes longer has a future of its own: that of a request is made and moved into a
/// task for each, so it should be small.
async fn dispatch(call: &Call, request: Request) -> ApiResult<Response<Body>> {
    match (call.info.verb, call.info.subresource.as_str()) {
        ("get", "") if !call.resource.prefix.is_empty() => read::get(call).await,
        _ => Box::pin(dispatch_rest(call, request)).await,
    }
}

async fn dispatch_rest(call: &Call, request: Request) -> ApiResult<Response<Body>> {
    let (resource, info) = (&call.resource, &call.info);
    let media = content_type(request.headers());
    let streams = matches!(info.subresource.as_str(), "proxy" | "exec" | "attach" | "portforward" | "log");
    if matches!(info.verb, "create" | "update" | "patch") && !streams {
        options::write(call, if info.verb == "patch" { patch_type(request.headers()) } else { &media })?;
    }
    if !info.subresource.is_empty() {
        let sub = resource.sub(&info.subresource).ok_or_else(ApiError::no_route)?;
        return subresource::answer(call, sub, request).await;
    }
    match info.verb {
        "get" => {
            let found = component_status::get(call).await?;
            suits(call.accept, resource, info, &call.query)?;
            one(call, 200, &found)
        }
        "list" if resource.prefix.is_empty() => {
            let items = component_status::list(call).await?;
            let include = Include::parse(call.query.get("includeObject"));
            let body = answer::unstored(resource, call.accept, include, &items)?;
            Ok(answer::bytes(200, call.accept.content_type(false), body, call.accept.gzip))
        }
        "list" => read::list(call).await,
        "watch" => watch::watch(call, request).await,
        "create" if resource.prefix.is_empty() => {
            let bytes = collect(request).await?;
            let mut body = body::object(
                call,
                &media,
                &bytes,
                resource.schema().as_ref(),
                &resource.api_version(),
                &resource.kind,
            )?;
            create::fill(call, &mut body);
            subresource::receive(call, &mut body)?;
            admission::admit(&Attributes::create(call, &body), &mut body).await?;
            let value = if resource.kind == "Binding" {
                subresource::bind(call, &body).await?
            } else {
                let answer = review::answer(call, body).await?;
                resource
                    .schema()
                    .map_or_else(|| answer.clone(), |schema| schema::written(&schema, &answer).into_owned())
            };
            one(call, 201, &value)
        }
        "create" => {
            let bytes = collect(request).await?;
            written(call, 201, &create::create(call, &media, &bytes).await?)
        }
        "update" => {
            let bytes = collect(request).await?;
            let value = body::object(
                call,
                &media,
                &bytes,
                resource.schema().as_ref(),
                &resource.api_version(),
                &resource.kind,
            )?;
            updated(call, &update::Change::Put(value)).await
        }
        "patch" => {
            let media = patch_type(request.headers()).to_owned();
            let bytes = collect(request).await?;
            updated(call, &Sent::new(call, &media, bytes)?.into()).await
        }
        "delete" => {
            let bytes = collect(request).await?;
            let options = delete::Options::parse(call, &media, &bytes)?;
            match delete::delete(call, &options).await? {
                Deleted::Object(value) => one(call, 200, &value),
                Deleted::Gone(status) => plain(call, 200, &status),
            }
        }
        "deletecollection" => {
            let bytes = collect(request).await?;
            let options = delete::Options::parse(call, &media, &bytes)?;
            let list = delete::collection(call, &options).await?;
            let metadata = json!({ "resourceVersion": list.revision.to_string() });
            let include = Include::parse(call.query.get("includeObject"));
            answer::list(&call.app, resource, call.accept, include, list, &metadata).await
        }
        _ => Err(ApiError::no_method()),
    }
}

/// Carries out a change and answers with the object.
pub async fn updated(call: &Call, change: &update::Change) -> ApiResult<Response<Body>> {
    let done = update::update(call, change).await?;
    written(call, if done.created { 201 } else { 200 }, &done.object)
}

/// An object that was written, in the shape asked for: mostly as it was written.
fn written(call: &Call, code: u16, object: &Written) -> ApiResult<Response<Body>> {
    match (&object.json, call.accept) {
        (Some(json), accept @ Accept { shape: Shape::Object, media: Media::Json, .. }) => {
            Ok(answer::bytes(code, accept.content_type(false), answer::line(json.clone()), accept.gzip))
        }
        _ => one(call, code, &object.value),
    }
}

/// One object, in the shape asked for.
pub fn one(call: &Call, code: u16, value: &Value) -> ApiResult<Response<Body>> {
    let body = answer::object(&call.resource, call.accept, Include::parse(call.query.get("includeObject")), value)?;
    Ok(answer::bytes(code, call.accept.content_type(false), body, call.accept.gzip))
}

/// A Scale, in the shape asked for.
pub fn scaled(call: &Call, value: &Value) -> ApiResult<Response<Body>> {
    let include = Include::parse(call.query.get("includeObject"));
    let body = answer::scale(call.resource.is_custom(), call.accept, include, value)?;
    Ok(answer::bytes(200, call.accept.content_type(false), body, call.accept.gzip))
}

/// A value that has no views: a Status, a token.
pub fn plain(call: &Call, code: u16, value: &Value) -> ApiResult<Response<Body>> {
    let (version, kind) = (crate::app::text(value, "/apiVersion"), crate::app::text(value, "/kind"));
    let mut accept = call.accept;
    if accept.media == Media::Protobuf && !schema::protobuf::supports(version, kind) {
        accept = Accept::JSON;
    }
    let body = answer::encode(accept, version, kind, value)?;
    let mut answer = answer::bytes(code, accept.content_type(false), body, accept.gzip);
    if kind == "Status" {
        answer.extensions_mut().insert(IsStatus);
    }
    Ok(answer)
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
