# shellcheck shell=bash disable=SC2154,SC2034 # names come from `selftest`
# What `node` promises, checked on whole nodes: `selftest-a` in detail, `selftest-b` beside it.
# Sourced by `selftest`; a check is a function that fails when the promise is broken.

on() { # NAME COMMAND... : with that node's environment
  local name=$1
  shift
  (eval "$("$here/node" env "$name")" && "$@")
}
k() { on selftest-a "$apiserver_bin/kubectl" "$@"; }

# A restricted namespace: what the product's own pods must live with.
pods_run_restricted() {
  k create namespace restricted &&
    k label namespace restricted pod-security.kubernetes.io/enforce=restricted &&
    k -n restricted apply -f "$here/selftest.d/objects.yaml" &&
    k -n restricted wait --for=condition=Ready pod/web --timeout=60s
}

privileged_is_refused() {
  says 'violates PodSecurity "restricted:latest"' k -n restricted run bad --image=localhost/probe:1 --privileged
}

job_leaves_its_message() {
  k -n restricted wait --for=condition=Complete job/message --timeout=60s &&
    says 'all is well' k -n restricted get pods -l job-name=message \
      -o jsonpath='{.items[0].status.containerStatuses[0].state.terminated.message}'
}

# The Job asked for http://web by its short name, so it passed through CoreDNS and kube-proxy.
service_has_a_name() {
  k -n restricted wait --for=condition=Complete job/asks --timeout=60s &&
    says hello k -n restricted logs job/asks
}

strange_name_is_unknown() {
  k -n restricted wait --for=condition=Failed job/asks-abroad --timeout=60s &&
    says 'no such host' k -n restricted logs job/asks-abroad
}

service_of() { k -n restricted get service web -o 'jsonpath={.spec.clusterIP}'; }
machine_reaches_service() { says hello curl -sf -m 10 "http://$(service_of)/"; }
machine_reaches_pod() { says hello curl -sf -m 10 "http://$(k -n restricted get pod web -o 'jsonpath={.status.podIP}'):8080/"; }

image_comes_from_registry() {
  local image
  image=$(on selftest-a bash -c "'$here/../../build/image' '$node_bin/probe' \"\$PROBITY_REGISTRY/probe:1\"") &&
    k -n restricted run pulled --image="$image" --restart=Never \
      --overrides="$(sed "s|IMAGE|$image|" "$here/selftest.d/pulled.json")" &&
    k -n restricted wait --for=jsonpath='{.status.phase}'=Succeeded pod/pulled --timeout=60s
}

runs_commands() { says "$(service_of)" k -n restricted exec web -- /probe lookup web.restricted.svc.cluster.local; }

logs_are_collected() {
  "$here/node" logs selftest-a "$work/logs" && grep -q hello "$work/logs/api/pods.yaml" &&
    [[ -s $work/logs/log/kubelet.log && -s $work/logs/api/events.yaml && -s $work/logs/api/describe-pods ]] &&
    grep -rqs 'no such host' "$work/logs/pods"
}

up_is_quick_when_healthy() { says healthy "$here/node" up selftest-a; }

# kill -9 of containerd alone: the node is half dead, and `up` must see it.
survives_killed_containerd() {
  kill -KILL "$(pgrep -f 'containerd --config /var/lib/probity-testbed/selftest-a/')" && sleep 0.5 &&
    says 'containerd ended' "$here/node" up selftest-a &&
    k get nodes && not k get namespace restricted
}

# kill -9 of a run in the middle of `up`, at several moments: what is half there must be found.
survives_killed_up() {
  local moment pid
  for moment in 0.3 1 3 6; do
    setsid "$here/node" up selftest-b &
    pid=$!
    sleep "$moment"
    kill -KILL -- "-$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  "$here/node" up selftest-b && on selftest-b "$apiserver_bin/kubectl" get nodes
}

two_nodes_are_two() {
  on selftest-b "$apiserver_bin/kubectl" create configmap only-b &&
    not k get configmap only-b &&
    curl -sf "http://$(on selftest-a printenv PROBITY_REGISTRY)/v2/" && curl -sf "http://$(on selftest-b printenv PROBITY_REGISTRY)/v2/"
}

# Everything on the machine that carries the name or an address of our nodes; other people's nodes are theirs.
traces() { # INDEX...
  local index pattern=selftest-
  for index in "$@"; do pattern+="|probity-$index\\b|10\.(96|97|244)\.$index\."; done
  {
    ip -o addr
    ip route
    ip netns list
    cat /proc/self/mounts
    find /sys/fs/cgroup -type d -name 'probity-*'
    find /run/containerd /run/netns /var/lib/cni /var/log/containers /var/log/pods /var/lib/probity-testbed -maxdepth 2 2>/dev/null || true
    pgrep -af /probity-testbed/ || true
    iptables-save 2>/dev/null || true
  } | grep -E "$pattern"
}
index_of() { awk -v n="$1" '$2 == n {print $1}' /var/lib/probity-testbed/index; }
machine_settings() {
  sysctl -e vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.timer_migration \
    kernel.unprivileged_bpf_disabled net.ipv4.ip_forward
}

nothing_is_left() {
  local a b
  a=$(index_of selftest-a) b=$(index_of selftest-b)
  traces "$a" "$b" >/dev/null && "$here/node" down selftest-a && "$here/node" down selftest-b &&
    not traces "$a" "$b" && machine_settings | diff "$work/settings" -
}

run_ends_with_its_input() {
  own run "$here/node" run selftest-b || return 1
  local index
  index=$(index_of selftest-b)
  exec {hold}>&-
  wait "$owner" && not traces "$index"
}

check_nodes() {
  [[ $EUID -eq 0 ]] || { echo "selftest node: needs root" >&2; exit 1; }
  "$here/node" down selftest-a
  "$here/node" down selftest-b
  apiserver_bin=$("$here/tools" apiserver)
  node_bin=$("$here/tools" node)
  PATH=$PATH:$("$here/tools" --path crane registry)
  machine_settings >"$work/settings"

  check "a node starts" "$here/node" up selftest-a
  check "it is quick to say that it is healthy" up_is_quick_when_healthy
  check "pods run under restricted pod security" pods_run_restricted
  check "a privileged pod is refused there" privileged_is_refused
  check "a Job leaves its termination message" job_leaves_its_message
  check "a pod reaches a Service by name" service_has_a_name
  check "a name outside the cluster does not exist" strange_name_is_unknown
  check "the machine reaches a Service" machine_reaches_service
  check "the machine reaches a pod" machine_reaches_pod
  check "an image is pushed from the machine and pulled by digest" image_comes_from_registry
  check "commands run in pods" runs_commands
  check "logs are collected" logs_are_collected
  check "a second node starts, however often its start was killed" survives_killed_up
  check "they are two" two_nodes_are_two
  check "the machine reaches a Service while two run" machine_reaches_service
  check "containerd may be killed" survives_killed_containerd
  check "nothing is left of both" nothing_is_left
  check "a node ends with the input of \`run\`" run_ends_with_its_input
}
