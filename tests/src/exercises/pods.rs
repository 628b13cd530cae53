//! Pod to pod: bridge, overlay, CNI, and pods on more than one network.

use super::{Chapter, Exercise, Need, comes, fails, note, works};

pub const CHAPTER: Chapter = Chapter {
    name: "pods",
    title: "2. Pod to pod",
    intro: "Kubernetes promises that every pod reaches every other at its own address, without translation. Here is how the \
            promise is kept on one node and across nodes, and how plugins make it so.",
    context: "c0",
    exercises: &[
        Exercise {
            title: "Same node, other node",
            why: "The receiver sees the sender's own address: nothing translates between pods. The TTL tells how many routers \
                  were on the way: none on the same bridge, two across nodes.",
            needs: None,
            steps: &[
                works("kubectl apply -f three-pods.yaml", &["pod/here created", "pod/near created", "pod/far created"]),
                works(
                    "kubectl wait --for=condition=Ready pod/here pod/near pod/far --timeout=60s",
                    &["pod/far condition met"],
                ),
                works("kubectl get pods -o wide", &["~here .* c0w1", "~near .* c0w1", "~far .* c0w2"]),
                works(
                    "HERE=$(kubectl get pod here -o jsonpath='{.status.podIP}'); NEAR=$(kubectl get pod near -o jsonpath='{.status.podIP}'); FAR=$(kubectl get pod far -o jsonpath='{.status.podIP}')",
                    &[],
                ),
                works("kubectl exec here -- ping -c1 -W2 $NEAR", &["ttl=64"]),
                works("kubectl exec here -- ping -c1 -W2 $FAR", &["ttl=62"]),
                works(
                    "for ip in $NEAR $FAR; do kubectl exec here -- curl -sS -m5 http://$ip:8080/clientip; echo; done; echo I am $HERE",
                    &["~^(11\\.0\\.\\d+\\.\\d+):\\d+\\n11\\.0"],
                ),
                works("kubectl exec here -- curl -sS -m5 http://$FAR:8080/clientip | grep -c \"^$HERE:\"", &["~^1$"]),
            ],
        },
        Exercise {
            title: "VXLAN on the wire",
            why: "Between nodes the pods' packets travel inside UDP, port 8472, with the network's number (VNI) in front. \
                  flannel tells the kernel three things per other node: a route to its pods through `flannel.1`, the hardware \
                  address at the end of that route, and behind which node's address that is.",
            needs: None,
            steps: &[
                // ICMP only (the protocol in the inner header): other chapters' names are asked for across nodes meanwhile.
                works(
                    "knetsim exec c0w1 -- timeout 10 tcpdump -Z root -lnn -T vxlan -c2 -i eth0 'udp port 8472 and udp[39] = 1 and greater 140' > $TMP/dump 2>&1 & until grep -qs listening $TMP/dump; do :; done; kubectl exec here -- ping -c2 -i0.2 -s 120 -W2 $FAR > $TMP/ping; wait; cat $TMP/dump",
                    &["~VXLAN, flags \\[I\\] \\(0x08\\), vni 1", "ICMP echo request", "10.0.0.12.8472"],
                ),
                works(
                    "knetsim exec c0w1 -- ip route",
                    &[
                        "~11\\.0\\.\\d+\\.0/24 via 11\\.0\\.\\d+\\.0 dev flannel\\.1 onlink",
                        "~11\\.0\\.\\d+\\.0/24 dev cni0",
                    ],
                ),
                works(
                    "knetsim exec c0w1 -- ip neigh show dev flannel.1",
                    &["~11\\.0\\.\\d+\\.0 lladdr \\S+ PERMANENT"],
                ),
                works(
                    "knetsim exec c0w1 -- bridge fdb show dev flannel.1",
                    &["dst 10.0.0.12 self permanent", "dst 10.0.0.13 self permanent"],
                ),
                works(
                    "knetsim exec c0w1 -- ip -d link show flannel.1",
                    &["vxlan id 1 local 10.0.0.11 dev eth0", "dstport 8472 nolearning"],
                ),
                works(
                    "knetsim exec c0w1 -- cat /run/flannel/subnet.env",
                    &[
                        "FLANNEL_NETWORK=11.0.0.0/8",
                        "~FLANNEL_SUBNET=11\\.0\\.\\d+\\.1/24",
                        "FLANNEL_MTU=1450",
                        "FLANNEL_IPMASQ=true",
                    ],
                ),
                note("Delete the link: flanneld makes it anew, and pods reach each other again."),
                works("knetsim exec c0w1 -- ip link del flannel.1", &[]),
                comes("kubectl exec here -- ping -c1 -W1 $FAR", &["1 received"]),
            ],
        },
        Exercise {
            title: "CNI by hand",
            why: "A network plugin is a program: what to do is in the environment, the network's configuration on standard \
                  input, the result on standard output. The kubelet does nothing else.",
            needs: None,
            steps: &[
                works("knetsim exec c0w3 -- ip netns add hand", &[]),
                works(
                    "CNI='env CNI_CONTAINERID=hand CNI_NETNS=/run/netns/hand CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin'",
                    &[],
                ),
                works("cni() { knetsim exec c0w3 -- $CNI CNI_COMMAND=$1 /opt/cni/bin/$2; }", &[]),
                works(
                    "cni ADD bridge < cni-bridge.conf | tee $TMP/result",
                    &["\"address\": \"192.168.77.2/24\"", "\"sandbox\": \"/run/netns/hand\""],
                ),
                works("knetsim exec c0w3 -- ping -c1 -W2 192.168.77.2", &["1 received"]),
                note("CHECK gets the result of ADD, so that the plugin can see whether all is still there:"),
                works(
                    "python3 -c 'import json,sys; c=json.load(open(\"cni-bridge.conf\")); c[\"prevResult\"]=json.load(open(sys.argv[1])); print(json.dumps(c))' $TMP/result > $TMP/check; cni CHECK bridge < $TMP/check && echo as it was made",
                    &["as it was made"],
                ),
                note(
                    "A chain: the next plugin gets the configuration and the result so far. `tuning` sets a sysctl in the pod's namespace.",
                ),
                works(
                    "python3 -c 'import json,sys; print(json.dumps({\"cniVersion\":\"1.0.0\",\"name\":\"hand\",\"type\":\"tuning\",\"sysctl\":{\"net.ipv4.conf.eth0.arp_announce\":\"2\"},\"prevResult\":json.load(open(sys.argv[1]))}))' $TMP/result > $TMP/tuning; cni ADD tuning < $TMP/tuning",
                    &["192.168.77.2/24"],
                ),
                works(
                    "knetsim exec c0w3 -- ip netns exec hand cat /proc/sys/net/ipv4/conf/eth0/arp_announce",
                    &["~^2$"],
                ),
                works(
                    "python3 -c 'import json,sys; print(json.dumps({\"cniVersion\":\"1.0.0\",\"name\":\"hand\",\"type\":\"portmap\",\"runtimeConfig\":{\"portMappings\":[{\"hostPort\":7777,\"containerPort\":80,\"protocol\":\"tcp\"}]},\"prevResult\":json.load(open(sys.argv[1]))}))' $TMP/result > $TMP/portmap; cni ADD portmap < $TMP/portmap > $TMP/null",
                    &[],
                ),
                works(
                    "knetsim exec c0w3 -- ip netns exec hand timeout 20 python3 -m http.server 80 > $TMP/server 2>&1 & SERVER=$!",
                    &[],
                ),
                comes(
                    "knetsim exec c0w2 -- curl -sS -m2 -o /dev/null -w '%{http_code}\\n' http://10.0.0.13:7777/",
                    &["~^200$"],
                ),
                works("kill $SERVER", &[]),
                works(
                    "cni DEL portmap < $TMP/portmap; cni DEL bridge < cni-bridge.conf; knetsim exec c0w3 -- ip -n hand -br addr",
                    &["!192.168.77"],
                ),
                works("knetsim exec c0w3 -- sh -c 'ip netns del hand; ip link del hand0'", &[]),
            ],
        },
        Exercise {
            title: "A broken configuration",
            why: "The kubelet takes the first configuration by file name. When a plugin refuses it, the pod waits, and its Events \
                  carry the plugin's own words; the next try after the repair works.",
            needs: None,
            steps: &[
                works(
                    "knetsim exec c0w3 -- tee /etc/cni/net.d/00-broken.conflist < cni-broken.conflist",
                    &["not-a-subnet"],
                ),
                works("kubectl apply -f pod-on-c0w3.yaml", &["pod/unlucky created"]),
                comes(
                    "kubectl describe pod unlucky",
                    &[
                        "FailedCreatePodSandBox",
                        "plugin type=\"bridge\" failed (add): invalid CIDR address: not-a-subnet",
                    ],
                ),
                works("knetsim exec c0w3 -- rm /etc/cni/net.d/00-broken.conflist", &[]),
                works("kubectl wait --for=condition=Ready pod/unlucky --timeout=60s", &["condition met"]),
            ],
        },
        Exercise {
            title: "macvlan: on the node's own network",
            why: "A macvlan link has a hardware address of its own on its parent's network: whoever has it is a neighbour of the \
                  nodes, without bridge and without translation. ipvlan shares the parent's hardware address instead; where the \
                  kernel has no such links, the plugin says so.",
            needs: Some(Need::Macvlan),
            steps: &[
                works("knetsim exec c0w3 -- ip netns add mac", &[]),
                works(
                    "MAC='env CNI_CONTAINERID=mac CNI_NETNS=/run/netns/mac CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin'",
                    &[],
                ),
                works(
                    "knetsim exec c0w3 -- $MAC CNI_COMMAND=ADD /opt/cni/bin/macvlan < cni-macvlan.conf",
                    &["10.0.0.99/24"],
                ),
                works("knetsim exec c0w3 -- ip netns exec mac ping -c1 -W2 10.0.0.12", &["1 received"]),
                works("knetsim exec c0w2 -- ip neigh show 10.0.0.99", &["~10.0.0.99 dev eth0 lladdr"]),
                works("knetsim exec c0w3 -- $MAC CNI_COMMAND=DEL /opt/cni/bin/macvlan < cni-macvlan.conf", &[]),
                works(
                    "knetsim exec c0w3 -- $MAC CNI_COMMAND=ADD /opt/cni/bin/ipvlan < cni-ipvlan.conf || echo no ipvlan here",
                    &["~\"address\": \"10.0.0.98/24\"|failed to create ipvlan: operation not supported"],
                ),
                works("knetsim exec c0w3 -- ip netns del mac", &[]),
            ],
        },
        Exercise {
            title: "Multus: a pod on two networks",
            why: "Multus is a plugin that calls plugins: first the cluster's network for `eth0`, then one for each network the \
                  pod's annotation names. What came of it is in the annotation `network-status`.",
            needs: Some(Need::Macvlan),
            steps: &[
                works("kubectl apply -f multus.yaml", &["daemonset.apps/kube-multus-ds created"]),
                works(
                    "kubectl -n kube-system rollout status daemonset/kube-multus-ds --timeout=60s",
                    &["successfully rolled out"],
                ),
                works(
                    "kubectl wait --for=condition=Established crd/network-attachment-definitions.k8s.cni.cncf.io --timeout=60s",
                    &["met"],
                ),
                comes(
                    "for n in c0w1 c0w2 c0w3; do knetsim exec $n -- ls /etc/cni/net.d; done",
                    &["~(00-multus.conf\\n10-flannel.conflist\\nmultus.d\\n){3}"],
                ),
                works(
                    "kubectl apply -f multus-networks.yaml",
                    &["networkattachmentdefinition.k8s.cni.cncf.io/macvlan-conf-172-254-1 created"],
                ),
                works("kubectl get network-attachment-definitions", &["macvlan-conf-172-254-1"]),
                works("kubectl wait --for=condition=Ready pod/two-networks --timeout=60s", &["met"]),
                works(
                    "kubectl exec two-networks -- ip -br addr",
                    &[
                        "~eth0@if\\d+ .* 11\\.0\\.",
                        "~net1@if\\d+ .* 172\\.254\\.1\\.2\\d\\d/24",
                        "~second@if\\d+ .* 172\\.254\\.2\\.",
                    ],
                ),
                works(
                    "kubectl get pod two-networks -o jsonpath='{.metadata.annotations.k8s\\.v1\\.cni\\.cncf\\.io/network-status}'",
                    &[
                        "\"name\": \"cbr0\"",
                        "\"name\": \"pods/macvlan-conf-172-254-1\"",
                        "\"interface\": \"net1\"",
                        "\"172.254.1.2",
                        "~\"mac\": \"[0-9a-f:]{17}\"",
                        "\"default\": true",
                    ],
                ),
                works(
                    "kubectl describe pod two-networks",
                    &[
                        "~AddedInterface .* multus +Add net1 \\[172.254.1.2\\d\\d/24\\] from pods/macvlan-conf-172-254-1",
                    ],
                ),
                note("A network that is not there:"),
                works(
                    "kubectl run nowhere --image=busybox --annotations=k8s.v1.cni.cncf.io/networks=nowhere -- sleep 9",
                    &["created"],
                ),
                comes(
                    "kubectl describe pod nowhere",
                    &["cannot find a network-attachment-definition (nowhere) in namespace (pods)"],
                ),
                works("kubectl delete pod nowhere two-networks --now", &["deleted"]),
                works("kubectl delete -f multus.yaml --wait=false", &["deleted"]),
                comes("knetsim exec c0w1 -- ls /etc/cni/net.d", &["!00-multus.conf"]),
                fails(
                    "kubectl get network-attachment-definitions",
                    &["~the server (doesn't have a resource type|could not find the requested resource)"],
                ),
            ],
        },
    ],
};
