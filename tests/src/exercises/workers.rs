//! Workers and containers: what a node is, what a pod is made of.

use super::{Chapter, Exercise, Need, comes, fails, note, works};

pub const CHAPTER: Chapter = Chapter {
    name: "workers",
    title: "1. Workers and containers",
    intro: "A node is a machine with a network address of its own; a pod is a handful of namespaces on it. Both can be looked \
            at from inside and from outside, and this chapter does both.",
    context: "c0",
    exercises: &[
        Exercise {
            title: "Nodes",
            why: "Each cluster has a control plane and three workers, and each of these a network namespace with an `eth0` on \
                  the cluster's own bridge. `knetsim exec NODE -- …` runs any command of your machine on a node.",
            needs: None,
            steps: &[
                works(
                    "kubectl get nodes -o wide",
                    &[
                        "~c0-control-plane +Ready +control-plane +\\S+ +v1.35.0 +10.0.0.10 ",
                        "~c0w1 +Ready .* 10.0.0.11 ",
                        "~c0w2 +Ready .* 10.0.0.12 ",
                        "~c0w3 +Ready .* 10.0.0.13 ",
                    ],
                ),
                works(
                    "kubectl --context c1 get nodes",
                    &["~c1-control-plane +Ready", "~c1w1 +Ready", "~c1w2 +Ready", "~c1w3 +Ready"],
                ),
                note("Every node reaches every other:"),
                works(
                    "for n in c0w1 c0w2 c0w3; do for a in 10 11 12 13; do knetsim exec $n -- ping -c1 -W2 10.0.0.$a; done; done | grep -c 'bytes from'",
                    &["~^12$"],
                ),
            ],
        },
        Exercise {
            title: "A pod that is a file",
            why: "A kubelet runs the pods of the files in `/etc/kubernetes/manifests`, with or without an API server; real \
                  control planes start that way. What the API has of such a pod is a mirror: deleting it changes nothing.",
            needs: None,
            steps: &[
                works(
                    "kubectl run -n default echo --image=agnhost --dry-run=client -o yaml -- netexec | knetsim exec c0w1 -- sh -c 'cat > /etc/kubernetes/manifests/echo.yaml'",
                    &[],
                ),
                works("kubectl wait -n default --for=create pod/echo-c0w1 --timeout=60s", &["condition met"]),
                works("kubectl wait -n default --for=condition=Ready pod/echo-c0w1 --timeout=60s", &["condition met"]),
                works(
                    "kubectl get pod -n default echo-c0w1 -o jsonpath='{.metadata.annotations.kubernetes\\.io/config\\.source} of {.metadata.ownerReferences[0].kind} {.spec.nodeName}'",
                    &["file of Node c0w1"],
                ),
                works(
                    "RUN=$(kubectl get pod -n default echo-c0w1 -o jsonpath='{.status.containerStatuses[0].containerID}'); kubectl delete pod -n default echo-c0w1",
                    &["deleted"],
                ),
                works(
                    "kubectl wait -n default --for=create pod/echo-c0w1 --timeout=60s && kubectl wait -n default --for=condition=Ready pod/echo-c0w1 --timeout=60s",
                    &["condition met"],
                ),
                works(
                    "test \"$RUN\" = \"$(kubectl get pod -n default echo-c0w1 -o jsonpath='{.status.containerStatuses[0].containerID}')\" && echo the same container",
                    &["the same container"],
                ),
                note("The node's own log folder has a page for every folder and each container's log:"),
                works(
                    "kubectl get --raw /api/v1/nodes/c0w1/proxy/logs/",
                    &["<a href=\"containers/\">containers/</a>", "<a href=\"pods/\">pods/</a>"],
                ),
                works(
                    "kubectl get --raw /api/v1/nodes/c0w1/proxy/logs/containers/ | grep -c echo-c0w1_default",
                    &["~^1$"],
                ),
                note("Its end is the file's:"),
                works("knetsim exec c0w1 -- rm /etc/kubernetes/manifests/echo.yaml", &[]),
                // It says nothing when the pod was gone before.
                works("kubectl wait -n default --for=delete pod/echo-c0w1 --timeout=60s", &[]),
            ],
        },
        Exercise {
            title: "Network namespaces by hand",
            why: "A namespace has its own links, addresses, routes, rules and counters, and begins with nothing but a `lo` that \
                  is down. A veth pair is a cable: what goes in at one end comes out at the other, in whichever namespace that is.",
            needs: None,
            steps: &[
                works("knetsim exec c0w1 -- sh -c 'ip netns add texas; ip netns add california'", &[]),
                works("knetsim exec c0w1 -- ip -n texas link", &["~^1: lo: <LOOPBACK> .* state DOWN", "!2:"]),
                works("knetsim exec c0w1 -- ip link add t0 type veth peer name c0", &[]),
                works("knetsim exec c0w1 -- sh -c 'ip link set t0 netns texas; ip link set c0 netns california'", &[]),
                works(
                    "knetsim exec c0w1 -- sh -c 'ip -n texas addr add 192.0.2.1/24 dev t0; ip -n texas link set t0 up'",
                    &[],
                ),
                works(
                    "knetsim exec c0w1 -- sh -c 'ip -n california addr add 192.0.2.2/24 dev c0; ip -n california link set c0 up'",
                    &[],
                ),
                works("knetsim exec c0w1 -- ip netns exec texas ping -c3 -i0.2 -W2 192.0.2.2", &["3 received"]),
                note(
                    "Each has its own `ip link`, and its own counters: the other end received what this one sent, and a third \
                      namespace knows nothing of it.",
                ),
                works("knetsim exec c0w1 -- ip -n texas -br link", &["t0@", "!c0@"]),
                works("knetsim exec c0w1 -- ip -n california -br link", &["c0@", "!t0 "]),
                works("knetsim exec c0w1 -- ip -n california -s link show c0", &["~RX: +bytes"]),
                works("knetsim exec c0w1 -- sh -c 'ip netns del texas; ip netns del california'", &[]),
                works("knetsim exec c0w1 -- ip -br link", &["!t0"]),
            ],
        },
        Exercise {
            title: "The network of a pod",
            why: "A pod's `eth0` is one end of a veth pair; `@ifN` is the other end's number on the node, where it is a port of \
                  the bridge `cni0`. The address comes from the node's podCIDR, and the MTU leaves 50 bytes for VXLAN's headers.",
            needs: None,
            steps: &[
                works("kubectl run c1 --image=netshoot --restart=Never -- sleep 36001", &["pod/c1 created"]),
                works("kubectl wait --for=condition=Ready pod/c1 --timeout=60s", &["condition met"]),
                works(
                    "kubectl exec c1 -- ip addr",
                    &["~lo: <LOOPBACK,UP", "~eth0@if\\d+: .* mtu 1450", "~inet 11\\.0\\.\\d+\\.\\d+/24"],
                ),
                works(
                    "NODE=$(kubectl get pod c1 -o jsonpath='{.spec.nodeName}'); kubectl get node $NODE -o jsonpath='{.spec.podCIDR}{\"\\n\"}'",
                    &["~^11\\.0\\.\\d+\\.0/24$"],
                ),
                works(
                    "IP=$(kubectl get pod c1 -o jsonpath='{.status.podIP}'); N=$(kubectl exec c1 -- cat /sys/class/net/eth0/iflink); echo $IP is at the other end of link $N",
                    &["~11\\.0\\.\\d+\\.\\d+ is at"],
                ),
                works("knetsim exec $NODE -- ip link | grep \"^$N: \"", &["~veth\\w+@if2: .* master cni0"]),
            ],
        },
        Exercise {
            title: "The processes of a pod",
            why: "A container's program is PID 1 of its own PID namespace. On the node the same process has another number, and \
                  `lsns` tells which namespaces it has: network, host name and IPC are the pod's, mounts and processes its own.",
            needs: None,
            steps: &[
                works("kubectl exec c1 -- ps -o pid,args", &["~^ +1 sleep 36001"]),
                works(
                    "PID=$(knetsim exec $NODE -- pgrep -f '^sleep 36001'); echo on the node it is $PID",
                    &["~is \\d\\d+"],
                ),
                comes(
                    "knetsim exec $NODE -- lsns -o NS,TYPE,NPROCS,PID,COMMAND -p $PID",
                    &["~net .*", "~uts .*", "~ipc .*", "~mnt +1 .*sleep", "~pid +1 .*sleep"],
                ),
                note("Two processes of one node's pods share no network namespace:"),
                works(
                    "knetsim exec $NODE -- sh -c \"readlink /proc/self/ns/net /proc/$PID/ns/net | sort -u | wc -l\"",
                    &["~^2$"],
                ),
            ],
        },
        Exercise {
            title: "Two containers of one pod",
            why: "Containers of a pod share its network: they reach each other on localhost, and only one can have a port. A \
                  container that ends is started again in the same pod, which keeps its address; a new pod gets a new one.",
            needs: None,
            steps: &[
                works("kubectl apply -f two-containers.yaml", &["pod/two created", "pod/clash created"]),
                works("kubectl wait --for=condition=Ready pod/two --timeout=60s", &["met"]),
                comes("kubectl exec two -c shell -- curl -sS http://localhost/", &["Welcome to nginx!"]),
                comes(
                    "kubectl logs clash --all-containers --prefix",
                    &["bind() to 0.0.0.0:80 failed (98: Address already in use)"],
                ),
                comes("kubectl get pod clash", &["~clash +1/2"]),
                note("End the program of the first container. It comes back, and the pod's address stays:"),
                works("BEFORE=$(kubectl get pod two -o jsonpath='{.status.podIP}')", &[]),
                works(
                    "knetsim exec $(kubectl get pod two -o jsonpath='{.spec.nodeName}') -- pkill -9 -f 'nginx: master process nginx-two'",
                    &[],
                ),
                comes("kubectl get pod two -o wide", &["~two +2/2 +Running +1 \\("]),
                works(
                    "test $BEFORE = $(kubectl get pod two -o jsonpath='{.status.podIP}') && echo still $BEFORE",
                    &["still 11.0."],
                ),
                note("A Deployment replaces a deleted pod by another one, with another name and address:"),
                works(
                    "kubectl create deployment solo --image=nginx && kubectl rollout status deployment/solo --timeout=60s",
                    &["successfully rolled out"],
                ),
                works("OLD=$(kubectl get pod -l app=solo -o jsonpath='{.items[0].status.podIP}')", &[]),
                works("kubectl delete pod -l app=solo", &["deleted"]),
                works("kubectl rollout status deployment/solo --timeout=60s", &["successfully rolled out"]),
                works(
                    "NEW=$(kubectl get pod -l app=solo -o jsonpath='{.items[0].status.podIP}'); test -n \"$NEW\" -a \"$OLD\" != \"$NEW\" && echo $OLD became $NEW",
                    &["~11\\.0\\S+ became 11\\.0\\S+"],
                ),
            ],
        },
        Exercise {
            title: "Requests, limits and quality of service",
            why: "The class follows from requests and limits alone: limits equal to requests for every container is Guaranteed, \
                  anything less is Burstable, nothing at all is BestEffort.",
            needs: None,
            steps: &[
                works("kubectl apply -f quality-of-service.yaml", &["created"]),
                works(
                    "kubectl get pods -l exercise=qos -o custom-columns=POD:.metadata.name,CLASS:.status.qosClass",
                    &["~besteffort +BestEffort", "~burstable +Burstable", "~guaranteed +Guaranteed"],
                ),
            ],
        },
        Exercise {
            title: "A look into a running pod",
            why: "`kubectl debug` adds an ephemeral container to a pod that runs: with an image of its own, and with the processes \
                  of the container that `--target` names. It is part of the pod from then on, and is never started again.",
            needs: None,
            steps: &[
                works(
                    "kubectl debug c1 --image=busybox --target=c1 --container=looker -- ps",
                    &["Targeting container \"c1\""],
                ),
                comes("kubectl logs c1 -c looker", &["sleep 36001"]),
                comes(
                    "kubectl get pod c1 -o jsonpath='{.status.ephemeralContainerStatuses[0].state.terminated.reason} {.status.phase}{\"\\n\"}'",
                    &["Completed Running"],
                ),
            ],
        },
        Exercise {
            title: "Configuration that changes",
            why: "A ConfigMap in a volume is a mirror: the kubelet watches it, and a change is in the pod's files a moment later, all of \
                  it at once. Environment variables are set at the start and stay.",
            needs: None,
            steps: &[
                works(
                    "kubectl create configmap greeting --from-literal=text=hello && kubectl apply -f greeter.yaml && kubectl wait --for=condition=Ready pod/greeter --timeout=60s",
                    &["met"],
                ),
                works(
                    "kubectl exec greeter -- sh -c 'cat /greeting/text; echo; echo $GREETING'",
                    &["~^hello\\nhello$"],
                ),
                works("kubectl patch configmap greeting -p '{\"data\":{\"text\":\"good morning\"}}'", &["patched"]),
                comes(
                    "kubectl exec greeter -- sh -c 'cat /greeting/text; echo; echo $GREETING'",
                    &["~^good morning\\nhello$"],
                ),
            ],
        },
        Exercise {
            title: "Other limits, in place",
            why: "A running container can be given other limits: by the subresource `resize`, without a restart where its \
                  `resizePolicy` does not ask for one.",
            needs: Some(Need::Limits),
            steps: &[
                works(
                    "kubectl wait --for=condition=Ready pod/guaranteed --timeout=60s && kubectl patch pod guaranteed --subresource=resize -p '{\"spec\":{\"containers\":[{\"name\":\"a\",\"resources\":{\"requests\":{\"cpu\":\"80m\"},\"limits\":{\"cpu\":\"80m\"}}}]}}'",
                    &["patched"],
                ),
                comes(
                    "kubectl get pod guaranteed -o jsonpath='{.status.containerStatuses[0].resources.limits.cpu} {.status.containerStatuses[0].restartCount}{\"\\n\"}'",
                    &["~^80m 0$"],
                ),
                works(
                    "ID=$(kubectl get pod guaranteed -o jsonpath='{.status.containerStatuses[0].containerID}' | cut -c8-39); knetsim exec c0w1 -- sh -c \"find /sys/fs/cgroup -path '*$ID/cpu.cfs_quota_us' -o -path '*$ID/cpu.max' | sort -u | head -1 | xargs cat\"",
                    &["~^8000( 100000)?$"],
                ),
            ],
        },
        Exercise {
            title: "Past the limit",
            why: "A limit is a control group's. Whoever wants more CPU is held back; whoever wants more memory is ended by the \
                  kernel, and the pod says OOMKilled.",
            needs: Some(Need::Limits),
            steps: &[
                works("kubectl apply -f hungry.yaml", &["created"]),
                comes("kubectl get pod hungry", &["~hungry +0/1 +OOMKilled"]),
                works(
                    "kubectl get pod hungry -o jsonpath='{.status.containerStatuses[0].state.terminated.exitCode}{\"\\n\"}'",
                    &["137"],
                ),
            ],
        },
        Exercise {
            title: "The node's own network, and its ports",
            why: "A pod with `hostNetwork` has no network of its own: its address is the node's, and it sees every link there. A \
                  `hostPort` leads from a port of the node into a pod; two pods cannot have the same one on one node, so the \
                  scheduler finds no place for the second.",
            needs: None,
            steps: &[
                works("kubectl apply -f host-network.yaml", &["pod/on-the-node created", "pod/port-1 created"]),
                works(
                    "kubectl wait --for=condition=Ready pod/on-the-node pod/port-1 --timeout=60s",
                    &["pod/port-1 condition met"],
                ),
                works("kubectl get pod on-the-node -o wide", &["~10\\.0\\.0\\.1[123] +c0w[123]"]),
                works("kubectl exec on-the-node -- ip -br link", &["cni0", "flannel.1", "veth"]),
                works(
                    "kubectl exec on-the-node -- ping -c1 -W2 $(kubectl get pod c1 -o jsonpath='{.status.podIP}')",
                    &["1 received"],
                ),
                works("knetsim exec c0w1 -- curl -sS -m5 http://10.0.0.12:8080/", &["Welcome to nginx!"]),
                works("kubectl apply -f host-port-again.yaml", &["pod/port-2 created"]),
                comes(
                    "kubectl describe pod port-2",
                    &["FailedScheduling", "node(s) didn't have free ports for the requested pod ports"],
                ),
                works("kubectl get pod port-2", &["~port-2 +0/1 +Pending"]),
                fails("knetsim exec c0w1 -- curl -sS -m2 http://10.0.0.13:8080/", &["curl:"]),
            ],
        },
    ],
};
