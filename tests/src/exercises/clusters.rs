//! Two clusters as one: Skupper over the WAN.

use super::{Chapter, Exercise, comes, fails, note, works};

pub const CHAPTER: Chapter = Chapter {
    name: "clusters",
    title: "6. Clusters",
    intro: "Both clusters use the same ranges for pods and Services, and nothing of either is reachable from the other but its \
            nodes. A virtual application network joins them above IP: a router in each, one TLS connection between the two.",
    context: "c1",
    exercises: &[
        Exercise {
            title: "Two sites and a link",
            why: "Site c1 grants a token; site c0 redeems it and gets a certificate with which its router may call the other's one \
                  open port. A Connector offers pods to the network, a Listener makes them reachable under a host name.",
            needs: None,
            steps: &[
                works("kubectl --context c0 create namespace clusters", &["created"]),
                works(
                    "kubectl apply -f site-c1.yaml; kubectl --context c0 -n clusters apply -f site-c0.yaml",
                    &["site.skupper.io/c0 created"],
                ),
                works(
                    "kubectl wait --for=condition=Ready site/c1 --timeout=80s && kubectl --context c0 -n clusters wait --for=condition=Ready site/c0 --timeout=80s",
                    &["site.skupper.io/c0 condition met"],
                ),
                works("kubectl wait --for=condition=Ready accessgrant/for-c0 --timeout=60s", &["met"]),
                works(
                    "kubectl get accessgrant for-c0 -o json | python3 -c 'import json,sys; s=json.load(sys.stdin)[\"status\"]; print(json.dumps({\"apiVersion\":\"skupper.io/v2alpha1\",\"kind\":\"AccessToken\",\"metadata\":{\"name\":\"to-c1\"},\"spec\":{k:s[k] for k in (\"url\",\"code\",\"ca\")}}))' > $TMP/token.json; kubectl --context c0 -n clusters apply -f $TMP/token.json",
                    &["accesstoken.skupper.io/to-c1 created"],
                ),
                comes("kubectl --context c0 -n clusters wait --for=condition=Ready link/to-c1 --timeout=60s", &["met"]),
                works(
                    "kubectl --context c0 -n clusters wait --for=condition=Ready listener/web --timeout=60s && kubectl --context c0 -n clusters wait --for=condition=Ready pod/client --timeout=60s",
                    &["pod/client condition met"],
                ),
                works(
                    "kubectl --context c0 -n clusters exec client -- curl -sS -m10 http://web-of-c1/hostname",
                    &["web-"],
                ),
                note(
                    "And that though the pod ranges are the same, and one open port is all there is between the sites:",
                ),
                works(
                    "for c in c0 c1; do kubectl --context $c get nodes -o jsonpath='{range .items[*]}{.spec.podCIDR}{\"\\n\"}{end}' | sort | tr '\\n' ' '; echo; done | sort -u | wc -l",
                    &["~^1$"],
                ),
            ],
        },
        Exercise {
            title: "The router's configuration",
            why: "What the resources come to is a list in the router's own form: who it is, where it listens for other routers and \
                  where it calls, and which TCP ports it offers and serves.",
            needs: None,
            steps: &[
                works(
                    "kubectl get configmap skupper-router -o jsonpath='{.data.skrouterd\\.json}' | head -c 3000",
                    &["\"router\"", "\"listener\"", "inter-router", "tcpConnector"],
                ),
                works(
                    "kubectl --context c0 -n clusters get configmap skupper-router -o jsonpath='{.data.skrouterd\\.json}' | head -c 3000",
                    &["\"connector\"", "tcpListener"],
                ),
            ],
        },
        Exercise {
            title: "Without the WAN",
            why: "The connection is watched from both ends: when nothing is heard, Link and Listener say so. When the WAN is back, \
                  so is the application, and nothing was restarted.",
            needs: None,
            steps: &[
                works("knetsim net cut c1 wan", &["cut off"]),
                works(
                    "kubectl --context c0 -n clusters wait --for=condition=Operational=False link/to-c1 --timeout=60s",
                    &["met"],
                ),
                works(
                    "kubectl --context c0 -n clusters get link to-c1 -o jsonpath='{.status.conditions[?(@.type==\"Operational\")].message}{\"\\n\"}'",
                    &["~\\w"],
                ),
                works(
                    "kubectl --context c0 -n clusters wait --for=condition=Ready=False listener/web --timeout=60s",
                    &["met"],
                ),
                fails(
                    "kubectl --context c0 -n clusters exec client -- curl -sS -m3 http://web-of-c1/hostname",
                    &["curl"],
                ),
                works("knetsim net mend c1 wan", &["connected again"]),
                works(
                    "kubectl --context c0 -n clusters wait --for=condition=Operational link/to-c1 --timeout=60s && kubectl --context c0 -n clusters wait --for=condition=Ready listener/web --timeout=60s",
                    &["met"],
                ),
                comes(
                    "kubectl --context c0 -n clusters exec client -- curl -sS -m10 http://web-of-c1/hostname",
                    &["web-"],
                ),
                works(
                    "kubectl get pods --no-headers -o custom-columns=R:.status.containerStatuses[0].restartCount | sort -u",
                    &["~^0\\n$"],
                ),
                works("kubectl --context c0 delete namespace clusters --wait=false", &["deleted"]),
            ],
        },
    ],
};
