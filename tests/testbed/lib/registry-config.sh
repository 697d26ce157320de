# shellcheck shell=bash
# The configuration of distribution's registry, the same on loopback and on the node.
# Prints it; starts nothing.

registry_config() { # ADDRESS DATA-DIRECTORY HTPASSWD-FILE-OR-NOTHING
  cat <<X
version: 0.1
log: {level: info, accesslog: {disabled: false}}
storage:
  filesystem: {rootdirectory: "$2"}
  delete: {enabled: true}
  maintenance: {uploadpurging: {enabled: false}}
http: {addr: "$1"}
X
  [[ -z $3 ]] || echo "auth: {htpasswd: {realm: probity-testbed, path: \"$3\"}}"
}
