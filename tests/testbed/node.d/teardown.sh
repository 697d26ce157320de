# shellcheck shell=bash disable=SC2154,SC2034 # names come from and go to the other parts of `node`
# Ends a node, whole or half, and proves that nothing of it is left.
# Kills only processes that are in the node's own network namespace, in its control groups, or its recorded
# first process; removes only what carries the node's name or index.

# The first process is recorded with its start time and the boot: a pid alone may be somebody else's by now.
# A dead process that nobody has collected yet (Z) does not count.
start_time() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" {print $20}'; }
boot() { cat /proc/sys/kernel/random/boot_id; }
record_init() { echo "$1 $(start_time "$1") $(boot) $(netns_inode)" >"$state/init"; }
netns_inode() { stat -L -c %i "/run/netns/$netns"; }

init_alive() {
  local pid when since
  read -r pid when since _ 2>/dev/null <"$state/init" || return 1
  [[ $since == "$(boot)" && $when == "$(start_time "$pid")" ]]
}

node_processes() {
  local inodes=() pid when since inode
  if [[ -e /run/netns/$netns && $(stat -f -c %T "/run/netns/$netns") == nsfs ]]; then inodes+=("$(netns_inode)"); fi
  if init_alive; then
    # The namespace's name may be gone while its processes live on.
    read -r pid when since inode <"$state/init"
    echo "$pid"
    inodes+=("$inode")
  fi
  for inode in "${inodes[@]}"; do
    # Never our own namespace, whatever a damaged record says.
    [[ $inode != "$(stat -L -c %i /proc/self/ns/net)" ]] || continue
    find /proc/[0-9]*/ns/net -lname "net:\\[$inode\\]" 2>/dev/null | cut -d/ -f3
  done
  cgroup_directories | while read -r pid; do cat "$pid/cgroup.procs" 2>/dev/null; done | grep -vx 0 || true
}

# Version 1 has one tree for each controller, version 2 one for all. Deepest first, as rmdir wants them.
cgroup_directories() {
  find /sys/fs/cgroup -mindepth 1 -maxdepth 2 -type d -name "$cgroup" 2>/dev/null | while read -r tree; do
    find "$tree" -depth -type d
  done
}

cgroups_up() {
  if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
    mkdir -p "/sys/fs/cgroup/$cgroup"
    return
  fi
  local controller
  for controller in /sys/fs/cgroup/*/; do
    # unified/ beside the version 1 controllers has no limits to set.
    [[ -e $controller/tasks ]] || continue
    mkdir -p "$controller/$cgroup"
    if [[ -e $controller/cpuset.cpus ]]; then
      # A new cpuset is empty, and no process may enter an empty one.
      cat "$controller/cpuset.cpus" >"$controller/$cgroup/cpuset.cpus"
      cat "$controller/cpuset.mems" >"$controller/$cgroup/cpuset.mems"
    fi
  done
}

node_mounts() { awk -v d="$state/" 'index($2, d) == 1 {print $2}' /proc/self/mounts | sort -r; }

# Everything that `down` has to remove and that would trouble the next `up`; prints nothing when all is gone.
leftovers() {
  node_processes | sort -u | sed 's/^/process /'
  node_mounts | sed 's/^/mount /'
  cgroup_directories | sed 's/^/cgroup /'
  [[ ! -e /run/netns/$netns ]] || echo "network namespace $netns"
  [[ ! -e $state ]] || echo "directory $state"
  node_links | sed 's/^/link /'
  if [[ -n $index ]]; then
    for net in "$node_net" "$pod_net" "$service_net"; do ip -4 route show root "$net"; done | sed 's/^/route /'
  fi
}

remove_once() {
  local mount
  node_processes | sort -u | xargs -r kill -KILL 2>/dev/null || true
  node_mounts | while read -r mount; do umount -l "$mount" || true; done
  network_down
  cgroup_directories | xargs -r rmdir 2>/dev/null || true
  [[ -n $(node_processes) ]] || rm -rf --one-file-system "$state" 2>/dev/null || true
}

# Killing is asked for, not granted at once: look again until the kernel has finished.
teardown() {
  local deadline=$((SECONDS + 30)) left
  while left=$(leftovers) && [[ -n $left ]]; do
    [[ $SECONDS -lt $deadline ]] || die "cannot remove all of node $name:"$'\n'"$left"
    remove_once
    sleep 0.1
  done
}
