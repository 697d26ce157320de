# shellcheck shell=bash disable=SC2154,SC2034 # names come from and go to the other parts of `node`
# Is the node whole, and when will it be? Reads only.

admin() { "$bin_apiserver/kubectl" --kubeconfig "$state/kubeconfig" --request-timeout 5s "$@"; }

# Says in a line what is wrong, and nothing when the node is whole.
ailment() {
  init_alive || { echo "it does not run"; return; }
  [[ ! -s $state/ended ]] || { paste -sd, "$state/ended"; return; }
  [[ $(recipe_of_node) == "$(cat "$state/recipe" 2>/dev/null)" ]] || { echo "it was started by other scripts or tools"; return; }
  admin get --raw /readyz >/dev/null 2>&1 || { echo "the API does not answer"; return; }
  [[ $(admin get node "$netns" -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null) == True ]] ||
    { echo "the node is not Ready"; return; }
  [[ $(admin -n kube-system get deployment coredns -o jsonpath='{.status.availableReplicas}' 2>/dev/null) == 1 ]] ||
    { echo "CoreDNS is not available"; return; }
  # Available is not yet reachable: kube-proxy learns of it a little later, and every Service hangs on that.
  timeout 2 bash -c ": </dev/tcp/$dns_ip/53" 2>/dev/null || { echo "the Service of CoreDNS does not answer"; return; }
  curl -sf -o /dev/null "http://$registry/v2/" || { echo "the registry does not answer"; return; }
}

# Polls; a program that ended will not come back, so that is no reason to wait longer.
await() { # SECONDS WHAT COMMAND...
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [[ ! -s $state/ended ]] || fail "while waiting for $what: $(paste -sd, "$state/ended")"
    init_alive || fail "while waiting for $what: the node's first process ended"
    [[ $SECONDS -lt $deadline ]] || fail "gave up waiting for $what"
    sleep 0.1
  done
}

fail() {
  local log
  for log in "$state"/log/*.log; do
    printf -- '--- %s\n' "$log" >&2
    tail -n 8 "$log" >&2
  done
  die "$* (node $name is left as it is; 'logs' collects, 'down' removes)"
}
