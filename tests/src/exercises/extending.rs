//! Kinds, controllers, schedulers and proxies of one's own.

use super::{Chapter, Exercise, comes, fails, note, works};

pub const CHAPTER: Chapter = Chapter {
    name: "extending",
    title: "7. Extending",
    intro: "Everything that makes a cluster work talks to the API like you do. So any part can be added to, or replaced.",
    context: "c0",
    exercises: &[
        Exercise {
            title: "A kind of one's own",
            why: "A CustomResourceDefinition is a new kind with a schema: kubectl lists and explains it, defaults are filled in, and \
                  what does not fit is refused.",
            needs: None,
            steps: &[
                works(
                    "kubectl apply -f sros-kind.yaml && kubectl wait --for=condition=Established crd/srosconfigs.nwi.enc.nokia.com --timeout=30s",
                    &["condition met"],
                ),
                works("kubectl apply -f sros-object.yaml", &["srosconfig.nwi.enc.nokia.com/leaf1 "]),
                works("kubectl get srosconfig", &["~NAME +DEVICE +AGE", "~leaf1 +leaf1.example"]),
                works("kubectl explain srosconfig.spec", &["The router that is configured."]),
                works("kubectl get sros leaf1 -o jsonpath='{.spec.mtu}{\"\\n\"}'", &["~^1500$"]),
                fails(
                    "kubectl patch sros leaf1 --type=merge -p '{\"spec\":{\"mtu\":9}}'",
                    &["spec.mtu: Invalid value: 9: spec.mtu in body should be greater than or equal to 576"],
                ),
                works(
                    "kubectl get sros leaf1 -o jsonpath='{.metadata.annotations.nwi\\.enc\\.nokia\\.com/config}{\"\\n\"}'",
                    &["\"vlans\": [10, 20]"],
                ),
            ],
        },
        Exercise {
            title: "A controller in ten lines",
            why: "A controller watches, compares and acts. This one, in shell, runs beside kubectl, and then as a pod with the \
                  rights of its ServiceAccount. One written with kube-rs is in `examples/greeting-controller`.",
            needs: None,
            steps: &[
                works("cat sros-controller.sh", &["--watch"]),
                works(
                    "bash sros-controller.sh $(kubectl config view --minify -o jsonpath='{..namespace}') > $TMP/controller 2>&1 & CONTROLLER=$!",
                    &[],
                ),
                works(
                    "kubectl wait --for=jsonpath={.status.applied}=true sros/leaf1 --timeout=60s",
                    &["condition met"],
                ),
                works(
                    "pkill -P $CONTROLLER; kill $CONTROLLER; kubectl delete sros leaf1 && kubectl apply -f sros-object.yaml",
                    &["leaf1 created"],
                ),
                note("As a pod:"),
                works(
                    "kubectl create configmap sros-controller --from-file=sros-controller.sh && kubectl apply -f sros-controller.yaml && kubectl rollout status deployment/sros-controller --timeout=60s",
                    &["successfully rolled out"],
                ),
                works(
                    "kubectl wait --for=jsonpath={.status.applied}=true sros/leaf1 --timeout=60s",
                    &["condition met"],
                ),
            ],
        },
        Exercise {
            title: "A scheduler of one's own",
            why: "A pod that names another scheduler is left alone by ours. Scheduling is one request: a Binding of the pod to a \
                  node.",
            needs: None,
            steps: &[
                works("kubectl apply -f own-scheduler.yaml", &["pod/mine created"]),
                works("kubectl get pod mine", &["~mine +0/1 +Pending"]),
                works(
                    "kubectl create --raw /api/v1/namespaces/extending/pods/mine/binding -f binding.json",
                    &["Success"],
                ),
                works(
                    "kubectl wait --for=condition=Ready pod/mine --timeout=60s && kubectl get pod mine -o wide",
                    &["~mine +1/1 +Running .* c0w3"],
                ),
            ],
        },
        Exercise {
            title: "A proxy of one's own",
            why: "A Service with the label `service-proxy-name` is another proxy's. Without one it has an address and endpoints, but \
                  no rule; two rules by hand make it work on this node.",
            needs: None,
            steps: &[
                works(
                    "kubectl run backend --image=agnhost -- netexec --http-port=8080 && kubectl wait --for=condition=Ready pod/backend --timeout=60s",
                    &["met"],
                ),
                works(
                    "kubectl create service clusterip mine --tcp=80:8080 && kubectl label service mine service.kubernetes.io/service-proxy-name=me && kubectl patch service mine -p '{\"spec\":{\"selector\":{\"app\":null,\"run\":\"backend\"}}}'",
                    &["patched"],
                ),
                works(
                    "VIP=$(kubectl get service mine -o jsonpath='{.spec.clusterIP}'); POD=$(kubectl get pod backend -o jsonpath='{.status.podIP}')",
                    &[],
                ),
                fails("knetsim exec c0w1 -- curl -sS -m1 http://$VIP/hostname", &["curl"]),
                works(
                    "knetsim exec c0w1 -- nft \"add table ip me; add chain ip me out { type nat hook output priority -100; }; add rule ip me out ip daddr $VIP tcp dport 80 dnat to $POD:8080\"",
                    &[],
                ),
                comes("knetsim exec c0w1 -- curl -sS -m2 http://$VIP/hostname", &["backend"]),
                works("knetsim exec c0w1 -- nft delete table ip me", &[]),
            ],
        },
        Exercise {
            title: "As many as needed",
            why: "Who uses how much is told by a server of its own: an APIService makes its group part of the API, and the API \
                  server passes requests on. `kubectl top` asks it, and so does the HorizontalPodAutoscaler, every 15 seconds. \
                  Before there is one, the autoscaler says what it misses.",
            needs: None,
            steps: &[
                works("kubectl apply -f busy.yaml", &["deployment.apps/busy created", "autoscaling/busy created"]),
                comes(
                    "kubectl describe hpa busy",
                    &[
                        "~ScalingActive +False +FailedGetResourceMetric .*could not find the requested resource \\(get pods.metrics.k8s.io\\)",
                    ],
                ),
                fails("kubectl top nodes", &["Metrics API not available"]),
                works(
                    "kubectl apply -f metrics-server.yaml",
                    &[
                        "deployment.apps/metrics-server created",
                        "apiservice.apiregistration.k8s.io/v1beta1.metrics.k8s.io created",
                    ],
                ),
                works(
                    "kubectl wait apiservice v1beta1.metrics.k8s.io --for=condition=Available --timeout=120s",
                    &["condition met"],
                ),
                comes(
                    "kubectl top nodes",
                    &["~c0-control-plane +\\d+m +\\d+% +\\d+Mi", "~c0w1 +\\d+m", "~c0w2 +\\d+m", "~c0w3 +\\d+m"],
                ),
                comes("kubectl top pods -l app=busy", &["~busy-\\S+ +[1-9]\\d*m +\\d+Mi"]),
                comes(
                    "kubectl describe hpa busy",
                    &[
                        "~ScalingActive +True +ValidMetricFound",
                        "~SuccessfulRescale .*New size: \\d; reason: cpu resource utilization",
                    ],
                ),
                comes("kubectl get hpa busy", &["~Deployment/busy +cpu: \\d+%/50% +1 +3 +3"]),
                note("It is made smaller only when five minutes have gone by without a need for more."),
                works("kubectl delete -f busy.yaml", &["deleted"]),
                works("kubectl delete -f metrics-server.yaml", &["deleted"]),
            ],
        },
    ],
};
