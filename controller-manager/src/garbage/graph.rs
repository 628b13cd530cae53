//! Who owns whom: every object the API server has, by uid, with its owners and its dependents.

use std::collections::{HashMap, HashSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

pub const FOREGROUND: &str = "foregroundDeletion";
pub const ORPHAN: &str = "orphan";

/// An object, as little of it as ownership needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// (group, kind), the key of the kind in discovery.
    pub kind: (String, String),
    pub namespace: String,
    pub name: String,
    pub owners: Vec<OwnerReference>,
    pub deleting: bool,
    /// Finalizers that ask the garbage collector for something.
    pub foreground: bool,
    pub orphan: bool,
}

impl Node {
    #[must_use]
    pub fn new(kind: (String, String), meta: &ObjectMeta) -> Self {
        let has = |name: &str| meta.finalizers.iter().flatten().any(|finalizer| finalizer == name);
        Self {
            kind,
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            owners: meta.owner_references.clone().unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
            foreground: has(FOREGROUND),
            orphan: has(ORPHAN),
        }
    }

    /// Being deleted, and not gone before its dependents are.
    #[must_use]
    pub fn awaits_dependents(&self) -> bool {
        self.deleting && self.foreground
    }
}

#[derive(Default)]
pub struct Graph {
    nodes: HashMap<String, Node>,
    /// Owner's uid to its dependents' uids; the owner itself may be unknown (yet, or for ever).
    dependents: HashMap<String, HashSet<String>>,
}

impl Graph {
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    pub fn dependents(&self, uid: &str) -> impl Iterator<Item = (&String, &Node)> {
        self.dependents.get(uid).into_iter().flatten().filter_map(|uid| Some((uid, self.nodes.get(uid)?)))
    }

    /// Takes an object's newest state; returns the uids that must be looked at because of it.
    pub fn put(&mut self, uid: &str, node: Node) -> Vec<String> {
        let old = self.nodes.insert(uid.to_owned(), node);
        let node = &self.nodes[uid];
        if old.as_ref() == Some(node) {
            return Vec::new();
        }
        for owner in old.iter().flat_map(|old| &old.owners) {
            if !node.owners.iter().any(|kept| kept.uid == owner.uid) {
                unlink(&mut self.dependents, &owner.uid, uid);
            }
        }
        for owner in &node.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.to_owned());
        }
        let mut look = Vec::new();
        // It has something to do for itself: absent owners, or its own end.
        let absent = node.owners.iter().any(|owner| self.nodes.get(&owner.uid).is_none_or(Node::awaits_dependents));
        if absent || (node.deleting && (node.foreground || node.orphan)) {
            look.push(uid.to_owned());
        }
        // It may have stopped blocking an owner, by letting go of it or of its claim to block.
        let owners = old.iter().flat_map(|old| &old.owners).chain(&node.owners);
        look.extend(
            owners
                .filter(|owner| self.nodes.get(&owner.uid).is_some_and(Node::awaits_dependents))
                .map(|owner| owner.uid.clone()),
        );
        look
    }

    /// Removes an object; returns the uids that must be looked at: all its dependents, and owners that waited for it.
    pub fn remove(&mut self, uid: &str) -> Vec<String> {
        let Some(node) = self.nodes.remove(uid) else { return Vec::new() };
        for owner in &node.owners {
            unlink(&mut self.dependents, &owner.uid, uid);
        }
        let waiting = node
            .owners
            .iter()
            .filter(|owner| self.nodes.get(&owner.uid).is_some_and(Node::awaits_dependents))
            .map(|owner| owner.uid.clone());
        self.dependents.get(uid).into_iter().flatten().cloned().chain(waiting).collect()
    }

    /// All objects of a kind, to find out after a list which are gone.
    #[must_use]
    pub fn of_kind(&self, kind: &(String, String)) -> Vec<String> {
        self.nodes.iter().filter(|(_, node)| node.kind == *kind).map(|(uid, _)| uid.clone()).collect()
    }
}

fn unlink(dependents: &mut HashMap<String, HashSet<String>>, owner: &str, uid: &str) {
    if let Some(uids) = dependents.get_mut(owner) {
        uids.remove(uid);
        if uids.is_empty() {
            dependents.remove(owner);
        }
    }
}

/// What an owner is to its dependent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There, and staying: a reason to live.
    Solid,
    /// There, but waiting for its dependents to go first.
    Waiting,
    /// Gone.
    Absent,
}

/// What to do with an object that is not being deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Keep,
    /// Some owners stay: forget the others (these uids).
    Forget(Vec<String>),
    /// Its owner waits for it, and it has dependents that others wait for in turn.
    DeleteForeground,
    Delete,
}

#[must_use]
pub fn judge(owners: &[(String, Standing)], has_dependents: bool) -> Verdict {
    let lost: Vec<_> =
        owners.iter().filter(|(_, standing)| *standing != Standing::Solid).map(|(uid, _)| uid.clone()).collect();
    if lost.is_empty() {
        Verdict::Keep
    } else if lost.len() < owners.len() {
        Verdict::Forget(lost)
    } else if has_dependents && owners.iter().any(|(_, standing)| *standing == Standing::Waiting) {
        Verdict::DeleteForeground
    } else {
        Verdict::Delete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(owners: &[&str], deleting: bool, finalizer: Option<&str>) -> Node {
        let owners = owners.iter().map(|uid| OwnerReference { uid: (*uid).into(), ..Default::default() }).collect();
        Node {
            kind: (String::new(), "Pod".into()),
            namespace: "ns".into(),
            name: "n".into(),
            owners,
            deleting,
            foreground: finalizer == Some(FOREGROUND),
            orphan: finalizer == Some(ORPHAN),
        }
    }

    #[test]
    fn dependents_are_looked_at_when_their_owner_goes() {
        let mut graph = Graph::default();
        assert!(graph.put("set", node(&[], false, None)).is_empty());
        assert!(graph.put("pod", node(&["set"], false, None)).is_empty(), "its owner is there");
        assert_eq!(graph.put("stray", node(&["ghost"], false, None)), ["stray"], "its owner may not exist");
        assert_eq!(graph.remove("set"), ["pod"]);
    }

    #[test]
    fn an_owner_in_the_foreground_is_looked_at_when_a_dependent_goes() {
        let mut graph = Graph::default();
        graph.put("set", node(&[], false, None));
        graph.put("pod", node(&["set"], false, None));
        assert_eq!(graph.put("set", node(&[], true, Some(FOREGROUND))), ["set"]);
        assert_eq!(graph.remove("pod"), ["set"]);
        assert_eq!(graph.dependents("set").count(), 0);
    }

    #[test]
    fn verdicts() {
        use Standing::{Absent, Solid, Waiting};
        let cases: [(&[Standing], bool, Verdict); 7] = [
            (&[Solid], false, Verdict::Keep),
            (&[], false, Verdict::Keep),
            (&[Absent], false, Verdict::Delete),
            (&[Solid, Absent], false, Verdict::Forget(vec!["1".into()])),
            (&[Waiting], true, Verdict::DeleteForeground),
            (&[Waiting], false, Verdict::Delete),
            (&[Waiting, Absent], true, Verdict::DeleteForeground),
        ];
        for (standings, has_dependents, expected) in cases {
            let owners: Vec<_> = standings.iter().enumerate().map(|(i, s)| (i.to_string(), *s)).collect();
            assert_eq!(judge(&owners, has_dependents), expected, "{standings:?}");
        }
    }
}
