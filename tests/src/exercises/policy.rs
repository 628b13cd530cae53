//! NetworkPolicy: who may talk to whom.

use super::{Chapter, Exercise, comes, fails, note, works};

pub const CHAPTER: Chapter = Chapter {
    name: "policy",
    title: "4. Policy",
    intro: "A NetworkPolicy says what may reach the pods it selects. A pod that no policy selects is open to all.",
    context: "c0",
    exercises: &[
        Exercise {
            title: "The classic policy",
            why: "Three kinds of peers may reach port 6379 of the pods with `role=db`: a block of addresses but for an exception, \
                  all pods of a namespace, and pods by label. What the database itself may reach is limited, too. The pod's own \
                  node always may: its probes come from there.",
            needs: None,
            steps: &[
                works("kubectl apply -f database.yaml", &["pod/db created"]),
                works(
                    "kubectl create namespace policy-friends; kubectl label namespace policy-friends project=myproject; kubectl -n policy-friends run friend --image=netshoot --restart=Never -- sleep 3600; kubectl create namespace policy-strangers; kubectl -n policy-strangers run stranger --image=netshoot --restart=Never -- sleep 3600",
                    &["pod/stranger created"],
                ),
                works(
                    "kubectl wait --for=condition=Ready pod/db pod/frontend pod/nobody --timeout=60s; kubectl -n policy-friends wait --for=condition=Ready pod/friend --timeout=60s; kubectl -n policy-strangers wait --for=condition=Ready pod/stranger --timeout=60s",
                    &["pod/stranger condition met"],
                ),
                works(
                    "DB=$(kubectl get pod db -o jsonpath='{.status.podIP}'); NODE=$(kubectl get pod db -o jsonpath='{.spec.nodeName}')",
                    &[],
                ),
                note("Before there is a policy, everybody may:"),
                works("kubectl exec nobody -- curl -sS -m5 http://$DB:6379/hostname", &["db"]),
                works(
                    "kubectl apply -f classic-policy.yaml",
                    &["networkpolicy.networking.k8s.io/test-network-policy created"],
                ),
                comes("! kubectl exec nobody -- curl -sS -m1 http://$DB:6379/hostname", &["exit code 28"]),
                works(
                    "kubectl describe networkpolicy test-network-policy",
                    &["Except: 172.17.1.0/24", "NamespaceSelector: project=myproject", "PodSelector: role=frontend"],
                ),
                note("Each peer, on the port and on another one:"),
                works("kubectl exec frontend -- curl -sS -m5 http://$DB:6379/hostname", &["db"]),
                fails("kubectl exec frontend -- curl -sS -m1 http://$DB:6380/hostname", &["exit code 28"]),
                works("kubectl -n policy-friends exec friend -- curl -sS -m5 http://$DB:6379/hostname", &["db"]),
                fails(
                    "kubectl -n policy-friends exec friend -- curl -sS -m1 http://$DB:6380/hostname",
                    &["exit code 28"],
                ),
                fails(
                    "kubectl -n policy-strangers exec stranger -- curl -sS -m1 http://$DB:6379/hostname",
                    &["exit code 28"],
                ),
                note(
                    "The block of addresses, played by the host outside: 172.17.0.5 is in it, 172.17.1.5 is the exception.",
                ),
                works(
                    "knetsim exec outside -- sh -c 'ip addr replace 172.17.0.5/32 dev lo; ip addr replace 172.17.1.5/32 dev lo'",
                    &[],
                ),
                works(
                    "knetsim exec wan -- ip route replace 172.17.0.0/16 via 10.0.254.2; knetsim exec wan -- ip route replace $DB via $(kubectl get node $NODE -o jsonpath='{.status.addresses[0].address}')",
                    &[],
                ),
                works("knetsim exec outside -- curl -sS -m5 --interface 172.17.0.5 http://$DB:6379/hostname", &["db"]),
                fails(
                    "knetsim exec outside -- curl -sS -m1 --interface 172.17.0.5 http://$DB:6380/hostname",
                    &["timed out"],
                ),
                fails(
                    "knetsim exec outside -- curl -sS -m1 --interface 172.17.1.5 http://$DB:6379/hostname",
                    &["timed out"],
                ),
                works(
                    "knetsim exec wan -- sh -c \"ip route del 172.17.0.0/16; ip route del $DB\"; knetsim exec outside -- ip addr flush dev lo scope global",
                    &[],
                ),
                note("The pod's own node, on any port:"),
                works("knetsim exec $NODE -- curl -sS -m5 http://$DB:6380/", &["Directory listing"]),
                note(
                    "What the database may reach: ports 3000 to 32768 of 10.0.0.0/24. Nobody listens there, so \"refused\" (7) means the packet got through, and a timeout (28) that it did not.",
                ),
                fails("kubectl exec db -c shell -- curl -sS -m1 http://10.0.0.10:3000/", &["exit code 7"]),
                fails("kubectl exec db -c shell -- curl -sS -m1 http://10.0.0.10:32768/", &["exit code 7"]),
                fails("kubectl exec db -c shell -- curl -sS -m1 http://10.0.0.10:2999/", &["exit code 28"]),
                fails("kubectl exec db -c shell -- curl -sS -m1 http://10.0.0.10:32769/", &["exit code 28"]),
            ],
        },
        Exercise {
            title: "Closed by default, open by label",
            why: "An empty selector selects every pod of the namespace. What is allowed is added up over all policies; and since \
                  peers are named by label, new pods are in without an edit.",
            needs: None,
            steps: &[
                works("kubectl delete networkpolicy test-network-policy", &["deleted"]),
                comes("kubectl exec nobody -- curl -sS -m1 http://$DB:6380/", &["Directory listing"]),
                works("kubectl apply -f default-deny.yaml", &["created"]),
                comes("! kubectl exec frontend -- curl -sS -m1 http://$DB:6379/hostname", &["exit code 28"]),
                works(
                    "kubectl apply -f allow-crawlers.yaml && kubectl rollout status deployment/crawler --timeout=60s",
                    &["successfully rolled out"],
                ),
                comes("kubectl exec deployment/crawler -- curl -sS -m1 http://$DB:6379/hostname", &["db"]),
                works(
                    "kubectl scale deployment/crawler --replicas=3 && kubectl rollout status deployment/crawler --timeout=60s",
                    &["successfully rolled out"],
                ),
                comes(
                    "for p in $(kubectl get pods -l app=crawler -o name); do kubectl exec $p -- curl -sS -m1 http://$DB:6379/hostname && echo; done",
                    &["~^(db\\n){3}"],
                ),
                fails("kubectl exec nobody -- curl -sS -m1 http://$DB:6379/hostname", &["exit code 28"]),
                works("kubectl delete namespace policy-friends policy-strangers --wait=false", &["deleted"]),
            ],
        },
    ],
};
