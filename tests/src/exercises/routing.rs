//! The overlay's other ways: host-gw, another VNI. Changes a whole cluster, so it plays in c1.

use super::{Chapter, Exercise, comes, note, works};

pub const CHAPTER: Chapter = Chapter {
    name: "routing",
    title: "2b. Pods without an overlay",
    intro: "Nodes that are neighbours need no tunnel: a route to the other node's pods by way of that node is enough. That is \
            flannel's backend `host-gw`, and what a full mesh of BGP speakers would come to as well.",
    context: "c1",
    exercises: &[
        Exercise {
            title: "host-gw",
            why: "The backend is a word in `net-conf.json`; flanneld reads it when it starts. Routes lead to the nodes themselves, \
                  nothing is wrapped, and pods get the whole MTU.",
            needs: None,
            steps: &[
                works(
                    "kubectl -n kube-flannel get configmap kube-flannel-cfg -o jsonpath='{.data.net-conf\\.json}'",
                    &["\"Type\": \"vxlan\"", "\"Network\": \"11.0.0.0/8\""],
                ),
                works(
                    "kubectl -n kube-flannel get configmap kube-flannel-cfg -o yaml | sed 's/\"Type\": \"vxlan\"/\"Type\": \"host-gw\"/' | kubectl apply -f -",
                    &["configured"],
                ),
                works("kubectl -n kube-flannel rollout restart daemonset/kube-flannel-ds", &["restarted"]),
                works(
                    "kubectl -n kube-flannel rollout status daemonset/kube-flannel-ds --timeout=60s",
                    &["successfully rolled out"],
                ),
                comes(
                    "knetsim exec c1w1 -- ip route",
                    &[
                        "~11\\.0\\.\\d+\\.0/24 via 10\\.0\\.1\\.12 dev eth0",
                        "~11\\.0\\.\\d+\\.0/24 via 10\\.0\\.1\\.13 dev eth0",
                        "!flannel.1",
                    ],
                ),
                works("knetsim exec c1w1 -- cat /run/flannel/subnet.env", &["FLANNEL_MTU=1500"]),
                works(
                    "kubectl apply -f two-ends.yaml && kubectl wait --for=condition=Ready pod/one-end pod/other-end --timeout=60s",
                    &["pod/other-end condition met"],
                ),
                works("kubectl exec one-end -- ip link show eth0", &["mtu 1500"]),
                works(
                    "kubectl exec one-end -- ping -c1 -W2 $(kubectl get pod other-end -o jsonpath='{.status.podIP}')",
                    &["1 received"],
                ),
            ],
        },
        Exercise {
            title: "Another VNI",
            why: "Back to VXLAN, with another number: the link is called after it.",
            needs: None,
            steps: &[
                works(
                    "kubectl -n kube-flannel get configmap kube-flannel-cfg -o yaml | sed 's/\"Type\": \"host-gw\"/\"Type\": \"vxlan\", \"VNI\": 42/' | kubectl apply -f -",
                    &["configured"],
                ),
                works(
                    "kubectl -n kube-flannel rollout restart daemonset/kube-flannel-ds && kubectl -n kube-flannel rollout status daemonset/kube-flannel-ds --timeout=60s",
                    &["successfully rolled out"],
                ),
                works("knetsim exec c1w1 -- ip -d link show flannel.42", &["vxlan id 42"]),
                comes(
                    "kubectl exec one-end -- ping -c1 -W1 $(kubectl get pod other-end -o jsonpath='{.status.podIP}')",
                    &["1 received"],
                ),
                note("And as it was:"),
                works(
                    "kubectl -n kube-flannel get configmap kube-flannel-cfg -o yaml | sed 's/, \"VNI\": 42//' | kubectl apply -f -",
                    &["configured"],
                ),
                works(
                    "kubectl -n kube-flannel rollout restart daemonset/kube-flannel-ds && kubectl -n kube-flannel rollout status daemonset/kube-flannel-ds --timeout=60s",
                    &["successfully rolled out"],
                ),
                comes(
                    "kubectl exec one-end -- ping -c1 -W1 $(kubectl get pod other-end -o jsonpath='{.status.podIP}')",
                    &["1 received"],
                ),
            ],
        },
    ],
};
