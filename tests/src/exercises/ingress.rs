//! Ingress: many Services behind one address.

use super::{Chapter, Exercise, comes, note, works};

pub const CHAPTER: Chapter = Chapter {
    name: "ingress",
    title: "5. Ingress",
    intro: "An Ingress is a page of rules for a web server at the cluster's edge: by host and path to Services. Here the server \
            is nginx, in a pod, and the rules become its configuration.",
    context: "c0",
    exercises: &[
        Exercise {
            title: "Two paths on one address",
            why: "The controller answers on ports 30080 and 30443 of every node and on an address of the load balancer's. A changed \
                  Ingress changes the route, and no request is lost while it does.",
            needs: None,
            steps: &[
                works(
                    "kubectl apply -f two-services.yaml && kubectl wait --for=condition=Ready pod/svc1 pod/svc2 --timeout=60s",
                    &["pod/svc2 condition met"],
                ),
                works("kubectl apply -f fan-out.yaml", &["ingress.networking.k8s.io/fan-out created"]),
                comes("knetsim exec outside -- curl -sS -m5 http://10.0.0.11:30080/svc1/hostname", &["~^svc1$|^svc1"]),
                comes(
                    "for i in 1 2 3 4 5 6; do knetsim exec outside -- curl -sS -m5 http://10.0.0.12:30080/svc2/hostname; echo; done | uniq -c",
                    &["~^ +6 svc2\\n$"],
                ),
                works("knetsim exec c0w3 -- curl -sS -m5 http://10.0.0.11:30080/svc1/hostname", &["svc1"]),
                comes("kubectl get ingress fan-out", &["~fan-out +nginx +\\* +10\\.254\\.254\\.\\d+ +80"]),
                works(
                    "EDGE=$(kubectl get ingress fan-out -o jsonpath='{.status.loadBalancer.ingress[0].ip}'); knetsim exec outside -- curl -sS -m5 http://$EDGE/svc2/hostname",
                    &["svc2"],
                ),
                note("Turn the paths around while somebody asks:"),
                works(
                    "knetsim exec outside -- sh -c 'for i in $(seq 150); do curl -sS -m5 http://10.0.0.11:30080/svc1/hostname; echo; done' > $TMP/answers 2>&1 & kubectl patch ingress fan-out --type=json -p '[{\"op\":\"replace\",\"path\":\"/spec/rules/0/http/paths/0/backend/service/name\",\"value\":\"svc2\"}]'; wait; sort $TMP/answers | uniq -c",
                    &["~ svc2$", "!curl", "!50"],
                ),
            ],
        },
        Exercise {
            title: "Hosts, TLS and everything else",
            why: "Hosts share the address; the name in the TLS handshake (SNI) chooses the certificate before any path is known. \
                  What matches no path of a host goes to the Ingress's default backend. `Exact` is one path, `Prefix` all below \
                  it, element by element.",
            needs: None,
            steps: &[
                works(
                    "openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=a.example.com -addext subjectAltName=DNS:a.example.com -keyout $TMP/key -out $TMP/crt 2>/dev/null && kubectl create secret tls a-certificate --cert=$TMP/crt --key=$TMP/key",
                    &["created"],
                ),
                works("kubectl apply -f hosts.yaml", &["ingress.networking.k8s.io/hosts created"]),
                comes(
                    "knetsim exec outside -- curl -sS -m5 -H 'Host: b.example.com' http://10.0.0.11:30080/hostname",
                    &["svc2"],
                ),
                comes(
                    "knetsim exec outside -- curl -sS -m5 --cacert $TMP/crt --resolve a.example.com:30443:10.0.0.11 https://a.example.com:30443/hostname",
                    &["svc1"],
                ),
                comes(
                    "knetsim exec outside -- curl -sS -m5 -o /dev/null -w '%{http_code} %{redirect_url}\\n' -H 'Host: a.example.com' http://10.0.0.11:30080/hostname",
                    &["308 https://a.example.com"],
                ),
                note(
                    "While nginx changes over to a new configuration, its old workers may still take a connection: a line like these \
                      is worth repeating. The prefix `/host` is not one of `/hostname`: the default backend answers. The prefix `/hostname` is one of \
                      `/hostname/`; the exact path is not.",
                ),
                comes(
                    "for h in b c d; do for p in /hostname /hostname/; do echo $h$p $(knetsim exec outside -- curl -sS -m5 -H \"Host: $h.example.com\" http://10.0.0.11:30080$p); done; done",
                    &["b/hostname svc2", "c/hostname svc1", "d/hostname svc1"],
                ),
                works("kubectl describe ingress hosts", &["~d.example.com *\n +/hostname +svc1:80"]),
            ],
        },
        Exercise {
            title: "Classes, and a bad Ingress",
            why: "A controller serves its own class only. A mistake in one Ingress becomes an Event of that one, and leaves the \
                  others alone.",
            needs: None,
            steps: &[
                works("kubectl get ingressclass", &["~nginx +k8s.io/ingress-nginx"]),
                works(
                    "kubectl apply -f bad-ingress.yaml",
                    &["ingress.networking.k8s.io/bad created", "ingress.networking.k8s.io/of-another-class created"],
                ),
                comes("kubectl describe ingress bad", &["~Warning +\\w+ .*nginx-ingress-controller"]),
                works("knetsim exec outside -- curl -sS -m5 http://10.0.0.11:30080/svc2/hostname", &["svc2"]),
                works(
                    "knetsim exec outside -- curl -sS -m5 -o /dev/null -w '%{http_code}\\n' -H 'Host: other.example.com' http://10.0.0.11:30080/",
                    &["404"],
                ),
                works(
                    "kubectl describe ingress hosts",
                    &[
                        "~Address: +10\\.254\\.254\\.",
                        "a-certificate terminates a.example.com",
                        "~svc1:80 \\(11\\.0\\.\\d+\\.\\d+:8080\\)",
                        "~Default backend: +svc2:80",
                    ],
                ),
            ],
        },
    ],
};
