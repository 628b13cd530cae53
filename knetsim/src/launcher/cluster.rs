//! The processes of one cluster, and the order in which they start: (etcd,) API server, then everything else at once.

use std::future::Future;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::node::Node;
use super::supervisor::{Service, State, Supervisor};
use crate::layout::Layout;
use crate::progress::{Progress, Step};
use crate::topology::{ClusterPlan, NodePlan, Store};

/// Where etcd listens, on the control-plane node.
const ETCD_CLIENT: &str = "http://127.0.0.1:2379";
const ETCD_PEER: &str = "http://127.0.0.1:2380";
const CONTROLLER_MANAGER_CONFIG: &str = "kubeconfigs/controller-manager.conf";

/// A cluster whose nodes are there.
pub struct Cluster {
    pub plan: ClusterPlan,
    pub nodes: Vec<Node>,
    layout: Layout,
    /// The emulator's control group for its kubelets, or why there is none.
    limits: Result<String, String>,
    /// Whether its kubelets have images pulled.
    pull: bool,
}

impl Cluster {
    #[must_use]
    pub fn new(
        layout: Layout,
        plan: ClusterPlan,
        nodes: Vec<Node>,
        limits: Result<String, String>,
        pull: bool,
    ) -> Self {
        Self { plan, nodes, layout, limits, pull }
    }

    /// Starts everything, each as soon as what it needs is ready.
    pub fn start(
        &self,
        supervisor: &Supervisor,
        socket: Option<RawFd>,
        progress: Progress,
    ) -> impl Future<Output = ()> + Send + use<> {
        let etcd = (self.plan.store == Store::Etcd).then(|| self.etcd());
        let apiserver = self.apiserver(socket);
        let mut rest = vec![self.controller_manager(), self.scheduler()];
        rest.extend(self.nodes.iter().map(|node| self.kubelet(node)));
        let (supervisor, cluster) = (supervisor.clone(), self.plan.name.clone());
        async move {
            for service in etcd.into_iter().chain([apiserver]) {
                let component = service.name.clone();
                let state = supervisor.run(service);
                if !ready(state, &progress, &component).await {
                    return;
                }
                progress.report(Step::Ready { cluster: cluster.clone(), component });
            }
            for service in rest {
                supervisor.run(service);
            }
        }
    }

    fn service(&self, component: &str, node: &Node, argv: Vec<String>, notify: bool) -> Service {
        let notify = notify.then(|| self.layout.cluster(&self.plan.name).join(format!("{component}.notify")));
        Service {
            name: format!("{}/{component}", self.plan.name),
            argv,
            namespaces: Arc::clone(&node.namespaces),
            log: self.layout.log(&self.plan.name, component),
            notify,
            keep: Vec::new(),
        }
    }

    fn own(&self, component: &str) -> Vec<String> {
        let executable = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("knetsim"));
        vec![executable.to_string_lossy().into_owned(), component.to_owned()]
    }

    fn path(&self, name: &str) -> String {
        self.layout.cluster(&self.plan.name).join(name).to_string_lossy().into_owned()
    }

    fn etcd(&self) -> Service {
        let mut argv = vec!["etcd".to_owned()];
        for (flag, value) in [
            ("name", self.plan.control_plane().name.clone()),
            ("data-dir", self.path("etcd")),
            ("listen-client-urls", ETCD_CLIENT.to_owned()),
            ("advertise-client-urls", ETCD_CLIENT.to_owned()),
            ("listen-peer-urls", ETCD_PEER.to_owned()),
            ("initial-advertise-peer-urls", ETCD_PEER.to_owned()),
            ("initial-cluster", format!("{}={ETCD_PEER}", self.plan.control_plane().name)),
            ("logger", "zap".to_owned()),
            ("log-level", "warn".to_owned()),
        ] {
            argv.push(format!("--{flag}={value}"));
        }
        self.service("etcd", &self.nodes[0], argv, true)
    }

    fn apiserver(&self, socket: Option<RawFd>) -> Service {
        let address = self.plan.control_plane().address;
        let mut argv = self.own("apiserver");
        let pki = |name: &str| self.path(&format!("pki/{name}"));
        let mut flags = vec![
            ("bind-address", address.to_string()),
            ("advertise-address", address.to_string()),
            ("secure-port", "6443".to_owned()),
            ("tls-cert-file", pki("apiserver.crt")),
            ("tls-private-key-file", pki("apiserver.key")),
            ("client-ca-file", pki("ca.crt")),
            ("requestheader-client-ca-file", pki("front-proxy-ca.crt")),
            ("requestheader-allowed-names", "front-proxy-client".to_owned()),
            ("proxy-client-cert-file", pki("front-proxy-client.crt")),
            ("proxy-client-key-file", pki("front-proxy-client.key")),
            ("kubelet-client-certificate", pki("apiserver-kubelet-client.crt")),
            ("kubelet-client-key", pki("apiserver-kubelet-client.key")),
            ("kubelet-certificate-authority", pki("ca.crt")),
            ("kubelet-preferred-address-types", "InternalIP,ExternalIP,Hostname".to_owned()),
            ("service-account-key-file", pki("sa.pub")),
            ("service-account-signing-key-file", pki("sa.key")),
            ("enable-bootstrap-token-auth", "true".to_owned()),
            ("service-account-issuer", "https://kubernetes.default.svc.cluster.local".to_owned()),
            ("service-cluster-ip-range", self.plan.service_cidr.to_string()),
        ];
        match self.plan.store {
            Store::Embedded => {
                flags.extend([("storage-backend", "embedded".to_owned()), ("store-dir", self.path("store"))])
            }
            Store::Etcd => {
                flags.extend([("storage-backend", "etcd3".to_owned()), ("etcd-servers", ETCD_CLIENT.to_owned())]);
            }
        }
        flags.extend(socket.map(|fd| ("listen-fd", fd.to_string())));
        argv.extend(flags.into_iter().map(|(flag, value)| format!("--{flag}={value}")));
        let mut service = self.service("apiserver", &self.nodes[0], argv, true);
        service.keep.extend(socket);
        service
    }

    fn controller_manager(&self) -> Service {
        let mut argv = self.own("controller-manager");
        let pki = |name: &str| self.path(&format!("pki/{name}"));
        for (flag, value) in [
            ("kubeconfig", self.path(CONTROLLER_MANAGER_CONFIG)),
            ("authentication-kubeconfig", self.path(CONTROLLER_MANAGER_CONFIG)),
            ("authorization-kubeconfig", self.path(CONTROLLER_MANAGER_CONFIG)),
            ("bind-address", "127.0.0.1".to_owned()),
            ("cluster-cidr", self.plan.pod_cidr.to_string()),
            ("node-cidr-mask-size", "24".to_owned()),
            ("root-ca-file", pki("ca.crt")),
            ("service-account-private-key-file", pki("sa.key")),
            ("cluster-signing-cert-file", pki("ca.crt")),
            ("cluster-signing-key-file", pki("ca.key")),
            ("load-balancer-pool", self.plan.load_balancer_pool.to_string()),
        ] {
            argv.push(format!("--{flag}={value}"));
        }
        argv.push(self.elected());
        self.service("controller-manager", &self.nodes[0], argv, false)
    }

    /// There is one of each, and the launcher sees to that: whoever is started again need not wait for its own lease.
    fn elected(&self) -> String {
        format!("--leader-elect-identity={}", self.nodes[0].plan.name)
    }

    fn scheduler(&self) -> Service {
        let mut argv = self.own("scheduler");
        for flag in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
            argv.push(format!("--{flag}={}", self.path("kubeconfigs/scheduler.conf")));
        }
        argv.push("--bind-address=127.0.0.1".to_owned());
        argv.push(self.elected());
        self.service("scheduler", &self.nodes[0], argv, false)
    }

    fn kubelet(&self, node: &Node) -> Service {
        let mut argv = self.own("kubelet");
        let NodePlan { name, address, control_plane } = &node.plan;
        for (flag, value) in [
            ("kubeconfig", "/etc/kubernetes/kubelet.conf".to_owned()),
            ("hostname-override", name.clone()),
            ("node-ip", address.to_string()),
            ("cluster-dns", self.plan.dns_ip.to_string()),
            ("cluster-domain", "cluster.local".to_owned()),
            ("cni-conf-dir", "/etc/cni/net.d".to_owned()),
            ("cni-bin-dir", "/opt/cni/bin".to_owned()),
            ("root-dir", "/var/lib/kubelet".to_owned()),
            ("pod-manifest-path", "/etc/kubernetes/manifests".to_owned()),
            ("tls-cert-file", "/etc/kubernetes/pki/kubelet.crt".to_owned()),
            ("tls-private-key-file", "/etc/kubernetes/pki/kubelet.key".to_owned()),
            ("client-ca-file", "/etc/kubernetes/pki/ca.crt".to_owned()),
            ("image-store", self.layout.images().to_string_lossy().into_owned()),
        ] {
            argv.push(format!("--{flag}={value}"));
        }
        argv.extend(self.pull.then(|| format!("--image-puller={}", self.layout.pull_socket().display())));
        argv.push(match &self.limits {
            Ok(group) => format!("--cgroup-root={group}"),
            Err(why) => format!("--limits-off={why}"),
        });
        if *control_plane {
            argv.push("--register-with-taints=node-role.kubernetes.io/control-plane=:NoSchedule".to_owned());
        }
        self.service(&format!("{name}-kubelet"), node, argv, false)
    }
}

/// How often a cluster's first processes may end before the emulator gives up on starting.
const MAX_FAILED_STARTS: u32 = 4;

/// Waits until a service is ready, and reports each time it had to be started again. False when it is given up on.
async fn ready(mut state: watch::Receiver<State>, progress: &Progress, component: &str) -> bool {
    let mut restarts = 0;
    loop {
        let now = state.borrow_and_update().clone();
        if now.ready {
            return true;
        }
        if now.restarts > restarts {
            restarts = now.restarts;
            let why = now.last_exit.unwrap_or_default();
            if restarts > MAX_FAILED_STARTS {
                progress.report(Step::Failed {
                    why: format!("{component} does not start: {why}; see `knetsim logs {component}`"),
                });
                return false;
            }
            progress.report(Step::Restarted { component: component.to_owned(), why });
        }
        if state.changed().await.is_err() {
            return false;
        }
    }
}
