//! Upstream's flags that ask for nothing else than what this server does, or for what it cannot: a command line that was
//! written for upstream is taken as it is, or refused by the name of the flag that asks too much.

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// What may be said.
#[derive(Clone, Copy, Debug)]
enum Taken {
    /// Anything: it is about how upstream does what clients cannot tell.
    Anything,
    /// These values alone.
    Only(&'static [&'static str]),
    /// Nothing.
    Nothing,
}

use Taken::{Anything, Nothing, Only};

const TRUE: Taken = Only(&["true"]);
const FALSE: Taken = Only(&["false"]);

/// Flags that are true when they have no value.
const SWITCHES: &[(&str, Taken)] = &[
    ("aggregator-reject-forwarding-redirect", TRUE),
    // Who must not run privileged pods is told so by Pod Security.
    ("allow-privileged", TRUE),
    ("contention-profiling", Anything),
    ("emulation-forward-compatible", FALSE),
    ("enable-garbage-collector", TRUE),
    ("enable-logs-handler", FALSE),
    ("enable-priority-and-fairness", TRUE),
    ("log-json-split-stream", FALSE),
    ("log-text-split-stream", FALSE),
    ("permit-address-sharing", FALSE),
    ("permit-port-sharing", FALSE),
    ("runtime-config-emulation-forward-compatible", FALSE),
    ("send-retry-after-while-not-ready-once", FALSE),
    ("service-account-lookup", TRUE),
    ("shutdown-send-retry-after", FALSE),
    ("watch-cache", Anything),
];

const VERSIONS: Taken = Only(&["1.35", "kube=1.35", "v1.35", "kube=v1.35"]);
const AUDIT_VERSION: Taken = Only(&["audit.k8s.io/v1"]);

const VALUES: &[(&str, Taken)] = &[
    ("admission-control", Nothing),
    ("allow-metric-labels", Nothing),
    ("allow-metric-labels-manifest", Nothing),
    ("apiserver-count", Anything),
    ("audit-log-version", AUDIT_VERSION),
    ("audit-webhook-version", AUDIT_VERSION),
    ("coordinated-leadership-lease-duration", Anything),
    ("coordinated-leadership-renew-deadline", Anything),
    ("coordinated-leadership-retry-period", Anything),
    ("debug-socket-path", Nothing),
    ("default-watch-cache-size", Anything),
    ("delete-collection-workers", Anything),
    ("disabled-metrics", Nothing),
    ("emulated-version", VERSIONS),
    ("etcd-count-metric-poll-period", Anything),
    ("etcd-db-metric-poll-interval", Anything),
    ("etcd-healthcheck-timeout", Anything),
    ("etcd-readycheck-timeout", Anything),
    ("etcd-servers-overrides", Nothing),
    ("kubelet-timeout", Anything),
    ("kubernetes-service-node-port", Only(&["0"])),
    ("lease-reuse-duration-seconds", Anything),
    ("livez-grace-period", Only(&["0", "0s"])),
    ("log-flush-frequency", Anything),
    ("log-json-info-buffer-size", Anything),
    ("log-text-info-buffer-size", Anything),
    ("logging-format", Only(&["text"])),
    ("max-connection-bytes-per-sec", Only(&["0"])),
    ("min-compatibility-version", Only(&["1.34", "kube=1.34", "1.35", "kube=1.35"])),
    ("peer-advertise-ip", Nothing),
    ("peer-advertise-port", Nothing),
    ("peer-ca-file", Nothing),
    ("service-account-signing-endpoint", Nothing),
    ("show-hidden-metrics-for-version", Nothing),
    ("shutdown-watch-termination-grace-period", Only(&["0", "0s"])),
    ("storage-initialization-timeout", Anything),
    ("storage-media-type", Only(&["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"])),
    ("tls-curve-preferences", Nothing),
    ("tracing-config-file", Nothing),
    // Patterns of Go's files.
    ("vmodule", Anything),
    ("watch-cache-sizes", Anything),
];

/// They have been looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Table;

fn all() -> impl Iterator<Item = (&'static str, Taken)> {
    SWITCHES.iter().chain(VALUES).copied()
}

fn check(name: &str, taken: Taken, value: &str) -> Result<(), String> {
    let value = if SWITCHES.iter().any(|(known, _)| *known == name) {
        let truth = super::truth(value).ok_or_else(|| format!("--{name}: {value:?} is neither true nor false"))?;
        if truth { "true" } else { "false" }
    } else {
        value
    };
    match taken {
        Anything => Ok(()),
        Only(values) if values.contains(&value) => Ok(()),
        Only(values) => Err(format!("--{name}={value} is not supported; it can be {}", values.join(", "))),
        // So nothing is asked for.
        Nothing if value.is_empty() => Ok(()),
        Nothing => Err(format!("--{name} is not supported")),
    }
}

impl Args for Table {
    fn augment_args(command: Command) -> Command {
        let hidden = |name: &'static str| Arg::new(name).long(name).action(ArgAction::Append).hide(true);
        let switches = SWITCHES
            .iter()
            .map(|(name, _)| hidden(name).num_args(0..=1).require_equals(true).default_missing_value("true"));
        let values = VALUES.iter().map(|(name, _)| hidden(name).num_args(1).allow_hyphen_values(true));
        command.args(switches.chain(values))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Table {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        for (name, taken) in all() {
            for value in matches.get_many::<String>(name).into_iter().flatten() {
                check(name, taken, value)
                    .map_err(|why| clap::Error::raw(ErrorKind::ValueValidation, format!("{why}\n")))?;
            }
        }
        Ok(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        Self::from_arg_matches(matches).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct All {
        #[command(flatten)]
        _table: Table,
    }

    #[test]
    fn what_is_taken() {
        for (flags, refusal) in [
            (&["--allow-privileged=true", "--watch-cache=false", "--vmodule=a=3", "--logging-format", "text"][..], ""),
            (&["--allow-privileged", "--peer-ca-file="], ""),
            (&["--allow-privileged=F"], "--allow-privileged=false is not supported; it can be true"),
            (&["--allow-privileged=x"], "--allow-privileged: \"x\" is neither true nor false"),
            (&["--logging-format=json"], "--logging-format=json is not supported; it can be text"),
            (&["--tracing-config-file=f"], "--tracing-config-file is not supported"),
        ] {
            let found = All::try_parse_from(std::iter::once(&"apiserver").chain(flags)).err();
            let found = found.map(|error| error.to_string()).unwrap_or_default();
            let told = found.lines().next().unwrap_or_default();
            assert_eq!(told.trim_start_matches("error: "), refusal, "{flags:?}");
        }
    }
}
