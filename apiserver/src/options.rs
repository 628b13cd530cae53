//! The flags. Names are upstream's `kube-apiserver` flags; the few of our own say so. [`table`] has those of upstream's that
//! nothing here depends on.

mod gates;
mod plugins;
mod runtime_config;
mod serving;
mod table;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use ipnet::IpNet;

pub use runtime_config::RuntimeConfig;
pub use serving::Serving;

/// How the endpoints of the `kubernetes` Service are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum EndpointReconciler {
    /// Each server has a lease in the store; all that live are listed.
    #[default]
    Lease,
    /// They are somebody else's.
    None,
}

/// Where objects are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// A file of our own below `--store-dir`.
    Embedded,
    /// A running etcd (`--etcd-servers`).
    Etcd3,
}

/// An inclusive range of ports, written `30000-32767`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

impl std::str::FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').ok_or("expected FIRST-LAST, such as 30000-32767")?;
        let port = |s: &str| s.trim().parse::<u16>().map_err(|e| format!("{s:?} is no port: {e}"));
        let (first, last) = (port(first)?, port(last)?);
        if first == 0 || first > last {
            Err(format!("{text:?} is no range of ports"))
        } else {
            Ok(Self { first, last })
        }
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// The Kubernetes API server of knetsim.
#[derive(Clone, Debug, Parser)]
#[command(name = "apiserver", version, args_override_self = true)]
pub struct Options {
    /// Where objects are kept (`embedded` is ours); without it in etcd where `--etcd-servers` says which, or embedded.
    #[arg(long, value_enum)]
    pub storage_backend: Option<Backend>,
    /// The embedded store's folder (ours).
    #[arg(long, required_if_eq("storage_backend", "embedded"), required_unless_present = "etcd_servers")]
    pub store_dir: Option<PathBuf>,
    /// Addresses of etcd, comma-separated.
    #[arg(long, value_delimiter = ',', required_if_eq("storage_backend", "etcd3"))]
    pub etcd_servers: Vec<String>,
    /// Whom to trust behind `https` addresses of etcd; the system's authorities without it.
    #[arg(long)]
    pub etcd_cafile: Option<PathBuf>,
    /// This server's certificate for etcd.
    #[arg(long, requires = "etcd_keyfile")]
    pub etcd_certfile: Option<PathBuf>,
    /// The key of `--etcd-certfile`.
    #[arg(long, requires = "etcd_certfile")]
    pub etcd_keyfile: Option<PathBuf>,
    /// Where all keys are in the store.
    #[arg(long, default_value = store::relocated::USUAL)]
    pub etcd_prefix: String,
    /// How the endpoints of the `kubernetes` Service are kept.
    #[arg(long, value_enum, default_value = "lease")]
    pub endpoint_reconciler_type: EndpointReconciler,
    /// How often what is older than this is forgotten by the store; 0: never.
    #[arg(long, default_value = "5m0s", value_parser = runtime::flags::duration)]
    pub etcd_compaction_interval: Duration,
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,
    /// The address other members of the cluster reach this server at; it becomes the endpoint of the `kubernetes` Service.
    #[arg(long)]
    pub advertise_address: Option<IpAddr>,
    #[command(flatten)]
    pub serving: Serving,
    #[arg(long)]
    pub client_ca_file: PathBuf,
    #[arg(long)]
    pub kubelet_client_certificate: Option<PathBuf>,
    #[arg(long)]
    pub kubelet_client_key: Option<PathBuf>,
    #[arg(long)]
    pub kubelet_certificate_authority: Option<PathBuf>,
    /// Which of a node's addresses its kubelet is reached at, the best first.
    #[arg(long, value_delimiter = ',', default_value = "Hostname,InternalDNS,InternalIP,ExternalDNS,ExternalIP")]
    pub kubelet_preferred_address_types: Vec<String>,
    /// Public (or private) keys ServiceAccount tokens are verified with; repeatable.
    #[arg(long)]
    pub service_account_key_file: Vec<PathBuf>,
    /// The private key ServiceAccount tokens are signed with.
    #[arg(long)]
    pub service_account_signing_key_file: PathBuf,
    #[arg(long, default_value = "https://kubernetes.default.svc.cluster.local")]
    pub service_account_issuer: String,
    /// Where the keys of tokens are published; by default here.
    #[arg(long)]
    pub service_account_jwks_uri: Option<String>,
    /// No token lives longer; it is told so who asks for more.
    #[arg(long, value_parser = runtime::flags::duration)]
    pub service_account_max_token_expiration: Option<Duration>,
    /// Whether tokens that pods are given by default live for a year, so that old clients can go on with them.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub service_account_extend_token_expiration: bool,
    /// The host that clients outside know this server by.
    #[arg(long)]
    pub external_hostname: Option<String>,
    #[arg(long, default_value = "10.96.0.0/16")]
    pub service_cluster_ip_range: IpNet,
    #[arg(long, default_value = "30000-32767")]
    pub service_node_port_range: PortRange,
    /// Reach aggregated servers and webhooks at an endpoint of their Service instead of its ClusterIP.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub enable_aggregator_routing: bool,
    /// Namespaces are the business of the server in front: any is taken for one that is there (ours).
    #[arg(long, hide = true)]
    pub foreign_namespaces: bool,
    /// The certificate this server shows to aggregated servers.
    #[arg(long)]
    pub proxy_client_cert_file: Option<PathBuf>,
    #[arg(long)]
    pub proxy_client_key_file: Option<PathBuf>,
    /// The authority of proxies in front of this server, whose headers say who the user is.
    #[arg(long)]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of such proxies; none: any.
    #[arg(long, value_delimiter = ',')]
    pub requestheader_allowed_names: Vec<String>,
    #[arg(long, value_delimiter = ',', default_value = "X-Remote-User")]
    pub requestheader_username_headers: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub requestheader_uid_headers: Vec<String>,
    #[arg(long, value_delimiter = ',', default_value = "X-Remote-Group")]
    pub requestheader_group_headers: Vec<String>,
    #[arg(long, value_delimiter = ',', default_value = "X-Remote-Extra-")]
    pub requestheader_extra_headers_prefix: Vec<String>,
    /// Whether requests without credentials are those of system:anonymous; they are where nothing is said.
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub anonymous_auth: Option<bool>,
    /// Through which proxies others are reached (EgressSelectorConfiguration).
    #[arg(long)]
    pub egress_selector_config_file: Option<PathBuf>,
    /// Tokens and whose they are: `token,user,uid,"group1,group2"`, a line each; read at the start.
    #[arg(long)]
    pub token_auth_file: Option<PathBuf>,
    #[command(flatten)]
    pub oidc: Oidc,
    /// Issuers of tokens, and who may come without (AuthenticationConfiguration); followed when it changes.
    #[arg(long)]
    pub authentication_config: Option<PathBuf>,
    #[command(flatten)]
    pub token_webhook: TokenWebhook,
    #[command(flatten)]
    pub authorization: Authorization,
    /// Who is asked whether a request may be made (AuthorizationConfiguration); followed when it changes.
    #[arg(long)]
    pub authorization_config: Option<PathBuf>,
    /// Whether Secrets of type bootstrap.kubernetes.io/token are credentials.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub enable_bootstrap_token_auth: bool,
    /// What tokens must be for; the issuer by default.
    #[arg(long, value_delimiter = ',')]
    pub api_audiences: Vec<String>,
    /// How long Events are kept.
    #[arg(long, default_value = "1h0m0s", value_parser = runtime::flags::duration)]
    pub event_ttl: Duration,
    /// Which objects are encrypted in the store, and how (EncryptionConfiguration).
    #[arg(long)]
    pub encryption_provider_config: Option<PathBuf>,
    /// The same is followed when it changes.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub encryption_provider_config_automatic_reload: bool,
    /// What is logged of which requests (audit.k8s.io/v1 Policy); without it there is no audit log.
    #[arg(long)]
    pub audit_policy_file: Option<PathBuf>,
    /// The audit log; `-` is the standard output.
    #[arg(long)]
    pub audit_log_path: Option<PathBuf>,
    /// The size in MiB at which the log is begun anew; 0: never.
    #[arg(long, default_value_t = 0)]
    pub audit_log_maxsize: u64,
    /// So many old logs are kept; 0: all.
    #[arg(long, default_value_t = 0)]
    pub audit_log_maxbackup: usize,
    /// Old logs are kept for so many days; 0: for ever.
    #[arg(long, default_value_t = 0)]
    pub audit_log_maxage: u64,
    /// Old logs are compressed.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub audit_log_compress: bool,
    #[command(flatten)]
    pub audit: crate::audit::Flags,
    #[command(flatten)]
    pub limits: Limits,
    #[command(flatten)]
    pub tolerations: crate::admission::toleration_seconds::TolerationSeconds,
    /// What admission plugins are configured to do (apiserver.config.k8s.io/v1 AdmissionConfiguration).
    #[arg(long)]
    pub admission_control_config_file: Option<PathBuf>,
    /// Admission plugins that are off by default and shall run.
    #[arg(long, value_delimiter = ',', value_parser = plugins::enable)]
    pub enable_admission_plugins: Vec<String>,
    /// Admission plugins that shall not run.
    #[arg(long, value_delimiter = ',', value_parser = plugins::disable)]
    pub disable_admission_plugins: Vec<String>,
    /// Whether /debug/flags is served.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub profiling: bool,
    /// How much is logged: from 4 on what developers want, from 8 on everything.
    #[arg(short = 'v', long = "v", default_value_t = 0)]
    pub verbosity: u32,
    /// Features as they are, NAME=true|false, comma-separated; repeatable.
    #[arg(long)]
    pub feature_gates: Vec<gates::Gates>,
    /// Which of the built-in groups and versions are served: GROUP/VERSION=true|false, api/beta=false …; repeatable.
    #[arg(long)]
    pub runtime_config: Vec<RuntimeConfig>,
    #[command(flatten)]
    pub others: table::Table,
    /// An inherited, already listening TCP socket to serve as well, with the same TLS; repeatable (ours).
    #[arg(long)]
    pub listen_fd: Vec<i32>,
}

/// How much clients may ask for at once, and for how long.
#[derive(Clone, Debug, clap::Args)]
pub struct Limits {
    /// How long a request may take that is not for long.
    #[arg(long, default_value = "1m0s", value_parser = runtime::flags::duration)]
    pub request_timeout: Duration,
    /// A watch lives for so many seconds at least, and for twice as many at most, where it does not say how long.
    #[arg(long, default_value_t = 1800, value_parser = clap::value_parser!(u32).range(1..))]
    pub min_request_timeout: u32,
    /// So many requests are served at once; the levels of priority share them.
    #[arg(long, default_value_t = 400)]
    pub max_requests_inflight: u32,
    /// And so many besides.
    #[arg(long, default_value_t = 200)]
    pub max_mutating_requests_inflight: u32,
    /// So many streams a client may have open on one HTTP/2 connection; 0: 250.
    #[arg(long, default_value_t = 0)]
    pub http2_max_streams_per_connection: u32,
}

impl Limits {
    /// So many requests are served at once, as upstream adds them up.
    ///
    /// # Errors
    /// None would be.
    pub fn seats(&self) -> anyhow::Result<u64> {
        let seats = u64::from(self.max_requests_inflight) + u64::from(self.max_mutating_requests_inflight);
        anyhow::ensure!(
            seats > 0,
            "--max-requests-inflight and --max-mutating-requests-inflight are both 0, and nobody would be served"
        );
        Ok(seats)
    }

    /// How many streams a client may have open on one HTTP/2 connection (upstream: 250 by default, 100 for the anonymous).
    #[must_use]
    pub fn streams(&self) -> u32 {
        if self.http2_max_streams_per_connection == 0 { 250 } else { self.http2_max_streams_per_connection }
    }
}

/// A server that knows whose a token is.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TokenWebhook {
    /// A kubeconfig that says where it is.
    #[arg(long)]
    pub authentication_token_webhook_config_file: Option<PathBuf>,
    /// The version of the TokenReviews it is sent.
    #[arg(long, default_value = "v1beta1")]
    pub authentication_token_webhook_version: String,
    /// How long its answers are kept (2m).
    #[arg(long, value_parser = runtime::flags::duration)]
    pub authentication_token_webhook_cache_ttl: Option<Duration>,
}

/// Who is asked whether a request may be made.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Authorization {
    /// Node, RBAC, ABAC, Webhook, AlwaysAllow, AlwaysDeny, in their order; Node and RBAC where nothing is said.
    #[arg(long, value_delimiter = ',')]
    pub authorization_mode: Vec<String>,
    /// The policies of ABAC, a JSON object a line.
    #[arg(long)]
    pub authorization_policy_file: Option<PathBuf>,
    /// A kubeconfig that says where the webhook is.
    #[arg(long)]
    pub authorization_webhook_config_file: Option<PathBuf>,
    /// The version of the SubjectAccessReviews it is sent (v1beta1).
    #[arg(long)]
    pub authorization_webhook_version: Option<String>,
    /// How long its yes is kept (5m).
    #[arg(long, value_parser = runtime::flags::duration)]
    pub authorization_webhook_cache_authorized_ttl: Option<Duration>,
    /// How long its no is kept (30s).
    #[arg(long, value_parser = runtime::flags::duration)]
    pub authorization_webhook_cache_unauthorized_ttl: Option<Duration>,
}

impl Authorization {
    /// Whether any of the flags was given.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.authorization_mode.is_empty()
            || self.authorization_webhook_config_file.is_some()
            || self.authorization_webhook_version.is_some()
            || self.authorization_webhook_cache_authorized_ttl.is_some()
            || self.authorization_webhook_cache_unauthorized_ttl.is_some()
    }
}

/// One issuer of OpenID Connect tokens.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Oidc {
    /// The issuer's URL (https).
    #[arg(long)]
    pub oidc_issuer_url: Option<String>,
    /// What its tokens must be for.
    #[arg(long)]
    pub oidc_client_id: Option<String>,
    /// The authorities its certificate is checked with; without it the system's.
    #[arg(long)]
    pub oidc_ca_file: Option<PathBuf>,
    /// The claim that is the user's name (sub).
    #[arg(long)]
    pub oidc_username_claim: Option<String>,
    /// What is put before the name; without it the issuer's URL and `#`, unless the claim is email; `-`: nothing.
    #[arg(long)]
    pub oidc_username_prefix: Option<String>,
    /// The claim with the user's groups.
    #[arg(long)]
    pub oidc_groups_claim: Option<String>,
    /// What is put before each group.
    #[arg(long)]
    pub oidc_groups_prefix: Option<String>,
    /// CLAIM=VALUE that a token must have; repeatable.
    #[arg(long, value_parser = pair)]
    pub oidc_required_claim: Vec<(String, String)>,
    /// What tokens may be signed with (RS256).
    #[arg(long, value_delimiter = ',')]
    pub oidc_signing_algs: Vec<String>,
}

/// What Go reads as a truth.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("malformed pair, expect string=string: {text:?}"))?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

impl Oidc {
    /// Whether any of the flags was given.
    #[must_use]
    pub fn any(&self) -> bool {
        let texts = [
            &self.oidc_issuer_url,
            &self.oidc_client_id,
            &self.oidc_username_claim,
            &self.oidc_username_prefix,
            &self.oidc_groups_claim,
            &self.oidc_groups_prefix,
        ];
        texts.iter().any(|flag| flag.is_some())
            || self.oidc_ca_file.is_some()
            || !self.oidc_required_claim.is_empty()
            || !self.oidc_signing_algs.is_empty()
    }
}

impl Options {
    /// Where objects are kept.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.storage_backend.unwrap_or(if self.etcd_servers.is_empty() { Backend::Embedded } else { Backend::Etcd3 })
    }

    /// Whether an admission plugin runs; `default`: whether it does unasked.
    #[must_use]
    pub fn plugin(&self, name: &str, default: bool) -> bool {
        let listed = |list: &[String]| list.iter().any(|entry| entry == name);
        (default || listed(&self.enable_admission_plugins)) && !listed(&self.disable_admission_plugins)
    }

    /// All that is said of groups and versions.
    #[must_use]
    pub fn served(&self) -> RuntimeConfig {
        let mut all = RuntimeConfig::default();
        self.runtime_config.iter().for_each(|one| all.extend(one));
        all
    }

    /// The advertised address; without the flag the bind address, or loopback where that is a wildcard.
    #[must_use]
    pub fn advertised(&self) -> IpAddr {
        self.advertise_address.unwrap_or(if self.bind_address.is_unspecified() {
            IpAddr::from([127, 0, 0, 1])
        } else {
            self.bind_address
        })
    }

    /// How clients outside reach this server.
    #[must_use]
    pub fn external_address(&self) -> String {
        match &self.external_hostname {
            // A host may say its port.
            Some(host) if host.contains(':') => host.clone(),
            Some(host) => format!("{host}:{}", self.secure_port),
            None => format!("{}:{}", self.advertised(), self.secure_port),
        }
    }

    /// The `kubernetes` Service's address: the first of the range.
    #[must_use]
    pub fn api_service_ip(&self) -> IpAddr {
        self.service_cluster_ip_range.hosts().next().unwrap_or_else(|| self.service_cluster_ip_range.addr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_chosen_by_what_is_said_of_it() {
        let parse = |store: &[&str]| {
            let needed = ["client-ca-file", "service-account-signing-key-file"];
            let needed = needed.map(|flag| format!("--{flag}=f"));
            let store = store.iter().map(|flag| (*flag).to_owned());
            let options = Options::try_parse_from(std::iter::once("apiserver".to_owned()).chain(needed).chain(store));
            options.ok().map(|options| options.backend())
        };
        let (dir, etcd) = ("--store-dir=d", "--etcd-servers=http://e");
        for (store, expected) in [
            (&[dir][..], Some(Backend::Embedded)),
            (&[etcd], Some(Backend::Etcd3)),
            (&["--storage-backend=embedded", dir, etcd], Some(Backend::Embedded)),
            (&["--storage-backend=etcd3", dir, etcd], Some(Backend::Etcd3)),
            (&["--storage-backend=embedded", etcd], None),
            (&["--storage-backend=etcd3", dir], None),
            (&[], None),
        ] {
            assert_eq!(parse(store), expected, "{store:?}");
        }
    }
}
