# shellcheck shell=bash disable=SC2154,SC2034 # names come from and go to the other parts of `node`
# Cilium on a node: its agent wires the pods and enforces NetworkPolicies. Its configuration and objects, under $state.
# Its fixed places (/run/cilium, /var/lib/cilium, /sys/fs/bpf) are the node's own, because `init` mounts them so.

cilium_config() {
  cat <<X
k8s-kubeconfig-path: $state/pki/cilium.conf
# The pods' range is the one that the API gave to the node.
ipam: kubernetes
k8s-require-ipv4-pod-cidr: true
enable-ipv4: true
enable-ipv6: false
# Nothing is tunnelled and nothing translated: the machine has routes to pods, and kube-proxy does the Services.
routing-mode: native
ipv4-native-routing-cidr: $pod_net
enable-ipv4-masquerade: false
kube-proxy-replacement: "false"
devices: eth0
# Containers are wired only when the agent can wire them: this file is what makes the node Ready.
write-cni-conf-when-ready: $state/cni/05-cilium.conflist
cni-log-file: $state/log/cilium-cni.log
cni-exclusive: false
identity-allocation-mode: crd
# Otherwise a rule for the node's own address would open nothing.
policy-cidr-match-mode: nodes
# What Kubernetes promises: the kubelet's probes pass whatever a policy says.
allow-localhost: auto
enable-l7-proxy: false
enable-hubble: false
enable-health-checking: false
enable-endpoint-health-checking: false
preallocate-bpf-maps: false
X
}

# Who the agent is to the API: a certificate's user, with what the agent reads and writes and no more.
cilium_objects() {
  cat <<X
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: probity-testbed-cilium}
rules:
- {apiGroups: [networking.k8s.io], resources: [networkpolicies], verbs: [get, list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get, list, watch]}
- {apiGroups: [""], resources: [namespaces, services, pods, endpoints, nodes], verbs: [get, list, watch]}
- {apiGroups: [""], resources: [nodes/status], verbs: [patch]}
- {apiGroups: [apiextensions.k8s.io], resources: [customresourcedefinitions], verbs: [get, list, watch]}
- {apiGroups: [cilium.io], resources: ["*"], verbs: ["*"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: probity-testbed-cilium}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: probity-testbed-cilium}
subjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: cilium}]
X
}
