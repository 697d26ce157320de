# shellcheck shell=bash disable=SC2154,SC2034 # names come from and go to the other parts of `node`
# The node's certificates and kubeconfigs, under $state/pki; $state/kubeconfig is the administrator's.
# Sourced by `node` and run in a subshell: it changes the working directory.

node_pki() (
  umask 077
  mkdir -p "$state/pki"
  cd "$state/pki" || exit
  new_authority
  new_token_key
  local api=https://$node_ip:6443
  new_certificate apiserver /CN=kube-apiserver \
    "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost,IP:127.0.0.1,IP:$api_ip,IP:$node_ip"
  new_certificate admin /O=system:masters/CN=admin DNS:admin
  new_certificate kubelet "/O=system:nodes/CN=system:node:$netns" "DNS:$netns,IP:$node_ip"
  local who
  for who in kube-controller-manager kube-scheduler kube-proxy; do
    new_certificate "$who" "/CN=system:$who" "DNS:$who"
  done
  new_certificate cilium /CN=cilium DNS:cilium
  for who in kubelet kube-controller-manager kube-scheduler kube-proxy cilium; do
    new_kubeconfig "$who" "$api" "$who.conf"
  done
  new_kubeconfig admin "$api" "$state/kubeconfig"
)
