# shellcheck shell=bash
# One recipe for each group of tools: what it needs, where its versions are pinned, how it is built.
# Sourced by `tools`, which sets $here and $modules; a recipe may write only to the directory it is given.
# shellcheck disable=SC2154

# Which folders of modules/ pin the versions of a group: they are part of the build's name.
modules_of() { # GROUP
  case $1 in
    apiserver) echo kubernetes ;;
    node) echo kubernetes containerd coredns probe pause ;;
    *) echo "$1" ;;
  esac
}

# One `go build` for each module: the compiler shares the work between the binaries.
go_build() { # DIRECTORY MODULE LDFLAGS TAGS PACKAGE...
  local directory=$1 module=$2 ldflags=$3 tags=$4
  shift 4
  say "  $module: ${*##*/}"
  GOWORK=off go build -C "$modules/$module" -mod=readonly -buildvcs=false -trimpath \
    -tags "$tags" -ldflags "-s -w $ldflags" -o "$directory/" "$@"
}

# Kubernetes built as a module does not know its own version; clients and admission rules ask for it.
kubernetes_version() {
  local v=v1.36.3 at=k8s.io/component-base/version
  echo "-X $at.gitVersion=$v -X $at.gitMajor=1 -X $at.gitMinor=36 -X $at.gitTreeState=clean -X $at.buildDate=2026-01-01T00:00:00Z"
}

recipe_apiserver() { # DIRECTORY
  export CGO_ENABLED=0
  go_build "$1" kubernetes "$(kubernetes_version)" '' \
    k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kubectl go.etcd.io/etcd/server/v3
  mv "$1/server" "$1/etcd"
}

recipe_node() { # DIRECTORY
  local cni=github.com/containernetworking/plugins/plugins
  local containerd=github.com/containerd/containerd/v2
  export CGO_ENABLED=0
  go_build "$1" containerd "-X $containerd/version.Version=2.3.7" 'no_zfs no_btrfs no_devmapper' \
    $containerd/cmd/containerd $containerd/cmd/containerd-shim-runc-v2 $containerd/cmd/ctr \
    $cni/main/ptp $cni/main/loopback $cni/ipam/host-local $cni/meta/portmap
  # The one program in C's company: without seccomp every pod that asks for RuntimeDefault would fail.
  CGO_ENABLED=1 go_build "$1" containerd '-X main.version=1.4.3' seccomp github.com/opencontainers/runc
  go_build "$1" kubernetes "$(kubernetes_version)" '' \
    k8s.io/kubernetes/cmd/{kube-controller-manager,kube-scheduler,kubelet,kube-proxy}
  go_build "$1" coredns '' '' .
  go_build "$1" probe '' '' .
  cc -O2 -static -s -o "$1/pause" "$modules/pause/pause.c"
  mkdir "$1/images"
  for program in pause coredns probe; do node_image "$1" "$program"; done
}

# An archive that containerd imports as localhost/NAME:1. Not compressed: it never travels.
node_image() { # DIRECTORY NAME
  local layout=$1/layout
  COMPRESS=no IMAGE_REF=localhost/$2:1 "$here/../../build/oci-layout" "$layout" "$1/$2" "$2"
  tar -C "$layout" -cf "$1/images/$2.tar" .
  rm -r "$layout"
}

recipe_registry() { CGO_ENABLED=0 go_build "$1" registry '' '' github.com/distribution/distribution/v3/cmd/registry; }
recipe_oras() { CGO_ENABLED=0 go_build "$1" oras '' '' oras.land/oras/cmd/oras; }
recipe_crane() { CGO_ENABLED=0 go_build "$1" crane '' '' github.com/google/go-containerregistry/cmd/crane; }
recipe_helm() { CGO_ENABLED=0 go_build "$1" helm '' '' helm.sh/helm/v4/cmd/helm; }

# What wires the pods of a node and enforces NetworkPolicies. The agent compiles its programs for the kernel it meets, so their
# sources come along, and the definitions of its kinds: nothing is looked for in the module cache afterwards.
recipe_cilium() { # DIRECTORY
  local module=github.com/cilium/cilium source
  CGO_ENABLED=0 go_build "$1" cilium "-X $module/pkg/version.ciliumVersion=1.15.19" osusergo $module/daemon $module/plugins/cilium-cni
  mv "$1/daemon" "$1/cilium-agent"
  source=$(GOWORK=off go list -C "$modules/cilium" -mod=readonly -m -f '{{.Dir}}' $module)
  cp -r --no-preserve=mode "$source/bpf" "$1/bpf"
  mkdir "$1/crds" "$1/path"
  cp --no-preserve=mode "$source"/pkg/k8s/apis/cilium.io/client/crds/v2*/*.yaml "$1/crds/"
  # It asks for a program `clang`, and what newer ones warn of is no error. It asks for kernel modules that the node's own
  # programs have asked for before it, or that are built in.
  # shellcheck disable=SC2016  # for the script's own shell
  printf '#!/bin/sh\nexec clang-19 "$@" -Wno-error\n' >"$1/path/clang"
  printf '#!/bin/sh\n' >"$1/path/modprobe"
  chmod +x "$1"/path/*
}

# Only the benchmark of admission asks for these two: what it is compared with, and what asks at a constant rate.
recipe_kyverno() { # DIRECTORY
  local module=github.com/kyverno/kyverno
  go_build "$1" kyverno '' '' $module/cmd/kyverno
  # Its definitions, roles and settings, of the very same version.
  cp "$(GOWORK=off go list -C "$modules/kyverno" -mod=readonly -m -f '{{.Dir}}' $module)/config/install-latest-testing.yaml" "$1/install.yaml"
}
recipe_vegeta() { CGO_ENABLED=0 go_build "$1" vegeta '' '' github.com/tsenart/vegeta/v12; }
# Only the benchmark of the audit asks for it: it plays the nodes of ten thousand pods.
recipe_kwok() { # DIRECTORY
  local module=sigs.k8s.io/kwok stages
  CGO_ENABLED=0 go_build "$1" kwok '' '' $module/cmd/kwok
  # How its nodes and pods come up, of the very same version.
  stages=$(GOWORK=off go list -C "$modules/kwok" -mod=readonly -m -f '{{.Dir}}' $module)/kustomize/stage
  cat "$stages"/node/fast/node-initialize.yaml <(echo ---) "$stages"/pod/fast/pod-ready.yaml >"$1/stages.yaml"
}

# No program: the definition of an InferenceService as a release of KServe's has it. Nothing of theirs is built, so that only
# their module is fetched, and its content is compared with go.sum.
recipe_kserve() { # DIRECTORY
  local module=github.com/kserve/kserve version source
  version=$(awk '$1 == "require" {print $3}' "$modules/kserve/go.mod")
  say "  kserve: $version"
  source=$(GOWORK=off go mod -C "$modules/kserve" download -json "$module@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  install -m 644 "$source/config/crd/full/serving.kserve.io_inferenceservices.yaml" "$1/inferenceservices.yaml"
}

# The same of OpenReports': the definition of a Report.
recipe_openreports() { # DIRECTORY
  local module=github.com/openreports/reports-api version source
  version=$(awk '$1 == "require" {print $3}' "$modules/openreports/go.mod")
  say "  openreports: $version"
  source=$(GOWORK=off go mod -C "$modules/openreports" download -json "$module@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  install -m 644 "$source/config/crd/openreports.io_reports.yaml" "$1/reports.yaml"
}

# The same of the network policy API's: the definition of a ClusterNetworkPolicy.
recipe_policyapi() { # DIRECTORY
  local module=sigs.k8s.io/network-policy-api version source
  version=$(awk '$1 == "require" {print $3}' "$modules/policyapi/go.mod")
  say "  network policy API: $version"
  source=$(GOWORK=off go mod -C "$modules/policyapi" download -json "$module@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  install -m 644 "$source/config/crd/standard/policy.networking.k8s.io_clusternetworkpolicies.yaml" "$1/clusternetworkpolicies.yaml"
}

# A virtual environment writes its own path into its scripts, and ours is renamed when it is whole.
venv() { # DIRECTORY FINAL REQUIREMENTS
  python3 -m venv "$1"
  # The list is complete: with a resolver at work, pip takes the newest of what has an extra and then misses its hash.
  "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$3"
  "$1/bin/python" -m pip check --disable-pip-version-check >&2
  grep -rlI --exclude-dir=site-packages -F "$1" "$1" | xargs -r sed -i "s|$1|$2|g"
}

recipe_signer() { # DIRECTORY FINAL
  say "  signer: $(grep -oE '^(model-signing|pyopenssl)==[^ ]+' "$modules/signer/requirements.txt" | tr '\n' ' ')"
  venv "$1" "$2" "$modules/signer/requirements.txt"
}

# What only Debian has. PROGRAM-OR-FILE:PACKAGE, so that what came by another way is not installed again.
debs=(
  cc:gcc pkg-config:pkg-config /usr/include/seccomp.h:libseccomp-dev libc.a:libc6-dev
  ip:iproute2 iptables:iptables conntrack:conntrack nsenter:util-linux ps:procps sysctl:procps
  openssl:openssl curl:curl jq:jq
  clang-19:clang-19 bpftool:bpftool
  /etc/ssl/certs/ca-certificates.crt:ca-certificates
)

missing_debs() {
  local entry what
  for entry in "${debs[@]}"; do
    what=${entry%%:*}
    case $what in
      /*) [[ -e $what ]] ;;
      *.a) [[ -e $(cc -print-file-name="$what" 2>/dev/null) ]] ;;
      *) PATH=$PATH:/usr/sbin:/sbin command -v "$what" >/dev/null ;;
    esac || echo "${entry##*:}"
  done | sort -u
}

recipe_debs() {
  local packages
  mapfile -t packages < <(missing_debs)
  if [[ ${#packages[@]} -gt 0 ]]; then
    [[ $EUID -eq 0 ]] || die "debs: only root may install them: apt-get install ${packages[*]}"
    say "debs: installing ${packages[*]}"
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${packages[@]}") >&2 ||
      die "debs: apt-get failed, see above"
  fi
  echo /usr/sbin
}

# Said before the first minute of compiling is spent.
check_prerequisites() { # GROUP
  local have want
  if [[ $1 == signer ]]; then
    python3 -c 'import venv, ensurepip' 2>/dev/null || die "signer: needs python3 with venv: apt-get install python3-venv"
    return
  fi
  want=$(for module in $(modules_of "$1"); do find "$modules/$module" -name go.mod -exec cat {} +; done | awk '$1 == "go" {print $1 $2}' | sort -V | tail -1)
  command -v go >/dev/null || die "$1: needs $want or newer (go.dev/dl)"
  have=$(cd / && go env GOVERSION)
  printf '%s\n%s\n' "$want" "$have" | sort -CV || die "$1: needs $want or newer, this is $have (go.dev/dl)"
  if [[ $1 == node ]]; then
    command -v cc >/dev/null || die "node: needs a C compiler: apt-get install gcc libc6-dev"
    pkg-config --exists libseccomp 2>/dev/null ||
      die "node: runc needs libseccomp's headers: run '$here/tools debs' as root (apt-get install libseccomp-dev pkg-config)"
  fi
}
