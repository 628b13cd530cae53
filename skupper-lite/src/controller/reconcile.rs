//! The loop: events in, and for each touched namespace what differs is written.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::{FutureExt, Stream, StreamExt};
use http::StatusCode;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::runtime::watcher::Event;
use kube::{Client, ResourceExt};
use runtime::events::{EventType, Recorder};
use rustls::ServerConfig;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::desired::{self, SITE_CA};
use super::grants::{self, Answer, Request};
use super::index::{Index, Watched};
use super::objects::{self, Object};
use super::redeem;
use super::status::{self, GrantServer};
use crate::api::{AccessGrant, AccessToken, Controller, Link, Listener, RouterAccess, Site};
use crate::certs::{self, Pair};

/// A namespace whose writes failed is tried again after this.
const RETRY: Duration = Duration::from_secs(1);
/// The Secret with the grant server's CA.
const GRANT_CA: &str = "skupper-grant-server-ca";

pub struct Reconciler {
    client: Client,
    identity: Controller,
    image: String,
    grant_service: String,
    certificate: watch::Sender<Option<Arc<ServerConfig>>>,
    recorder: Recorder,
    index: Index,
    /// What was last written of each object, as a hash: an unchanged one costs nothing.
    written: HashMap<(String, String, String), [u8; 32]>,
    /// Running redemptions, by the token's uid.
    redemptions: HashMap<String, AbortOnDropHandle<()>>,
    grant_ca: Option<Pair>,
    grant_hosts: Vec<String>,
    /// Sites that have been told what kind of router they have.
    told: BTreeSet<String>,
}

impl Reconciler {
    pub fn new(
        client: Client,
        identity: Controller,
        image: String,
        grant_service: String,
        certificate: watch::Sender<Option<Arc<ServerConfig>>>,
    ) -> Self {
        Self {
            recorder: Recorder::new(client.clone(), "skupper-controller", None),
            client,
            identity,
            image,
            grant_service,
            certificate,
            index: Index::default(),
            written: HashMap::new(),
            redemptions: HashMap::new(),
            grant_ca: None,
            grant_hosts: Vec::new(),
            told: BTreeSet::new(),
        }
    }

    /// Runs for ever.
    ///
    /// # Errors
    /// When the watches end, which they do not.
    pub async fn run(
        mut self,
        mut events: impl Stream<Item = Watched> + Unpin,
        mut requests: mpsc::Receiver<Request>,
    ) -> anyhow::Result<()> {
        let mut dirty: BTreeSet<String> = BTreeSet::new();
        let mut retry: Option<Instant> = None;
        loop {
            tokio::select! {
                event = events.next() => self.take(event.context("the watches ended")?, &mut dirty),
                Some(request) = requests.recv(), if self.index.synced() => self.redeem(request).await,
                () = until(retry) => {}
            }
            // All that has arrived counts as one change.
            while let Some(Some(event)) = events.next().now_or_never() {
                self.take(event, &mut dirty);
            }
            if !self.index.synced() || retry.is_some_and(|at| at > Instant::now()) {
                continue;
            }
            retry = None;
            let grants = match self.grant_server().await {
                Ok(grants) => grants,
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "the grant server is not ready; trying again");
                    retry = Some(Instant::now() + RETRY);
                    continue;
                }
            };
            for namespace in std::mem::take(&mut dirty) {
                if let Err(error) = self.reconcile(&namespace, &grants).await {
                    tracing::warn!(namespace, error = format!("{error:#}"), "not done; trying again");
                    dirty.insert(namespace);
                    retry = Some(Instant::now() + RETRY);
                }
            }
        }
    }

    fn take(&mut self, event: Watched, dirty: &mut BTreeSet<String>) {
        // Something we wrote may have been deleted: then it must be written again.
        let deleted = match &event {
            Watched::Service(Event::Delete(it)) => it.namespace(),
            Watched::ConfigMap(Event::Delete(it)) => it.namespace(),
            Watched::RouterAccess(Event::Delete(it)) => it.namespace(),
            Watched::Pod(Event::Delete(it)) => it.namespace(),
            Watched::Site(Event::Delete(it)) => it.namespace(),
            _ => None,
        };
        if let Some(namespace) = deleted {
            self.written.retain(|(of, ..), _| *of != namespace);
        }
        // A node, or the grant server's Service, is everyone's business.
        let for_all = match &event {
            Watched::Node(Event::Apply(_) | Event::Delete(_) | Event::InitDone) => true,
            Watched::Service(Event::Apply(it)) => {
                it.name_any() == self.grant_service && it.namespace().as_ref() == Some(&self.identity.namespace)
            }
            _ => false,
        };
        dirty.extend(self.index.on(event));
        if for_all {
            dirty.extend(self.index.sites.all().filter_map(|site| site.namespace()));
            dirty.extend(self.index.grants.all().filter_map(|grant| grant.namespace()));
        }
        dirty.remove("");
    }

    async fn reconcile(&mut self, namespace: &str, grants: &GrantServer) -> anyhow::Result<()> {
        if let Some(site) = self.index.site(namespace).cloned() {
            if desired::check_site(&site).is_ok() {
                self.certificates(&site).await?;
                for object in objects::objects(&site, &self.image, &self.index) {
                    let what = format!("{} {}", object.resource.kind, object.name);
                    self.write(namespace, object).await.context(what)?;
                }
            }
            self.tell(&site).await;
            self.start_redemptions(&site);
        }
        let services: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        for name in objects::obsolete_services(namespace, &self.index) {
            match services.delete(&name, &DeleteParams::default()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error).context(format!("deleting Service {name}")),
            }
        }
        self.redemptions.retain(|uid, _| self.index.tokens.all().any(|token| token.uid().as_ref() == Some(uid)));
        for write in status::writes(namespace, &self.index, &self.identity, grants, Timestamp::now()) {
            let resource = resource(write.kind);
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
            let patch = json!({ "status": write.status });
            match api.patch_status(&write.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error).context(format!("status of {} {}", write.kind, write.name)),
            }
        }
        Ok(())
    }

    /// Creates the object, or patches what is there to what should be.
    async fn write(&mut self, namespace: &str, object: Object) -> anyhow::Result<()> {
        let hash: [u8; 32] = Sha256::digest(object.body.to_string()).into();
        let key = (namespace.to_owned(), object.resource.kind.clone(), object.name.clone());
        if self.written.get(&key) == Some(&hash) {
            return Ok(());
        }
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &object.resource);
        let patched = api.patch(&object.name, &PatchParams::default(), &Patch::Merge(&object.body)).await;
        match patched {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let new: DynamicObject = serde_json::from_value(object.body)?;
                api.create(&PostParams::default(), &new).await?;
            }
            other => drop(other?),
        }
        self.written.insert(key, hash);
        Ok(())
    }

    /// The site's CA, and certificates for incoming links that fit the addresses links come in at.
    async fn certificates(&mut self, site: &Arc<Site>) -> anyhow::Result<()> {
        let namespace = site.namespace().unwrap_or_default();
        let issuer = desired::issuer(site);
        let ca = match pair(&self.index, &namespace, issuer) {
            Some(ca) => ca,
            None if issuer == SITE_CA => {
                let ca = certs::authority(SITE_CA)?;
                self.put_secret(&namespace, SITE_CA, Some(site), &ca).await?;
                ca
            }
            None => anyhow::bail!("the issuer's secret {issuer:?} does not exist"),
        };
        let accesses: Vec<Arc<RouterAccess>> = self.index.accesses.of(&namespace).cloned().collect();
        for access in accesses.iter().filter(|access| access.spec.generate_tls_credentials) {
            let name = &access.spec.tls_credentials;
            let mut hosts = desired::node_addresses(&self.index);
            hosts.extend(desired::access_endpoints(access, &self.index).into_iter().map(|endpoint| endpoint.host));
            hosts.extend([access.name_any(), format!("{}.{namespace}", access.name_any())]);
            hosts.extend(access.spec.subject_alternative_names.iter().cloned());
            hosts.sort();
            hosts.dedup();
            let fits = pair(&self.index, &namespace, name).is_some_and(|old| {
                let covered: BTreeSet<_> = certs::hosts(&old.certificate).into_iter().collect();
                old.ca == ca.certificate && hosts.iter().all(|host| covered.contains(host))
            });
            if !fits {
                let new = certs::signed(&ca, &site.name_any(), &hosts)?;
                self.put_secret(&namespace, name, Some(site), &new).await?;
            }
        }
        Ok(())
    }

    /// Writes a pair, and notes it at once: the watch tells it a moment later.
    async fn put_secret(
        &mut self,
        namespace: &str,
        name: &str,
        owner: Option<&Arc<Site>>,
        pair: &Pair,
    ) -> anyhow::Result<()> {
        let mut body = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": { "name": name },
            "data": pair.data(),
        });
        if let Some(site) = owner {
            body["metadata"]["ownerReferences"] = json!([{
                "apiVersion": "skupper.io/v2alpha1", "kind": "Site", "name": site.name_any(), "uid": site.uid(),
            }]);
        }
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let new: Secret = serde_json::from_value(body.clone())?;
        let written = match api.create(&PostParams::default(), &new).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {
                api.patch(name, &PatchParams::default(), &Patch::Merge(&body)).await?
            }
            other => other?,
        };
        self.index.on(Watched::Secret(Event::Apply(written)));
        Ok(())
    }

    /// The grant server's CA, certificate and address, made or renewed as the nodes change.
    async fn grant_server(&mut self) -> anyhow::Result<GrantServer> {
        let namespace = self.identity.namespace.clone();
        let ca = match self.grant_ca.clone().or_else(|| pair(&self.index, &namespace, GRANT_CA)) {
            Some(ca) => ca,
            None => {
                let ca = certs::authority(GRANT_CA)?;
                self.put_secret(&namespace, GRANT_CA, None, &ca).await?;
                ca
            }
        };
        self.grant_ca = Some(ca.clone());
        let nodes = desired::node_addresses(&self.index);
        let service = self.index.services.get(&namespace, &self.grant_service);
        let address = service.and_then(|service| desired::reachable_at(service, "https", &nodes));
        let mut hosts = nodes;
        hosts.extend(address.iter().map(|(host, _)| host.clone()));
        hosts.push(format!("{}.{namespace}", self.grant_service));
        if hosts != self.grant_hosts {
            let pair = certs::signed(&ca, &self.grant_service, &hosts)?;
            self.certificate.send_replace(Some(grants::server_config(&pair)?));
            self.grant_hosts = hosts;
        }
        Ok(GrantServer { address: address.map(|(host, port)| format!("{host}:{port}")), ca: ca.certificate })
    }

    async fn redeem(&mut self, request: Request) {
        let answer = self.answer(&request).await;
        if let Err((status, message)) = &answer {
            tracing::info!(%status, message, "a redemption was refused");
        }
        // The client may have gone: nothing more to do for it.
        let _ = request.answer.send(answer);
    }

    async fn answer(&mut self, request: &Request) -> Answer {
        let internal = |message: String| (StatusCode::INTERNAL_SERVER_ERROR, message);
        let grant = grants::find(self.index.grants.all(), &request.uid).cloned();
        grants::check(grant.as_deref(), &request.code, Timestamp::now())?;
        let grant = grant.expect("the check refuses a missing grant");
        let namespace = grant.namespace().unwrap_or_default();
        let issuer = match (&*grant.spec.issuer, self.index.site(&namespace)) {
            ("", Some(site)) => desired::issuer(site).to_owned(),
            (issuer, _) => issuer.to_owned(),
        };
        let ca = pair(&self.index, &namespace, &issuer)
            .ok_or_else(|| internal("Could not get issuer for requested certificate".to_owned()))?;
        let name = request.name.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| grant.name_any());
        let subject = request.subject.clone().filter(|it| !it.is_empty()).unwrap_or_else(|| name.clone());
        let endpoints = desired::endpoints(&namespace, &self.index);
        let documents = grants::documents(&name, &subject, &ca, &endpoints).map_err(internal)?;
        // Counted before it is handed out, as one must never be redeemed too often.
        let redemptions = grant.status.as_ref().map_or(0, |status| status.redemptions) + 1;
        let api: Api<AccessGrant> = Api::namespaced(self.client.clone(), &namespace);
        let patch = json!({ "status": { "redemptions": redemptions } });
        match api.patch_status(&grant.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(updated) => {
                self.index.on(Watched::AccessGrant(Event::Apply(updated)));
                Ok(documents)
            }
            Err(error) => {
                tracing::warn!(%error, "the redemption was not counted");
                Err((StatusCode::SERVICE_UNAVAILABLE, "Internal error".to_owned()))
            }
        }
    }

    fn start_redemptions(&mut self, site: &Arc<Site>) {
        let namespace = site.namespace().unwrap_or_default();
        let waiting = |token: &&Arc<AccessToken>| !token.status.as_ref().is_some_and(|status| status.redeemed);
        for token in self.index.tokens.of(&namespace).filter(waiting) {
            self.redemptions.entry(token.uid().unwrap_or_default()).or_insert_with(|| {
                let task = redeem::run(self.client.clone(), Arc::clone(token), Arc::clone(site));
                AbortOnDropHandle::new(tokio::spawn(task))
            });
        }
    }

    /// Once for each Site: what its router is, and is not.
    async fn tell(&mut self, site: &Site) {
        if self.told.insert(site.uid().unwrap_or_default()) {
            let message = "The router is knetsim's embedded stand-in for skupper-router: it reads the same \
                           configuration, but links to routers of its own kind only.";
            self.recorder.record(&Recorder::reference(site), EventType::Normal, "EmbeddedRouter", message).await;
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The certificate in a Secret.
fn pair(index: &Index, namespace: &str, name: &str) -> Option<Pair> {
    let data = index.secrets.get(namespace, name)?.data.as_ref()?;
    let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
    let certificate = text("tls.crt")?;
    Some(Pair { ca: text("ca.crt").unwrap_or_else(|| certificate.clone()), certificate, key: text("tls.key")? })
}

fn resource(kind: &str) -> ApiResource {
    match kind {
        "Site" => ApiResource::erase::<Site>(&()),
        "Link" => ApiResource::erase::<Link>(&()),
        "Listener" => ApiResource::erase::<Listener>(&()),
        "Connector" => ApiResource::erase::<crate::api::Connector>(&()),
        "RouterAccess" => ApiResource::erase::<RouterAccess>(&()),
        _ => ApiResource::erase::<AccessGrant>(&()),
    }
}
