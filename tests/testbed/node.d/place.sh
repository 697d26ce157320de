# shellcheck shell=bash disable=SC2154,SC2034 # names come from and go to the other parts of `node`
# Where a node lives: its directory, its index, and every address that follows from the index.
# Writes only the index file and the node's own directory.
#
# One directory on a disk (images are big) with a short path (a unix socket's name has 107 bytes at most).

testbed=/var/lib/probity-testbed

# The index file has one line `INDEX NAME` for each node; a name keeps its index until `down`.
place_named() { # NAME
  [[ $1 =~ ^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$ ]] || die "a node's name has 1 to 20 of a-z, 0-9 and -, not '$1'"
  name=$1 state=$testbed/$1 netns=probity-$1 cgroup=probity-$1
  read_index
}

# Another hand may have given the node an index since we last looked. Should the file be lost, the node knows.
read_index() {
  index=$(awk -v n="$name" '$2 == n {print $1; exit}' "$testbed/index" 2>/dev/null) || true
  [[ -n $index ]] || index=$(sed -n 's/^index=//p' "$state/facts" 2>/dev/null) || true
  [[ -z $index ]] || addresses
}

# Two nodes never share an address, so the host can reach the pods and the Services of both at once.
addresses() {
  host_ip=10.97.$index.1
  node_ip=10.97.$index.2
  node_net=10.97.$index.0/30
  pod_net=10.244.$index.0/24
  service_net=10.96.$index.0/24
  api_ip=10.96.$index.1
  dns_ip=10.96.$index.10
  link=probity-$index
  registry=$node_ip:5000
}

# Takes the first index that no node has and whose networks the machine does not use for something else.
take_index() {
  exec {index_lock}>>"$testbed/index"
  flock "$index_lock"
  read_index
  [[ -n $index ]] || find_free_index
  grep -q "^$index " "$testbed/index" || echo "$index $name" >>"$testbed/index"
  exec {index_lock}>&-
  grep -qx "$index $name" "$testbed/index" || die "index $index belongs to another node: look at $testbed/index, or 'down'"
}

find_free_index() {
  for index in {0..255}; do
    addresses
    grep -q "^$index " "$testbed/index" ||
      [[ -n $(for net in "$node_net" "$pod_net" "$service_net"; do ip -4 route show root "$net"; done) ]] || return 0
  done
  die "no free addresses: look at $testbed/index and at 'ip route'"
}

give_index_back() {
  [[ -e $testbed/index ]] || return 0
  exec {index_lock}>>"$testbed/index"
  flock "$index_lock"
  awk -v n="$name" '$2 != n' "$testbed/index" >"$testbed/index.new"
  cat "$testbed/index.new" >"$testbed/index" # the lock is on this inode, so it stays
  rm "$testbed/index.new"
  exec {index_lock}>&-
}

# What the node's first process needs to know, and what says later from which scripts the node was made.
write_facts() {
  local fact
  for fact in name state netns cgroup index host_ip node_ip pod_net service_net api_ip dns_ip registry \
    network bin_apiserver bin_node bin_registry bin_cilium; do
    printf '%s=%q\n' "$fact" "${!fact}"
  done >"$state/facts"
  recipe_of_node >"$state/recipe"
}

recipe_of_node() {
  { cat "$here"/node.d/* "$here"/lib/{pki,registry-config}.sh; echo "$network $bin_apiserver $bin_node $bin_registry $bin_cilium"; } | sha256sum
}
