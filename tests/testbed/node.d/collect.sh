# shellcheck shell=bash disable=SC2154,SC2034 # names come from and go to the other parts of `node`
# Copies what explains a failed test: the logs of every program and pod, and what the API knows.
# Reads the node, writes only the directory it is given; a dead API does not stop it.

collect() { # DIRECTORY
  local to=$1 kind
  mkdir -p "$to/api"
  cp -r "$state/log" "$to/"
  cp -r "$state/pods" "$to/pods" 2>/dev/null || true
  cp "$state/ended" "$to/" 2>/dev/null || true
  ip netns exec "$netns" iptables-save >"$to/iptables" 2>&1 || true
  "$bin_node/ctr" --address "$state/containerd.sock" -n k8s.io images ls >"$to/images" 2>&1 || true
  if ! admin get --raw /readyz >/dev/null 2>&1; then
    echo "the API of node $name does not answer: logs only" >&2
    rmdir "$to/api"
    return
  fi
  # Without Secrets: a log directory is uploaded and shown around.
  for kind in events pods services endpointslices jobs deployments configmaps; do
    admin get "$kind" -A -o yaml >"$to/api/$kind.yaml" 2>&1 || true
  done
  admin get events -A --sort-by=.lastTimestamp >"$to/api/events" 2>&1 || true
  admin describe nodes >"$to/api/describe-nodes" 2>&1 || true
  admin describe pods -A >"$to/api/describe-pods" 2>&1 || true
  # Every kind that somebody has added is what the test is about; Cilium's are the node's own.
  admin get customresourcedefinitions -o jsonpath='{range .items[*]}{.metadata.name}{"\n"}{end}' 2>/dev/null | { grep -v '\.cilium\.io$' || true; } |
    while read -r kind; do admin get "$kind" -A -o yaml >"$to/api/$kind.yaml" 2>&1 || true; done
}
