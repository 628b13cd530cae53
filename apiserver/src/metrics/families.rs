//! The families of series there are, in upstream's names and words.

use component_base::health::{HEALTH, HEALTH_TOTAL};
use component_base::metrics::{About, Family, Kind, Stability};

use super::inflight::Inflight;

/// `apiserver_request_duration_seconds` and what is compared with it.
const REQUESTS: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];
const SLI: &[f64] =
    &[0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0];
const WATCH_LIST: &[f64] =
    &[0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0];
const SIZES: &[f64] = &[1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
const EVENT_SIZES: &[f64] = &[1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0, 65536.0, 131_072.0];
const ACCESS: &[f64] =
    &[0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384];
const ADMISSION: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5];
const WEBHOOKS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];
const FLOW: &[f64] = &[0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];
const SEATS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0];
/// Prometheus' own.
const DEFAULT: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Twice the one before, from 5 µs on.
const TRANSFORMATIONS: &[f64] = &[
    0.000_005, 0.000_01, 0.000_02, 0.000_04, 0.000_08, 0.000_16, 0.000_32, 0.000_64, 0.001_28, 0.002_56, 0.005_12,
    0.010_24, 0.020_48, 0.040_96, 0.081_92, 0.163_84, 0.327_68, 0.655_36, 1.310_72, 2.621_44, 5.242_88, 10.485_76,
    20.971_52, 41.943_04, 83.886_08,
];
/// The same from 100 µs on.
const KMS: &[f64] = &[
    0.0001, 0.0002, 0.0004, 0.0008, 0.0016, 0.0032, 0.0064, 0.0128, 0.0256, 0.0512, 0.1024, 0.2048, 0.4096, 0.8192,
    1.6384, 3.2768, 6.5536, 13.1072, 26.2144, 52.4288,
];
const CHECKS: &[f64] = &[0.000_000_5, 0.001, 0.01, 0.1, 1.0];

const fn histogram(bounds: &'static [f64]) -> Kind {
    Kind::Histogram(bounds)
}

/// Families that are counted as things happen: a field of [`Metrics`] each.
macro_rules! counted {
    ($($field:ident: $stability:ident $kind:expr, $name:literal, [$($label:literal),*], $help:literal;)*) => {
        #[derive(Debug)]
        pub struct Metrics {
            pub inflight: Inflight,
            $(pub $field: Family,)*
        }

        impl Default for Metrics {
            fn default() -> Self {
                Self { inflight: Inflight::default(), $($field: Family::new(const { &About {
                    name: $name, help: $help, stability: Stability::$stability, kind: $kind, labels: &[$($label),*],
                } }),)* }
            }
        }

        impl Metrics {
            pub fn families(&self) -> impl Iterator<Item = &Family> {
                [$(&self.$field),*].into_iter()
            }
        }

        const COUNTED: &[Stability] = &[$(Stability::$stability),*];
    };
}

counted! {
    requests: Stable Kind::Counter, "apiserver_request_total",
        ["code", "component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version"],
        "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.";
    request_duration: Stable histogram(REQUESTS), "apiserver_request_duration_seconds",
        ["component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version"],
        "Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.";
    request_sli_duration: Alpha histogram(SLI), "apiserver_request_sli_duration_seconds",
        ["component", "group", "resource", "scope", "subresource", "verb", "version"],
        "Response latency distribution (not counting webhook duration and priority & fairness queue wait times) in seconds for each verb, group, version, resource, subresource, scope and component.";
    response_sizes: Stable histogram(SIZES), "apiserver_response_sizes",
        ["component", "group", "resource", "scope", "subresource", "verb", "version"],
        "Response size distribution in bytes for each group, version, verb, resource, subresource, scope and component.";
    longrunning: Stable Kind::Gauge, "apiserver_longrunning_requests",
        ["component", "group", "resource", "scope", "subresource", "verb", "version"],
        "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component. Not all requests are tracked this way.";
    deprecated: Stable Kind::Gauge, "apiserver_requested_deprecated_apis",
        ["group", "removed_release", "resource", "subresource", "version"],
        "Gauge of deprecated APIs that have been requested, broken out by API group, version, resource, subresource, and removed_release.";
    watch_events: Alpha Kind::Counter, "apiserver_watch_events_total", ["group", "resource", "version"],
        "Number of events sent in watch clients";
    watch_event_sizes: Alpha histogram(EVENT_SIZES), "apiserver_watch_events_sizes", ["group", "resource", "version"],
        "Watch event size distribution in bytes";
    watch_list_duration: Alpha histogram(WATCH_LIST), "apiserver_watch_list_duration_seconds",
        ["group", "resource", "scope", "version"],
        "Response latency distribution in seconds for watch list requests broken by group, version, resource and scope.";
    tls_handshake_errors: Alpha Kind::Counter, "apiserver_tls_handshake_errors_total", [],
        "Number of requests dropped with 'TLS handshake error from' error";
    authenticated_users: Alpha Kind::Counter, "authenticated_user_requests", ["username"],
        "Counter of authenticated requests broken out by username.";
    authentication_attempts: Alpha Kind::Counter, "authentication_attempts", ["result"],
        "Counter of authenticated attempts.";
    authentication_duration: Alpha histogram(ACCESS), "authentication_duration_seconds", ["result"],
        "Authentication duration in seconds broken out by result.";
    authorization_attempts: Alpha Kind::Counter, "authorization_attempts_total", ["result"],
        "Counter of authorization attempts broken down by result. It can be either 'allowed', 'denied', 'no-opinion' or 'error'.";
    authorization_duration: Alpha histogram(ACCESS), "authorization_duration_seconds", ["result"],
        "Authorization duration in seconds broken out by result.";
    authorization_decisions: Alpha Kind::Counter, "apiserver_authorization_decisions_total",
        ["decision", "name", "type"],
        "Total number of terminal decisions made by an authorizer split by authorizer type, name, and decision.";
    admission_steps: Stable histogram(ADMISSION), "apiserver_admission_step_admission_duration_seconds",
        ["operation", "rejected", "type"],
        "Admission sub-step latency histogram in seconds, broken out for each operation and API resource and step type (validate or admit).";
    admission_controllers: Stable histogram(ADMISSION), "apiserver_admission_controller_admission_duration_seconds",
        ["name", "operation", "rejected", "type"],
        "Admission controller latency histogram in seconds, identified by name and broken out for each operation and API resource and type (validate or admit).";
    admission_webhooks: Stable histogram(WEBHOOKS), "apiserver_admission_webhook_admission_duration_seconds",
        ["name", "operation", "rejected", "type"],
        "Admission webhook latency histogram in seconds, identified by name and broken out for each operation and API resource and type (validate or admit).";
    webhook_requests: Alpha Kind::Counter, "apiserver_admission_webhook_request_total",
        ["code", "name", "operation", "rejected", "type"],
        "Admission webhook request total, identified by name and broken out for each admission type (validating or admit) and operation. Additional labels specify whether the request was rejected or not and an HTTP status code. Codes greater than 600 are truncated to 600, to keep the metrics cardinality bounded.";
    webhook_rejections: Alpha Kind::Counter, "apiserver_admission_webhook_rejection_count",
        ["error_type", "name", "operation", "rejection_code", "type"],
        "Admission webhook rejection count, identified by name and broken out for each admission type (validating or admit) and operation. Additional labels specify an error type (calling_webhook_error or apiserver_internal_error if an error occurred; no_error otherwise) and optionally a non-zero rejection code if the webhook rejects the request with an HTTP status code (honored by the apiserver when the code is greater or equal to 400). Codes greater than 600 are truncated to 600, to keep the metrics cardinality bounded.";
    webhook_fail_open: Alpha Kind::Counter, "apiserver_admission_webhook_fail_open_count", ["name", "type"],
        "Admission webhook fail open count, identified by name and broken out for each admission type (validating or admit).";
    policy_checks: Beta Kind::Counter, "apiserver_validating_admission_policy_check_total",
        ["enforcement_action", "error_type", "policy", "policy_binding"],
        "Validation admission policy check total, labeled by policy and further identified by binding and enforcement action taken.";
    policy_check_duration: Beta histogram(CHECKS), "apiserver_validating_admission_policy_check_duration_seconds",
        ["enforcement_action", "error_type", "policy", "policy_binding"],
        "Validation admission latency for individual validation expressions in seconds, labeled by policy and further including binding and enforcement action taken.";
    cel_compilation: Beta histogram(DEFAULT), "apiserver_cel_compilation_duration_seconds", [],
        "CEL compilation time in seconds.";
    cel_evaluation: Beta histogram(DEFAULT), "apiserver_cel_evaluation_duration_seconds", [],
        "CEL evaluation time in seconds.";
    flow_executing: Beta Kind::Gauge, "apiserver_flowcontrol_current_executing_requests",
        ["flow_schema", "priority_level"],
        "Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the API Priority and Fairness subsystem";
    flow_executing_seats: Beta Kind::Gauge, "apiserver_flowcontrol_current_executing_seats",
        ["flow_schema", "priority_level"],
        "Concurrency (number of seats) occupied by the currently executing (initial stage for a WATCH, any stage otherwise) requests in the API Priority and Fairness subsystem";
    flow_waiting: Beta Kind::Gauge, "apiserver_flowcontrol_current_inqueue_requests",
        ["flow_schema", "priority_level"],
        "Number of requests currently pending in queues of the API Priority and Fairness subsystem";
    flow_dispatched: Beta Kind::Counter, "apiserver_flowcontrol_dispatched_requests_total",
        ["flow_schema", "priority_level"],
        "Number of requests executed by API Priority and Fairness subsystem";
    flow_rejected: Beta Kind::Counter, "apiserver_flowcontrol_rejected_requests_total",
        ["flow_schema", "priority_level", "reason"],
        "Number of requests rejected by API Priority and Fairness subsystem";
    flow_wait: Beta histogram(FLOW), "apiserver_flowcontrol_request_wait_duration_seconds",
        ["execute", "flow_schema", "priority_level"],
        "Length of time a request spent waiting in its queue";
    flow_width: Alpha histogram(SEATS), "apiserver_flowcontrol_work_estimated_seats",
        ["flow_schema", "priority_level"],
        "Number of estimated seats (maximum of initial and final seats) associated with requests in API Priority and Fairness";
    reloads_authentication: Beta Kind::Counter,
        "apiserver_authentication_config_controller_automatic_reloads_total", ["apiserver_id_hash", "status"],
        "Total number of automatic reloads of authentication configuration split by status and apiserver identity.";
    reloaded_authentication: Beta Kind::Gauge,
        "apiserver_authentication_config_controller_automatic_reload_last_timestamp_seconds",
        ["apiserver_id_hash", "status"],
        "Timestamp of the last automatic reload of authentication configuration split by status and apiserver identity.";
    reloads_authorization: Beta Kind::Counter,
        "apiserver_authorization_config_controller_automatic_reloads_total", ["apiserver_id_hash", "status"],
        "Total number of automatic reloads of authorization configuration split by status and apiserver identity.";
    reloaded_authorization: Beta Kind::Gauge,
        "apiserver_authorization_config_controller_automatic_reload_last_timestamp_seconds",
        ["apiserver_id_hash", "status"],
        "Timestamp of the last automatic reload of authorization configuration split by status and apiserver identity.";
    reloads_encryption: Alpha Kind::Counter,
        "apiserver_encryption_config_controller_automatic_reloads_total", ["apiserver_id_hash", "status"],
        "Total number of reload successes and failures of encryption configuration split by apiserver identity.";
    reloaded_encryption: Alpha Kind::Gauge,
        "apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds",
        ["apiserver_id_hash", "status"],
        "Timestamp of the last successful or failed automatic reload of encryption configuration split by apiserver identity.";
    transformations: Alpha Kind::Counter, "apiserver_storage_transformation_operations_total",
        ["resource", "status", "transformation_type", "transformer_prefix"],
        "Total number of transformations. Successful transformation will have a status 'OK' and a varied status string when the transformation fails. The status, resource, and transformation_type fields can be used for alerting purposes. For example, you can monitor for encryption/decryption failures using the transformation_type (e.g., from_storage for decryption and to_storage for encryption). Additionally, these fields can be used to ensure that the correct transformers are applied to each resource.";
    transformation_duration: Alpha histogram(TRANSFORMATIONS), "apiserver_storage_transformation_duration_seconds",
        ["transformation_type", "transformer_prefix"],
        "Latencies in seconds of value transformation operations.";
    kms_operations: Alpha histogram(KMS), "apiserver_envelope_encryption_kms_operations_latency_seconds",
        ["grpc_status_code", "method_name", "provider_name"],
        "KMS operation duration with gRPC error code status total.";
    kms_invalid_keys: Alpha Kind::Counter, "apiserver_envelope_encryption_invalid_key_id_from_status_total",
        ["error", "provider_name"],
        "Number of times an invalid keyID is returned by the Status RPC call split by error.";
    kms_seeds: Alpha Kind::Gauge, "apiserver_envelope_encryption_dek_source_cache_size", ["provider_name"],
        "Number of records in data encryption key (DEK) source cache. On a restart, this value is an approximation of the number of decrypt RPC calls the server will make to the KMS plugin.";
    store_requests: Alpha Kind::Counter, "etcd_requests_total", ["group", "operation", "resource"],
        "Etcd request counts for each operation and object type.";
    store_errors: Alpha Kind::Counter, "etcd_request_errors_total", ["group", "operation", "resource"],
        "Etcd failed request counts for each operation and object type.";
    store_duration: Alpha histogram(REQUESTS), "etcd_request_duration_seconds", ["group", "operation", "resource"],
        "Etcd request latency in seconds for each operation and object type.";
}

/// Families whose numbers are somewhere already, to be looked up when somebody asks.
macro_rules! told {
    ($($constant:ident: $stability:ident $kind:ident, $name:literal, [$($label:literal),*], $help:literal;)*) => {
        $(pub static $constant: About = About {
            name: $name, help: $help, stability: Stability::$stability, kind: Kind::$kind, labels: &[$($label),*],
        };)*

        const TOLD: &[Stability] = &[$(Stability::$stability),*];
    };
}

told! {
    INFLIGHT: Stable Gauge, "apiserver_current_inflight_requests", ["request_kind"],
        "Maximal number of currently used inflight request limit of this apiserver per request kind in last second.";
    STORED_OBJECTS: Stable Gauge, "apiserver_storage_objects", ["resource"],
        "[DEPRECATED, consider using apiserver_resource_objects instead] Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.";
    RESOURCE_OBJECTS: Alpha Gauge, "apiserver_resource_objects", ["group", "resource"],
        "Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.";
    STORAGE_SIZE: Stable Gauge, "apiserver_storage_size_bytes", ["storage_cluster_id"],
        "Size of the storage database file physically allocated in bytes.";
    DECLARATIVE_MISMATCHES: Beta Counter, "apiserver_validation_declarative_validation_mismatch_total", [],
        "Number of times declarative validation results differed from handwritten validation results for core types.";
    DECLARATIVE_PANICS: Beta Counter, "apiserver_validation_declarative_validation_panic_total", [],
        "Number of times declarative validation has panicked during validation.";
    ENCRYPTION_CONFIG: Alpha Gauge, "apiserver_encryption_config_controller_last_config_info",
        ["apiserver_id_hash", "hash"],
        "Information about the last applied encryption configuration with hash as label, split by apiserver identity.";
    AUDIT_EVENTS: Alpha Counter, "apiserver_audit_event_total", [],
        "Counter of audit events generated and sent to the audit backend.";
    AUDIT_REJECTED: Alpha Counter, "apiserver_audit_requests_rejected_total", [],
        "Counter of apiserver requests rejected due to an error in audit logging backend.";
    AUDIT_ERRORS: Alpha Counter, "apiserver_audit_error_total", ["plugin"],
        "Counter of audit events that failed to be audited properly. Plugin identifies the plugin affected by the error.";
    AUDIT_LEVELS: Alpha Counter, "apiserver_audit_level_total", ["level"],
        "Counter of policy levels for audit events (1 per request).";
    FLOW_NOMINAL: Beta Gauge, "apiserver_flowcontrol_nominal_limit_seats", ["priority_level"],
        "Nominal number of execution seats configured for each priority level";
    FLOW_LOWER: Alpha Gauge, "apiserver_flowcontrol_lower_limit_seats", ["priority_level"],
        "Configured lower bound on number of execution seats available to each priority level";
    FLOW_UPPER: Alpha Gauge, "apiserver_flowcontrol_upper_limit_seats", ["priority_level"],
        "Configured upper bound on number of execution seats available to each priority level";
    FLOW_CURRENT: Alpha Gauge, "apiserver_flowcontrol_current_limit_seats", ["priority_level"],
        "current derived number of execution seats available to each priority level";
    FLOW_WATERMARK: Alpha Gauge, "apiserver_flowcontrol_demand_seats_high_watermark", ["priority_level"],
        "High watermark, over last adjustment period, of demand_seats";
    BUILD: Alpha Gauge, "kubernetes_build_info",
        ["build_date", "compiler", "git_commit", "git_tree_state", "git_version", "go_version", "major", "minor", "platform"],
        "A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running.";
    REGISTERED: Beta Counter, "registered_metrics_total", ["deprecated_version", "stability_level"],
        "The count of registered metrics broken by stability level and deprecation version.";
    DISABLED: Beta Counter, "disabled_metrics_total", [], "The count of disabled metrics.";
    HIDDEN: Beta Counter, "hidden_metrics_total", [], "The count of hidden metrics.";
}

/// How stable the families are, one after the other.
pub fn stabilities() -> impl Iterator<Item = Stability> {
    COUNTED.iter().chain(TOLD).copied().chain([&HEALTH, &HEALTH_TOTAL].map(|about| about.stability))
}
