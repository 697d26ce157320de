# shellcheck shell=bash disable=SC2154,SC2034 # names come from and go to the other parts of `node`
# The configuration files of containerd, CNI, the kubelet, the registry and CoreDNS, written under $state.
# Every path a program would share with another copy of itself points into $state or is switched off.

write_config() {
  mkdir -p "$state"/{log,cni,containerd,kubelet,pods,flexvolume,registry,sysctl} \
    "$state/registries/$registry" "$state/registries/registry.probity.test:5000"
  containerd_config >"$state/containerd.toml"
  case $network in
    cilium) cilium_config >"$state/cilium.yaml" && cilium_objects >"$state/cilium-objects.yaml" ;;
    ptp) ptp_config >"$state/cni/10-pods.conflist" ;;
  esac
  kubelet_config >"$state/kubelet.yaml"
  registry_config ":5000" "$state/registry" '' >"$state/registry.yaml"
  coredns_objects >"$state/coredns.yaml"
  audit_policy >"$state/audit-policy.yaml"
  # One registry, two names: its address is what works from everywhere, the name only inside the cluster.
  local host
  for host in "$registry" registry.probity.test:5000; do
    printf 'server = "http://%s"\n[host."http://%s"]\ncapabilities = ["pull", "resolve", "push"]\n' "$registry" "$registry" \
      >"$state/registries/$host/hosts.toml"
  done
}

# overlayfs cannot lie on overlayfs (a container's own root): copying is slow, but works.
snapshotter() { if [[ $(stat -f -c %T "$testbed") == overlayfs ]]; then echo native; else echo overlayfs; fi; }

containerd_config() {
  cat <<X
version = 3
root = "$state/containerd"
state = "$state/run"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]
[grpc]
  address = "$state/containerd.sock"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "$(snapshotter)"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "localhost/pause:1"
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = "$state/registries"
[plugins."io.containerd.cri.v1.runtime"]
  # Needs CAP_SYS_RESOURCE otherwise, which not every root has.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["$bin_node", "$bin_cilium"]
    conf_dir = "$state/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      SystemdCgroup = false
      BinaryName = "$bin_node/runc"
X
}

# The network that enforces no policy. Pods hang on wires of their own, not on a bridge: between two pods everything is
# routed, so kube-proxy sees the answers too and no machine needs the module br_netfilter.
ptp_config() {
  cat <<X
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipam": {"type": "host-local", "ranges": [[{"subnet": "$pod_net"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
X
}

kubelet_config() {
  cat <<X
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$cgroup
enforceNodeAllocatable: []
failSwapOn: false
containerRuntimeEndpoint: unix://$state/containerd.sock
podLogsDir: $state/pods
volumePluginDir: $state/flexvolume
clusterDomain: cluster.local
clusterDNS: [$dns_ip]
resolvConf: /dev/null
tlsCertFile: $state/pki/kubelet.crt
tlsPrivateKeyFile: $state/pki/kubelet.key
authentication: {x509: {clientCAFile: $state/pki/ca.crt}, anonymous: {enabled: false}, webhook: {enabled: true}}
authorization: {mode: Webhook}
registryPullQPS: 0
eventRecordQPS: 0
serializeImagePulls: false
# A developer's disk is always nearly full: that is no reason to evict a test's pod.
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
imageGCHighThresholdPercent: 100
X
}

# Who among the programs in pods asked the API for what, one line of JSON a request, without what was said.
audit_policy() {
  cat <<X
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
omitManagedFields: true
rules:
- {level: None, namespaces: [kube-system]}
- {level: None, userGroups: ["system:serviceaccounts:kube-system"]}
- {level: Metadata, userGroups: ["system:serviceaccounts"]}
- {level: None}
X
}

coredns_objects() {
  sed -e "s/@DNS_IP@/$dns_ip/g" -e "s/@NODE_IP@/$node_ip/g" "$here/node.d/coredns.yaml"
}
