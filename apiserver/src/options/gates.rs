//! `--feature-gates`. There are none here: what upstream has by default is there, and the rest is not. A command line may say so.

use std::str::FromStr;

/// The gates of upstream, a line each.
const GATES: &str = include_str!("gates.txt");
/// Off by default, and there all the same.
const HERE: &[&str] = &["MutatingAdmissionPolicy"];
/// Parts of the names of gates that other components ask, so that they change nothing here.
const ELSEWHERE: &[&str] = &[
    "CPUManager",
    "CRI",
    "CgroupDriver",
    "CloudController",
    "CrashLoopBackOff",
    "Evented",
    "FSQuota",
    "GracefulNodeShutdown",
    "ImageMaximumGCAge",
    "Kubelet",
    "MemoryQoS",
    "NodeLogQuery",
    "NodeSwap",
    "PLEG",
    "ProxyMode",
    "QOSReserved",
    "Scheduler",
    "StorageCapacityScoring",
    "TopologyManager",
    "WinDSR",
    "WinOverlay",
    "Windows",
];

/// A gate of upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gate {
    name: &'static str,
    on: bool,
    locked: bool,
}

fn gates() -> impl Iterator<Item = Gate> {
    GATES.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut words = line.split(' ');
        let (name, _stage, default) = (words.next()?, words.next()?, words.next()?);
        Some(Gate { name, on: default == "on", locked: words.next().is_some() })
    })
}

/// A list of gates, each set as it is.
#[derive(Clone, Copy, Debug)]
pub struct Gates;

impl FromStr for Gates {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).try_for_each(set)?;
        Ok(Self)
    }
}

fn set(part: &str) -> Result<(), String> {
    let (name, value) = part.split_once('=').ok_or_else(|| format!("missing bool value for {part}"))?;
    let (name, value) = (name.trim(), value.trim());
    let name = name.strip_prefix("kube:").unwrap_or(name);
    let Some(gate) = gates().find(|gate| gate.name == name) else {
        return Err(format!("unrecognized feature gate: {name}"));
    };
    let bad = || {
        let quoted = schema::go::quote(value);
        format!("invalid value of {name}={value}, err: strconv.ParseBool: parsing {quoted}: invalid syntax")
    };
    let on = super::truth(value).ok_or_else(bad)?;
    if on == gate.on || HERE.contains(&name) || (!gate.locked && ELSEWHERE.iter().any(|part| name.contains(part))) {
        Ok(())
    } else if gate.locked {
        Err(format!("cannot set feature gate {name} to {on}, feature is locked to {}", gate.on))
    } else {
        Err(format!("feature gate {name} cannot be set to {on}: it is always {} here", gate.on))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_as_upstream_has_them() {
        let find = |name: &str| gates().find(|gate| gate.name == name).map(|gate| (gate.on, gate.locked));
        assert_eq!(find("WatchList"), Some((true, false)));
        assert_eq!(find("SidecarContainers"), Some((true, true)));
        assert_eq!(find("AllAlpha"), Some((false, false)));
        assert!(HERE.iter().all(|name| find(name) == Some((false, false))));
        assert!(ELSEWHERE.iter().all(|part| gates().any(|gate| gate.name.contains(part))), "one is about no gate");
    }

    #[test]
    fn what_may_be_set() {
        for (text, refusal) in [
            ("", ""),
            ("WatchList=true, kube:SidecarContainers=TRUE,AllAlpha=0", ""),
            ("MutatingAdmissionPolicy=true,KubeletInUserNamespace=true", ""),
            ("Nope=true", "unrecognized feature gate: Nope"),
            ("WatchList", "missing bool value for WatchList"),
            (
                "WatchList=yes",
                "invalid value of WatchList=yes, err: strconv.ParseBool: parsing \"yes\": invalid syntax",
            ),
            (
                "SidecarContainers=false",
                "cannot set feature gate SidecarContainers to false, feature is locked to true",
            ),
            ("AllAlpha=true", "feature gate AllAlpha cannot be set to true: it is always false here"),
        ] {
            assert_eq!(text.parse::<Gates>().err().unwrap_or_default(), refusal, "{text}");
        }
    }
}
