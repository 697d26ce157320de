# shellcheck shell=bash disable=SC2154,SC2034 # names come from `selftest`
# What `apiserver`, `registry` and the image script promise, checked with two of each at once.
# Sourced by `selftest`; a check is a function that fails when the promise is broken.

gone() { # DIRECTORY : neither it nor a process that was told about it
  [[ ! -e $1 ]] && not pgrep -f -- "$1"
}

kubectl_of() { # DIRECTORY ARGUMENTS...
  local kubeconfig=$1/kubeconfig
  shift
  "$apiserver_bin/kubectl" --kubeconfig "$kubeconfig" "$@"
}

two_apis_are_two() {
  kubectl_of "$work/api-a" create namespace only-here &&
    kubectl_of "$work/api-a" get namespace only-here &&
    not kubectl_of "$work/api-b" get namespace only-here
}

# A policy in the API server itself is what many tests lean on: it must be enforced, not only stored.
policy_is_enforced() {
  kubectl_of "$work/api-a" apply -f - <<'X'
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-forbidden}
spec:
  matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]}
  validations: [{expression: "object.metadata.name != 'forbidden'"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-forbidden}
spec: {policyName: no-forbidden, validationActions: [Deny]}
X
  refused() { not kubectl_of "$work/api-a" create configmap forbidden --dry-run=server; }
  within 20 refused && kubectl_of "$work/api-a" create configmap allowed
}

roles_are_enforced() {
  kubectl_of "$work/api-a" create serviceaccount nobody &&
    not kubectl_of "$work/api-a" auth can-i list secrets --as system:serviceaccount:default:nobody &&
    kubectl_of "$work/api-a" create token nobody
}

pushes_and_pulls() ( # REGISTRY
  cd "$work" && echo weights >model.bin &&
    "$oras_bin/oras" push --plain-http "$1/models/a:1" --artifact-type application/x.test model.bin &&
    rm model.bin &&
    "$oras_bin/oras" pull --plain-http "$1/models/a:1" && grep -qx weights model.bin &&
    "$oras_bin/oras" manifest delete --plain-http -f "$1/models/a:1" &&
    not "$oras_bin/oras" manifest fetch --plain-http "$1/models/a:1"
)

status_of() { curl -s -o /dev/null -w '%{http_code}' "$@"; }

password_is_asked_for() { # REGISTRY
  [[ $(status_of "http://$1/v2/") == 401 && $(status_of -u user:word "http://$1/v2/") == 200 ]]
}

image_is_reproducible() { # REGISTRY
  local first second
  first=$("$here/../../build/image" "$crane_bin/crane" "$1/probity:1") &&
    second=$("$here/../../build/image" "$crane_bin/crane" "$1/probity:2") &&
    echo "$first $second" &&
    [[ ${first#*@} == "${second#*@}" && $first =~ ^"$1"/probity@sha256:[0-9a-f]{64}$ ]] &&
    says '"User":"65532:65532","Entrypoint":["/probity"]' "$crane_bin/crane" config "$first"
}

dynamic_is_refused() { not "$here/../../build/image" "$(command -v bash)" 127.0.0.1:1/probity:1; }

check_servers() {
  apiserver_bin=$("$here/tools" apiserver)
  oras_bin=$("$here/tools" oras)
  crane_bin=$("$here/tools" crane)
  "$here/tools" registry >/dev/null
  export PATH=$PATH:$crane_bin

  check "an API server starts" own api-a "$here/apiserver" "$work/api-a"
  local first_hold=$hold first=$owner
  check "a second one starts beside it" own api-b "$here/apiserver" "$work/api-b"
  local second=$owner
  check "they are two" two_apis_are_two
  check "an admission policy is enforced" policy_is_enforced
  check "roles are enforced" roles_are_enforced
  exec {first_hold}>&-
  check "the end of its input removes it" within 10 gone "$work/api-a"
  kill -KILL "$second"
  check "a killed one leaves no process" within 10 not pgrep -f "data-dir $work/api-b/"

  check "a registry starts" own reg-a "$here/registry" "$work/reg-a"
  local registry
  registry=$(sed 's/ready //' "$work/of/reg-a")
  local registry_hold=$hold
  check "it takes, gives and deletes" pushes_and_pulls "$registry"
  check "an image of one binary has one digest" image_is_reproducible "$registry"
  check "a dynamic binary is refused" dynamic_is_refused
  check "a taken port is an error" not "$here/registry" "$work/reg-taken" "${registry##*:}"
  perl -e 'print "user:", crypt("word", q($2b$04$abcdefghijklmnopqrstuu)), "\n"' >"$work/htpasswd"
  check "one with passwords starts" own reg-b env REGISTRY_HTPASSWD="$work/htpasswd" "$here/registry" "$work/reg-b"
  check "it asks for the password" password_is_asked_for "$(sed 's/ready //' "$work/of/reg-b")"
  kill -TERM "$owner"
  check "TERM removes it" within 10 gone "$work/reg-b"
  exec {registry_hold}>&-
  check "the end of its input removes it" within 10 gone "$work/reg-a"
}
