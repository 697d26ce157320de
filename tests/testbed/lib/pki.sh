# shellcheck shell=bash
# The certificates of a throw-away cluster, in the current directory, valid for a month.
# Elliptic curves because they take milliseconds; PKCS#8 because every client reads it.

new_key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null ||
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

new_authority() {
  new_key ca.key
  openssl req -x509 -new -key ca.key -days 30 -subj /CN=probity-testbed -out ca.crt \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,digitalSignature
}

# Service account tokens are signed with a key of their own, no certificate.
new_token_key() {
  new_key sa.key
  openssl pkey -in sa.key -pubout -out sa.pub
}

new_certificate() { # NAME SUBJECT ALTERNATIVE-NAMES
  new_key "$1.key"
  openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -days 30 -out "$1.crt" -set_serial "0x$(openssl rand -hex 8)" \
    -extfile <(printf '%s\n' "subjectAltName=$3" extendedKeyUsage=serverAuth,clientAuth keyUsage=critical,digitalSignature) 2>/dev/null
  rm "$1.csr"
}

# Everything inside, nothing by path: the file may be copied away or read from a container.
new_kubeconfig() { # CERTIFICATE-NAME SERVER FILE
  cat >"$3" <<X
apiVersion: v1
kind: Config
clusters:
- name: probity
  cluster: {server: "$2", certificate-authority-data: $(base64 -w0 ca.crt)}
users:
- name: $1
  user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}
contexts:
- name: probity
  context: {cluster: probity, user: $1}
current-context: probity
X
  chmod 600 "$3"
}
