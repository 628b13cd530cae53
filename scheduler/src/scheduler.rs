//! The loop: takes news in, decides on one pod at a time, sends the decisions off.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::apply::{BindError, Writer};
use crate::core::cluster::Cluster;
use crate::core::pod::PodInfo;
use crate::core::volumes::Assumed;
use crate::core::volumes::plan::Bindings;
use crate::decide::{Decision, decide};
use crate::index::{KINDS, Kind, Message, PodNews};
use crate::metrics::{self, Metrics};
use crate::queue::{News, Queue, Waiting};

/// How many bindings may be on their way at once.
const BINDINGS: usize = 32;

struct Outcome {
    waiting: Waiting,
    /// When the decision began.
    began: Instant,
    since: u64,
    assumed: Assumed,
    bound: Result<(), BindError>,
}

pub struct Scheduler {
    name: String,
    writer: Writer,
    metrics: Arc<Metrics>,
    cluster: Cluster,
    queue: Queue,
    listed: HashSet<Kind>,
    /// Uids of pods known, to find out after a relist which are gone.
    pods: HashSet<String>,
    /// Pods told to wait for their gates, so that they are told once.
    gated: HashSet<String>,
    /// Pods being bound right now: news of them must not queue them again. Dropping the sender calls it off.
    binding: HashMap<String, oneshot::Sender<()>>,
    slots: Arc<Semaphore>,
}

impl Scheduler {
    #[must_use]
    pub fn new(writer: Writer, name: String, metrics: Arc<Metrics>) -> Self {
        Self {
            name,
            writer,
            metrics,
            cluster: Cluster::default(),
            queue: Queue::default(),
            listed: HashSet::new(),
            pods: HashSet::new(),
            gated: HashSet::new(),
            binding: HashMap::new(),
            slots: Arc::new(Semaphore::new(BINDINGS)),
        }
    }

    /// Runs until the watches end, that is, for ever.
    pub async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let (outcomes, mut results) = mpsc::channel::<Outcome>(BINDINGS);
        loop {
            // All news first: a decision on stale news is a decision made twice.
            while let Ok(message) = messages.try_recv() {
                self.take(message);
            }
            while let Ok(outcome) = results.try_recv() {
                self.finish(outcome);
            }
            let (active, backoff, unschedulable) = self.queue.lengths();
            self.metrics.pending([active, backoff, self.gated.len(), unschedulable]);
            let ready = self.listed.len() == KINDS.len() && self.slots.available_permits() > 0;
            if ready && let Some((waiting, since)) = self.queue.pop(Instant::now()) {
                self.schedule(waiting, since, &outcomes);
                // Bindings run on this very thread: let them.
                tokio::task::yield_now().await;
                continue;
            }
            let due = self.queue.next_due().filter(|_| ready);
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => self.take(message),
                    None => return,
                },
                Some(outcome) = results.recv() => self.finish(outcome),
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    fn tell(&mut self, news: News) {
        self.queue.tell(news, Instant::now());
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Pod(news) => self.take_pod(*news),
            Message::PodGone(uid) => self.lose_pod(&uid),
            Message::Node(node) => {
                let name = node.metadata.name.clone().unwrap_or_default();
                let known = self.cluster.nodes.get(&name).map(|known| known.node.clone());
                match known {
                    None => {
                        self.cluster.set_node(node);
                        self.tell(News::NodeAdded);
                    }
                    Some(known) => {
                        let differs = known.metadata.labels != node.metadata.labels
                            || known.spec != node.spec
                            || known.status.as_ref().map(|s| &s.allocatable)
                                != node.status.as_ref().map(|s| &s.allocatable);
                        self.cluster.set_node(node);
                        if differs {
                            self.tell(News::NodeChanged);
                        }
                    }
                }
            }
            Message::NodeGone(name) => self.cluster.remove_node(&name),
            Message::Claim(claim) => {
                self.cluster.storage.set_claim(claim);
                self.tell(News::StorageChanged);
            }
            Message::Volume(volume) => {
                self.cluster.storage.set_volume(volume);
                self.tell(News::StorageChanged);
            }
            Message::Class(class) => {
                self.cluster.storage.set_class(class);
                self.tell(News::StorageChanged);
            }
            Message::ClaimGone(key) => self.cluster.storage.remove_claim(&key),
            Message::VolumeGone(name) => self.cluster.storage.remove_volume(&name),
            Message::ClassGone(name) => self.cluster.storage.remove_class(&name),
            Message::Namespace(namespace) => {
                let name = namespace.metadata.name.unwrap_or_default();
                let labels = namespace.metadata.labels.unwrap_or_default();
                if self.cluster.namespaces.insert(name, labels.clone()) != Some(labels) {
                    self.tell(News::NamespaceChanged);
                }
            }
            Message::NamespaceGone(name) => drop(self.cluster.namespaces.remove(&name)),
            Message::Budget(key, budget) => drop(self.cluster.budgets.insert(key, *budget)),
            Message::BudgetGone(key) => drop(self.cluster.budgets.remove(&key)),
            Message::Listed(kind, all) => self.take_list(kind, all),
        }
    }

    /// After a list, whatever is not in it is gone.
    fn take_list(&mut self, kind: Kind, all: Vec<String>) {
        let all: HashSet<String> = all.into_iter().collect();
        match kind {
            Kind::Pods => {
                let gone: Vec<_> = self.pods.difference(&all).cloned().collect();
                gone.iter().for_each(|uid| self.lose_pod(uid));
            }
            Kind::Nodes => {
                let gone: Vec<_> = self.cluster.nodes.keys().filter(|name| !all.contains(*name)).cloned().collect();
                gone.iter().for_each(|name| self.cluster.remove_node(name));
            }
            Kind::Claims => self.cluster.storage.keep_claims(|key| all.contains(key)),
            Kind::Volumes => self.cluster.storage.keep_volumes(|name| all.contains(name)),
            Kind::Classes => self.cluster.storage.keep_classes(|name| all.contains(name)),
            Kind::Namespaces => self.cluster.namespaces.retain(|name, _| all.contains(name)),
            Kind::Budgets => self.cluster.budgets.retain(|key, _| all.contains(key)),
        }
        self.listed.insert(kind);
        if self.listed.len() == KINDS.len() {
            self.metrics.synced();
        }
    }

    fn take_pod(&mut self, news: PodNews) {
        let PodNews { info, scheduler, finished } = news;
        let uid = info.uid.clone();
        self.pods.insert(uid.clone());
        if info.node.is_some() {
            self.queue.remove(&uid);
            if finished {
                if self.cluster.remove_pod(&uid) {
                    self.tell(News::PodLeft);
                }
            } else {
                let shrunk = self.cluster.pod(&uid).is_some_and(|known| info.requests.is_below(&known.requests));
                self.cluster.set_pod(Arc::new(info));
                self.tell(News::PodPlaced);
                if shrunk {
                    self.tell(News::PodShrunk);
                }
            }
            return;
        }
        if finished || info.deleting || scheduler != self.name {
            self.queue.remove(&uid);
            return;
        }
        if !info.gates.is_empty() {
            if self.gated.insert(uid.clone()) {
                self.queue.remove(&uid);
                let writer = self.writer.clone();
                tokio::spawn(async move { writer.gated(&info).await });
            }
            return;
        }
        let freed = self.gated.remove(&uid);
        if self.binding.contains_key(&uid) || self.cluster.is_assumed(&uid) {
            return;
        }
        // News of a waiting pod is mostly the condition we wrote ourselves: that is no reason to try again.
        if freed || !self.queue.knows(&info) {
            self.queue.put(Arc::new(info));
        }
    }

    fn lose_pod(&mut self, uid: &str) {
        self.pods.remove(uid);
        self.gated.remove(uid);
        self.binding.remove(uid);
        self.queue.remove(uid);
        if self.cluster.remove_pod(uid) {
            self.tell(News::PodLeft);
        }
    }

    fn schedule(&mut self, waiting: Waiting, since: u64, outcomes: &mpsc::Sender<Outcome>) {
        let (pod, began) = (waiting.pod.clone(), Instant::now());
        let decision = decide(&pod, &self.cluster);
        if !matches!(decision, Decision::Place(..)) {
            self.metrics.tried(metrics::Outcome::Unschedulable, waiting.attempts, began.elapsed());
        }
        match decision {
            Decision::Place(node, bindings) => self.bind(waiting, since, began, node, &bindings, outcomes.clone()),
            Decision::Evict(diagnosis, preemption) => {
                self.metrics.preempted(preemption.victims.len());
                let mut waiting = waiting;
                let mut hopeful = (*pod).clone();
                hopeful.nominated = Some(preemption.node.clone());
                waiting.pod = Arc::new(hopeful);
                self.cluster.nominate(&waiting.pod, Some(&preemption.node));
                let (writer, name) = (self.writer.clone(), self.name.clone());
                let message = diagnosis.message();
                self.queue.refused(waiting, diagnosis.plugins(), since, Instant::now());
                tokio::spawn(async move {
                    for victim in &preemption.victims {
                        writer.evict(victim, &pod, &preemption.node, &name).await;
                    }
                    writer.refuse(&pod, &message, Some(&preemption.node)).await;
                });
            }
            Decision::Impossible(diagnosis) => {
                let message = diagnosis.message();
                self.queue.refused(waiting, diagnosis.plugins(), since, Instant::now());
                self.complain(pod, message);
            }
        }
    }

    fn bind(
        &mut self,
        waiting: Waiting,
        since: u64,
        began: Instant,
        node: String,
        bindings: &Bindings,
        outcomes: mpsc::Sender<Outcome>,
    ) {
        let pod = waiting.pod.clone();
        self.cluster.nominate(&pod, None);
        self.cluster.assume(&pod, &node);
        let assumed = self.cluster.storage.assume(bindings, &node);
        let (alive, called_off) = oneshot::channel();
        self.binding.insert(pod.uid.clone(), alive);
        let (writer, slots) = (self.writer.clone(), self.slots.clone());
        let mut slot = slots.clone().try_acquire_owned().ok();
        tokio::spawn(async move {
            let work = async {
                if !assumed.awaited.is_empty() {
                    writer.bind_volumes(&assumed).await?;
                    // Volumes take their time: others are bound meanwhile.
                    slot = None;
                    writer.await_volumes(&assumed, &node).await?;
                    slot = slots.acquire_owned().await.ok();
                }
                Ok(writer.bind(&pod, &node).await?)
            };
            let bound = tokio::select! {
                bound = work => bound,
                _ = called_off => Err(BindError::CalledOff),
            };
            drop(slot);
            let _ = outcomes.send(Outcome { waiting, began, since, assumed, bound }).await;
        });
    }

    fn complain(&self, pod: Arc<PodInfo>, message: String) {
        let writer = self.writer.clone();
        tokio::spawn(async move { writer.refuse(&pod, &message, None).await });
    }

    fn finish(&mut self, outcome: Outcome) {
        let Outcome { waiting, began, since, assumed, bound } = outcome;
        let came_of_it = if bound.is_ok() { metrics::Outcome::Scheduled } else { metrics::Outcome::Error };
        self.metrics.tried(came_of_it, waiting.attempts, began.elapsed());
        let uid = waiting.pod.uid.clone();
        self.binding.remove(&uid);
        let Err(error) = bound else { return };
        let pod = waiting.pod.key();
        self.cluster.forget(&uid);
        self.cluster.storage.forget(assumed);
        self.tell(News::PodLeft);
        let gone = matches!(&error, BindError::Api(kube::Error::Api(status)) if status.code == 404);
        if gone || !self.pods.contains(&uid) {
            return;
        }
        tracing::warn!(pod, %error, "binding failed, will try again");
        if let BindError::Volumes(why) = &error {
            let message = format!("running PreBind plugin \"VolumeBinding\": binding volumes: {why}");
            self.complain(waiting.pod.clone(), message);
        }
        self.queue.refused(waiting, BTreeSet::new(), since, Instant::now());
    }
}
