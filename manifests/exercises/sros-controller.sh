# A controller: what is wanted is in the objects' spec, what was done goes into their status.
namespace=$1
kubectl -n "$namespace" get srosconfigs --watch -o jsonpath='{.metadata.name} {.spec.device} {.status.applied}{"\n"}' |
while read -r name device applied; do
  if [ "$applied" != true ]; then
    echo "configuring $device"
    kubectl -n "$namespace" patch srosconfig "$name" --subresource=status --type=merge -p '{"status":{"applied":true}}'
  fi
done
