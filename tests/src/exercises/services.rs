//! Services: one address for many pods, and the rules that make it so.

use super::{Chapter, Exercise, comes, fails, note, works};

pub const CHAPTER: Chapter = Chapter {
    name: "services",
    title: "3. Services",
    intro: "A Service is an address that no machine has. Every node rewrites packets to it, by rules that kube-proxy writes; so \
            the whole of it can be read with `nft`, and followed with counters.",
    context: "c0",
    exercises: &[
        Exercise {
            title: "One address, three pods",
            why: "The Service chooses anew for each connection. Which pods there are to choose from is in its EndpointSlice, which \
                  follows the pods: more, fewer, unready.",
            needs: None,
            steps: &[
                works(
                    "kubectl apply -f web.yaml",
                    &["deployment.apps/web created", "service/web created", "pod/client created"],
                ),
                works(
                    "kubectl rollout status deployment/web --timeout=80s && kubectl wait --for=condition=Ready pod/client --timeout=60s",
                    &["successfully rolled out"],
                ),
                works(
                    "kubectl get deployment,service,pods -o wide",
                    &["~web +3/3", "~service/web +ClusterIP +10\\.96\\."],
                ),
                works(
                    "for i in $(seq 30); do echo 'curl -sS -m5 http://web/hostname; echo'; done | kubectl exec -i client -- sh | sort | uniq -c",
                    &["~(?s)web-\\S+.*web-\\S+.*web-\\S+"],
                ),
                works("kubectl get endpointslices -l kubernetes.io/service-name=web", &["~IPv4 +8080(,8080)? +11\\."]),
                works(
                    "kubectl scale deployment/web --replicas=5 && kubectl rollout status deployment/web --timeout=60s",
                    &["successfully rolled out"],
                ),
                comes(
                    "kubectl get endpointslices -l kubernetes.io/service-name=web -o jsonpath='{range .items[*].endpoints[*]}{.addresses[0]}{\"\\n\"}{end}'",
                    &["~^(11\\S+\\n){5}$"],
                ),
                works("kubectl scale deployment/web --replicas=3", &["scaled"]),
                comes(
                    "kubectl get endpointslices -l kubernetes.io/service-name=web -o jsonpath='{range .items[*].endpoints[*]}{.addresses[0]}{\"\\n\"}{end}'",
                    &["~^(11\\S+\\n){3}$", "!~(11\\S+\\n){4}"],
                ),
                note("A pod whose readiness probe fails stays, but leaves the Service:"),
                works(
                    "POD=$(kubectl get pods -l app=web -o jsonpath='{.items[0].metadata.name}'); kubectl exec $POD -- touch /tmp/unready",
                    &[],
                ),
                comes(
                    "kubectl get endpointslices -l kubernetes.io/service-name=web -o jsonpath='{range .items[*].endpoints[*]}{.conditions.ready}{\"\\n\"}{end}' | sort | uniq -c",
                    &["~1 false", "~2 true"],
                ),
                works("kubectl exec $POD -- rm /tmp/unready", &[]),
                comes("kubectl rollout status deployment/web --timeout=60s", &["successfully rolled out"]),
                note("A pod that is deleted gracefully loses no request: it leaves the Service before it ends."),
                works(
                    "echo 'for i in $(seq 80); do curl -sS -m5 -o /dev/null -w \"%{http_code}\\n\" http://web/hostname; done' | kubectl exec -i client -- sh > $TMP/codes & kubectl delete pod $POD; wait; sort $TMP/codes | uniq -c",
                    &["~^ +80 200$"],
                ),
            ],
        },
        Exercise {
            title: "The rules",
            why: "One map leads from (address, protocol, port) to the Service's chain, whatever the number of Services; the chain \
                  chooses an endpoint; the endpoint's chain rewrites the destination. Rules of your own next to it are left alone.",
            needs: None,
            steps: &[
                comes(
                    "kubectl get endpointslices -l kubernetes.io/service-name=web -o jsonpath='{range .items[*].endpoints[*]}{.conditions.ready}{\"\\n\"}{end}' | sort | uniq -c",
                    &["~3 true", "!false"],
                ),
                works("VIP=$(kubectl get service web -o jsonpath='{.spec.clusterIP}')", &[]),
                works(
                    "knetsim exec c0w1 -- nft list map ip kube-proxy service-ips | grep \"$VIP \"",
                    &["~\\. tcp \\. 80 : goto service-\\w+-services/web/tcp/http"],
                ),
                comes(
                    "CHAIN=$(knetsim exec c0w1 -- nft list map ip kube-proxy service-ips | grep -o 'service-[A-Z0-9]*-services/web/tcp/http'); knetsim exec c0w1 -- nft list chain ip kube-proxy $CHAIN",
                    &["numgen random mod 3 vmap", "0 : goto endpoint-", "2 : goto endpoint-"],
                ),
                works("knetsim exec c0w1 -- nft list ruleset | grep -c 'dnat to'", &["~^\\d+$"]),
                works(
                    "knetsim exec c0w1 -- nft reset counters table ip kube-proxy 2>/dev/null; for i in 1 2 3 4; do knetsim exec c0w1 -- curl -sS -m5 http://$VIP/hostname; echo; done",
                    &["web-"],
                ),
                works("knetsim exec c0w1 -- nft list chain ip kube-proxy $CHAIN", &["~counter packets [1-9]"]),
                works("knetsim exec c0w1 -- nft add table ip mine", &[]),
                works("kubectl scale deployment/web --replicas=2 && kubectl rollout status deployment/web", &[]),
                comes("knetsim exec c0w1 -- nft list chain ip kube-proxy $CHAIN", &["numgen random mod 2 vmap"]),
                works(
                    "knetsim exec c0w1 -- sh -c 'nft list tables; nft delete table ip mine'",
                    &["table ip mine", "table ip kube-proxy"],
                ),
                works("kubectl scale deployment/web --replicas=3 && kubectl rollout status deployment/web", &[]),
            ],
        },
        Exercise {
            title: "Kinds of Services",
            why: "The same pods, reached in every way there is: by a cluster address with several ports, by a port of every node, \
                  by an address of the load balancer's pool, by an address of your own, by name only.",
            needs: None,
            steps: &[
                works("kubectl apply -f kinds-of-services.yaml", &["service/by-node-port created"]),
                comes(
                    "kubectl get services",
                    &[
                        "~by-node-port +NodePort .*80:30001/TCP",
                        "~balanced +LoadBalancer +\\S+ +10\\.254\\.254\\.\\d+",
                        "~named +ExternalName +<none> +example.com",
                        "~headless +ClusterIP +None",
                    ],
                ),
                note("Two ports, one of them by the name that the container gave it:"),
                works(
                    "kubectl exec client -- sh -c 'curl -sS -m5 http://web/hostname; echo; curl -sS -m5 http://web:81/hostname; echo'",
                    &["~^web-\\S+\\nweb-"],
                ),
                note("A port of every node; one outside of the range is refused:"),
                works(
                    "for n in 10 11 12 13; do knetsim exec outside -- curl -sS -m5 http://10.0.0.$n:30001/hostname; echo; done",
                    &["~^(web-\\S+\\n){4}"],
                ),
                fails(
                    "kubectl patch service by-node-port -p '{\"spec\":{\"ports\":[{\"port\":80,\"nodePort\":29999}]}}'",
                    &["provided port is not in the valid range. The range of valid ports is 30000-32767"],
                ),
                note("The load balancer's address, from a host that is in no cluster:"),
                works(
                    "LB=$(kubectl get service balanced -o jsonpath='{.status.loadBalancer.ingress[0].ip}'); knetsim exec outside -- curl -sS -m5 http://$LB/hostname",
                    &["web-"],
                ),
                note("`externalIPs`: whoever routes the address to a node has made it a Service's address."),
                works(
                    "knetsim exec wan -- ip route replace 192.0.2.80/32 via 10.0.0.12; knetsim exec outside -- curl -sS -m5 http://192.0.2.80/hostname",
                    &["web-"],
                ),
                works("knetsim exec wan -- ip route del 192.0.2.80/32", &[]),
                note("A name for a name, and a name for all pods:"),
                works(
                    "kubectl exec client -- nslookup -type=CNAME named.services.svc.cluster.local",
                    &["canonical name = example.com."],
                ),
                works(
                    "kubectl exec client -- nslookup headless.services.svc.cluster.local",
                    &["~(?s)(Address: 11\\..*){3}"],
                ),
                note(
                    "Session affinity: one client, one pod. Internal policy Local: only pods of the client's own node.",
                ),
                works(
                    "for i in $(seq 8); do echo 'curl -sS -m5 http://sticky/hostname; echo'; done | kubectl exec -i client -- sh | sort | uniq -c",
                    &["~^ +8 web-\\S+\\n$"],
                ),
                works(
                    "NODE=$(kubectl get pod client -o jsonpath='{.spec.nodeName}'); kubectl get pods -l app=web --field-selector spec.nodeName=$NODE -o name",
                    &["pod/web-"],
                ),
                works(
                    "for i in $(seq 8); do echo 'curl -sS -m5 http://local-only/hostname; echo'; done | kubectl exec -i client -- sh | sort -u | sed s,^,pod/, | tee $TMP/seen; kubectl get pods -l app=web --field-selector spec.nodeName=$NODE -o name | grep -Fxf $TMP/seen",
                    &["pod/web-"],
                ),
            ],
        },
        Exercise {
            title: "Who asks? externalTrafficPolicy",
            why: "With policy Cluster any node takes a request and passes it on, and the answer must come back the same way: so the \
                  pod sees the node. With Local only nodes that have a pod answer, and the pod sees the client. A load balancer \
                  finds those nodes by the health check port.",
            needs: None,
            steps: &[
                works(
                    "kubectl apply -f traffic-policy.yaml && kubectl rollout status deployment/single --timeout=60s",
                    &["successfully rolled out"],
                ),
                comes(
                    "kubectl get service anywhere here-only -o wide",
                    &["~anywhere .*:30011/TCP", "~here-only +LoadBalancer +\\S+ +10\\.254\\.254\\.\\d+ .*:30012/TCP"],
                ),
                comes(
                    "knetsim exec outside -- curl -sS -m5 http://10.0.0.11:30011/clientip",
                    &["!10.0.254.2", "~^(11|10)\\.0\\."],
                ),
                comes("knetsim exec outside -- curl -sS -m5 http://10.0.0.12:30012/clientip", &["~^10\\.0\\.254\\.2:"]),
                note("The pod is on c0w2; another node drops what comes to its port:"),
                fails("knetsim exec outside -- curl -sS -m2 http://10.0.0.11:30012/clientip", &["timed out"]),
                works(
                    "CHECK=$(kubectl get service here-only -o jsonpath='{.spec.healthCheckNodePort}'); for n in 11 12; do knetsim exec outside -- curl -sS -m5 -w ' %{http_code}\\n' http://10.0.0.$n:$CHECK/; done",
                    &["~\"localEndpoints\":0.* 503", "~\"localEndpoints\":1.* 200"],
                ),
            ],
        },
        Exercise {
            title: "Follow the packet",
            why: "The destination is rewritten where the request enters the cluster: on the client's node for a cluster address, on \
                  the node that was asked for a node port. Only the latter hides its sender. The connection table knows both \
                  directions.",
            needs: None,
            steps: &[
                works(
                    "CIP=$(kubectl get service anywhere -o jsonpath='{.spec.clusterIP}'); ME=$(kubectl get pod client -o jsonpath='{.status.podIP}'); NODE=$(kubectl get pod client -o jsonpath='{.spec.nodeName}')",
                    &[],
                ),
                works("kubectl exec client -- curl -sS -m5 http://$CIP/clientip; echo; echo I am $ME", &["~^11\\.0"]),
                works(
                    "knetsim exec $NODE -- conntrack -L -d $CIP 2>/dev/null | tail -1",
                    &["~src=11\\S+ dst=10\\.96\\S+ .* src=11\\S+ dst=11\\S+"],
                ),
                works("kubectl exec client -- curl -sS -m5 http://$CIP/clientip | grep -c \"^$ME:\"", &["~^1$"]),
                works(
                    "knetsim exec outside -- curl -sS -m5 http://10.0.0.11:30011/clientip",
                    &["~^(11|10)\\.0\\.\\d+\\.\\d+:"],
                ),
                works(
                    "knetsim exec c0w1 -- conntrack -L -p tcp --dport 30011 2>/dev/null | tail -1",
                    &["~src=10\\.0\\.254\\.2 dst=10\\.0\\.0\\.11 .* src=11\\.0\\.\\d+\\.\\d+ dst=(11|10)\\.0"],
                ),
                works(
                    "knetsim exec c0w1 -- nft list chain ip kube-proxy masquerading",
                    &["~counter packets [1-9]\\d* .*masquerade"],
                ),
            ],
        },
        Exercise {
            title: "Names",
            why: "Cluster DNS answers for Services, their named ports, the pods of headless Services, and backwards. The search list \
                  of a pod makes the short names work.",
            needs: None,
            steps: &[
                works(
                    "kubectl exec client -- cat /etc/resolv.conf",
                    &[
                        "search services.svc.cluster.local svc.cluster.local cluster.local",
                        "nameserver 10.96.0.10",
                        "options ndots:5",
                    ],
                ),
                works("kubectl exec client -- nslookup web", &["Name:\tweb.services.svc.cluster.local"]),
                works("kubectl exec client -- nslookup web.services.svc.cluster.local", &["~Address: 10\\.96\\."]),
                works(
                    "kubectl exec client -- nslookup -type=SRV _http._tcp.web.services.svc.cluster.local",
                    &["~service = 0 100 80 web.services.svc.cluster.local"],
                ),
                works(
                    "kubectl exec client -- nslookup $(kubectl get pods -l app=web -o jsonpath='{.items[0].status.podIP}' | tr . -).services.pod.cluster.local",
                    &["~Address: 11\\."],
                ),
                works(
                    "kubectl exec client -- nslookup 10.96.0.10",
                    &["name = kube-dns.kube-system.svc.cluster.local."],
                ),
            ],
        },
        Exercise {
            title: "nftables from the beginning",
            why: "A table holds chains, a chain hooked into the kernel sees packets, a rule counts them. Made by hand, it shows \
                  everything that kube-proxy's table is made of.",
            needs: None,
            steps: &[
                works("knetsim exec c0w1 -- nft add table inet lesson", &[]),
                works(
                    "knetsim exec c0w1 -- nft add chain inet lesson in '{ type filter hook input priority 0; }'",
                    &[],
                ),
                works(
                    "knetsim exec c0w1 -- nft add rule inet lesson in ip saddr 10.0.0.12 icmp type echo-request counter",
                    &[],
                ),
                works("knetsim exec c0w1 -- nft list table inet lesson", &["counter packets 0 bytes 0"]),
                works("knetsim exec c0w2 -- ping -c1 -W2 10.0.0.11", &["1 received"]),
                works(
                    "knetsim exec c0w1 -- nft -a list table inet lesson",
                    &["counter packets 1 bytes 84", "# handle"],
                ),
                works(
                    "HANDLE=$(knetsim exec c0w1 -- nft -a list chain inet lesson in | grep -o 'counter.*handle [0-9]*' | grep -o '[0-9]*$'); knetsim exec c0w1 -- nft delete rule inet lesson in handle $HANDLE",
                    &[],
                ),
                works("knetsim exec c0w1 -- nft list chain inet lesson in", &["!counter"]),
                works("knetsim exec c0w1 -- nft delete table inet lesson", &[]),
            ],
        },
    ],
};
