//! Breaking things, and watching them heal. Takes nodes and processes of c1 down.

use super::{Chapter, Exercise, comes, note, works};

pub const CHAPTER: Chapter = Chapter {
    name: "breaking",
    title: "8. Breaking things",
    intro: "A cluster is made of parts that fail. Each failure is noticed by somebody, and what was lost is replaced; what goes on \
            meanwhile is the interesting part.",
    context: "c1",
    exercises: &[
        Exercise {
            title: "A node is cut off",
            why: "The control plane hears nothing from the node's kubelet, and after 40 seconds calls it NotReady (the grace period \
                  is upstream's). Its pods leave their Services at once; a NoExecute taint ends them when their toleration is over, \
                  and others take their place. Everybody else goes on.",
            needs: None,
            steps: &[
                works(
                    "kubectl apply -f tolerant.yaml && kubectl rollout status deployment/tolerant --timeout=80s && kubectl wait --for=condition=Ready pod/asker --timeout=60s",
                    &["successfully rolled out"],
                ),
                works("kubectl get pods -o wide -l app=tolerant", &["~ c1w1 ", "~ c1w2 ", "~ c1w3 "]),
                works("knetsim net cut c1w3 c1", &["cut off"]),
                works("kubectl wait --for=condition=Ready=Unknown node/c1w3 --timeout=68s", &["met"]),
                works("kubectl get nodes", &["~c1w3 +NotReady"]),
                comes(
                    "kubectl get endpointslices -l kubernetes.io/service-name=tolerant -o jsonpath='{range .items[*].endpoints[*]}{.nodeName} {.conditions.ready}{\"\\n\"}{end}'",
                    &["!c1w3 true", "c1w1 true"],
                ),
                comes(
                    "kubectl get pods -o wide -l app=tolerant",
                    &["~Terminating .* c1w3", "~(?s)(1/1 +Running.*){3}"],
                ),
                works("kubectl get events", &["TaintManagerEviction", "NodeNotReady"]),
                works(
                    "for i in 1 2 3 4 5 6; do kubectl exec asker -- curl -sS -m2 http://tolerant/hostname; echo; done",
                    &["~^(tolerant-\\S+\\n){6}"],
                ),
                works("knetsim net mend c1w3 c1", &["connected again"]),
                works("kubectl wait --for=condition=Ready node/c1w3 --timeout=60s", &["met"]),
                comes("kubectl get pods -o wide -l app=tolerant", &["!Terminating"]),
            ],
        },
        Exercise {
            title: "kill -9",
            why: "Processes of the node are started again by their supervisor, processes of pods by the kubelet. Containers are not \
                  children of the kubelet, so they outlive it; rules and routes are the kernel's, so they outlive kube-proxy and \
                  flanneld; and what the API server was told is on the disk.",
            needs: None,
            steps: &[
                works("pid() { knetsim status | awk -v p=$1 '$1==p {print $2}'; }", &[]),
                works(
                    "VIP=$(kubectl get service tolerant -o jsonpath='{.spec.clusterIP}'); knetsim exec c1w1 -- kill -9 $(pid c1/c1w1-kubelet); knetsim exec c1w1 -- curl -sS -m5 http://$VIP/hostname",
                    &["tolerant-"],
                ),
                comes("knetsim status | grep c1/c1w1-kubelet", &["~ 1 +\\w*signal"]),
                comes("kubectl exec asker -- curl -sS -m5 http://tolerant/hostname", &["tolerant-"]),
                works(
                    "knetsim exec c1-control-plane -- kill -9 $(pid c1/scheduler) $(pid c1/controller-manager); kubectl create deployment later --image=registry.k8s.io/pause:3.10",
                    &["created"],
                ),
                works("kubectl rollout status deployment/later --timeout=60s", &["successfully rolled out"]),
                note("kube-proxy: its rules stay, so Services do; a new one waits for its return."),
                works(
                    "PROXY=$(kubectl -n kube-system get pods -l k8s-app=kube-proxy --field-selector spec.nodeName=c1w1 -o name); knetsim exec c1w1 -- pkill -9 -f 'knetsim kube-proxy.*c1w1' || kubectl -n kube-system delete $PROXY --now",
                    &[],
                ),
                works("kubectl exec asker -- curl -sS -m5 http://tolerant/hostname", &["tolerant-"]),
                works("kubectl expose deployment tolerant --name=newer --port=80 --target-port=8080", &["exposed"]),
                comes("kubectl exec asker -- curl -sS -m2 http://newer/hostname", &["tolerant-"]),
                note("Nobody's containers were restarted for any of this:"),
                works(
                    "kubectl get pods -l app=tolerant -o custom-columns=POD:.metadata.name,RESTARTS:.status.containerStatuses[0].restartCount",
                    &["~tolerant-\\S+ +0", "!~tolerant-\\S+ +[1-9]"],
                ),
            ],
        },
        Exercise {
            title: "The control plane restarts",
            why: "Without it nothing changes, and nothing has to: pods run, Services answer. When it is back, all objects are there, \
                  and the same pods still run.",
            needs: None,
            steps: &[
                works(
                    "BEFORE=$(kubectl get pods -o jsonpath='{.items[*].metadata.uid} {.items[*].status.containerStatuses[*].containerID}')",
                    &[],
                ),
                works("knetsim exec c1-control-plane -- kill -9 $(pid c1/apiserver)", &[]),
                works("knetsim exec c1w1 -- curl -sS -m5 http://$VIP/hostname", &["tolerant-"]),
                comes("kubectl get --raw /readyz", &["ok"]),
                comes("kubectl get nodes", &["~c1w1 +Ready", "~c1w3 +Ready", "!NotReady"]),
                works(
                    "AFTER=$(kubectl get pods -o jsonpath='{.items[*].metadata.uid} {.items[*].status.containerStatuses[*].containerID}'); test \"$BEFORE\" = \"$AFTER\" && echo the same pods, the same containers",
                    &["the same containers"],
                ),
            ],
        },
    ],
};
