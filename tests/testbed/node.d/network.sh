# shellcheck shell=bash disable=SC2154,SC2034 # names come from and go to the other parts of `node`
# The node's network namespace and the wire between it and the machine.
# Changes nothing of the machine's own network but one link and three routes, which go with the link.

network_up() {
  ip netns add "$netns"
  ip link add "$link" type veth peer name eth0 netns "$netns"
  ip link set "$link" alias "$(link_alias)"
  ip addr add "$host_ip/30" dev "$link"
  ip link set "$link" up
  ip -n "$netns" link set lo up
  ip -n "$netns" addr add "$node_ip/30" dev eth0
  ip -n "$netns" link set eth0 up
  ip -n "$netns" route add default via "$host_ip"
  # From the machine, a pod and a Service are behind the node: kube-proxy there does the rest.
  ip route add "$pod_net" via "$node_ip" dev "$link"
  ip route add "$service_net" via "$node_ip" dev "$link"
}

# Found by its alias too: a link may outlive its namespace by minutes (closing connections keep that alive),
# and then it must be found even if the index file is gone.
link_alias() { echo "probity-testbed/$name"; }
node_links() {
  {
    grep -lxF "$(link_alias)" /sys/class/net/*/ifalias 2>/dev/null | cut -d/ -f5 || true
    if [[ -n $index && -e /sys/class/net/$link ]]; then echo "$link"; fi
  } | sort -u
}

network_down() {
  node_links | xargs -r -n 1 ip link del || true
  [[ ! -e /run/netns/$netns ]] || ip netns del "$netns" || true
}
