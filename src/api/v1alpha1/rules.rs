//! The rules an API server enforces by itself, each with the sentence that a person reads when it says no.
//! CEL and schema only: `policy` asks the same again for files that never met an API server.
//!
//! Every text and list a rule looks at is bounded in the schema: the API server adds up what a rule may cost in the
//! worst case and refuses a definition that is too dear.

use kube::core::{Message, Rule};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// A reference has no scheme.
pub fn without_scheme() -> Rule {
    Rule::new("!self.contains('://')").message(
        "must not begin with a scheme such as https://: write host/repository:tag or host/repository@sha256:…",
    )
}

/// A reference has the shape that [`crate::evidence::Reference`] parses. Silent where [`without_scheme`] speaks.
pub fn reference_grammar() -> Rule {
    Rule::new(concat!(
        "self.contains('://') || self.matches(r'^",
        // the host: localhost, a name with a dot, a name with a port, or an IPv6 address
        r"(localhost",
        r"|[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+(:[1-9][0-9]{0,4})?",
        r"|[a-z0-9]([-a-z0-9]*[a-z0-9])?:[1-9][0-9]{0,4}",
        r"|\[[0-9A-Fa-f:.]+\](:[1-9][0-9]{0,4})?)",
        // the repository, then the tag, then the digest
        r"(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)+",
        r"(:[A-Za-z0-9_][-A-Za-z0-9_.]{0,127})?",
        r"(@sha256:[0-9a-f]{64})?",
        "$')",
    ))
    .message(
        "must be host/repository:tag or host/repository@sha256:…: the registry's host name first, the repository in lower case",
    )
}

/// A reference says which version is meant.
pub fn reference_has_version() -> Rule {
    Rule::new(r"self.matches(r'(:[A-Za-z0-9_][-A-Za-z0-9_.]*|@sha256:[0-9a-f]{64})$')")
        .message("needs a tag or a digest: write host/repository:tag or host/repository@sha256:…")
}

/// One source of an `ArtifactVerification` is set. `has` of a single member today; each further member makes it a count.
pub fn exactly_one_source() -> Rule {
    Rule::new("has(self.oci)").message("needs exactly one source: set oci")
}

/// One source of a model is set.
pub fn exactly_one_model_source() -> Rule {
    Rule::new("[has(self.oci), has(self.volume), has(self.mounted)].filter(set, set).size() == 1")
        .message("needs exactly one source: set one of oci, volume and mounted")
}

/// Either Probity runs the server, or somebody else does.
pub fn server_or_workload() -> Rule {
    Rule::new("has(self.server) != has(self.workloadRef)").message(
        "needs exactly one of server (Probity runs it) and workloadRef (it exists already): set one of them",
    )
}

/// Who runs the server does not change: what the one made would be left to nobody.
pub fn runner_stays() -> Rule {
    // One that has neither, because it is older than the rule, can be mended.
    Rule::new(concat!(
        "!(has(oldSelf.server) && has(self.workloadRef))",
        " && !(has(oldSelf.workloadRef) && has(self.server))",
    ))
    .message(
        "server and workloadRef cannot take each other's place: delete the ModelDeployment and create another",
    )
}

/// Only a workload that somebody else runs has something mounted by itself.
pub fn source_fits_runner() -> Rule {
    Rule::new("!has(self.spec.server) || has(self.spec.model.source.oci)")
        .message("needs workloadRef: with server, the model comes from a registry (oci)")
        .field_path(".spec.model.source")
}

/// The kinds whose pods can be governed.
pub fn workload_is_known() -> Rule {
    Rule::new(concat!(
        "(self.apiVersion == 'apps/v1' && self.kind in ['Deployment', 'StatefulSet', 'DaemonSet'])",
        " || (self.apiVersion == 'batch/v1' && self.kind == 'Job')",
        " || (self.apiVersion == 'serving.kserve.io/v1beta1' && self.kind == 'InferenceService')",
    ))
    .message(
        "must be a Deployment, StatefulSet or DaemonSet of apps/v1, a Job of batch/v1, or an InferenceService of serving.kserve.io/v1beta1",
    )
}

/// A path within a volume has one spelling and does not climb.
pub fn relative_path() -> Rule {
    Rule::new(r"self.matches(r'^[A-Za-z0-9_][-A-Za-z0-9._]*(/[A-Za-z0-9_][-A-Za-z0-9._]*)*$')").message(
        "must be a relative path of plain names, such as digits/1.2.0: no slash at either end, no . or ..",
    )
}

/// Only a tag can be followed: with a digest in the reference nothing would ever change.
pub fn follow_needs_a_tag() -> Rule {
    Rule::new("!has(self.update) || self.update != 'Follow' || !self.reference.contains('@')")
        .message(
            "must not be Follow while the reference is pinned by a digest: leave the digest out, or leave update out",
        )
        .field_path(".update")
}

/// An interval without `Follow` would do nothing.
pub fn interval_needs_follow() -> Rule {
    Rule::new("!has(self.intervalSeconds) || (has(self.update) && self.update == 'Follow')")
        .message("is only for a followed tag: set update to Follow, or leave intervalSeconds out")
        .field_path(".intervalSeconds")
}

/// A mount path is absolute and has one spelling.
pub fn mount_path_grammar() -> Rule {
    Rule::new(r"self.matches(r'^(/[A-Za-z0-9_][-A-Za-z0-9._]*)+$')").message(
        "must be an absolute path of plain names, such as /mnt/models: no . or .. and no slash at the end",
    )
}

/// A mount path hides nothing that the server needs to run.
pub fn mount_path_is_free() -> Rule {
    Rule::new(concat!(
        r"!self.matches(r'^/((bin|boot|dev|etc|lib|lib32|lib64|proc|run|sbin|sys|tmp|usr|var/run)(/.*)?",
        r"|home|root|var)/*$')",
    ))
    .message("must be a folder of the model's own, such as /mnt/models: the system uses this one")
}

/// An image is pinned by its digest.
pub fn image_by_digest() -> Rule {
    Rule::new(r"self.matches(r'^[A-Za-z0-9\[][A-Za-z0-9._:/\[\]-]*@sha256:[0-9a-f]{64}$') && !self.contains('://')").message(
        "must be an image by digest, host/repository@sha256:…: a tag could come to mean another server under a running model",
    )
}

/// Names of environment variables.
pub fn environment_names() -> Rule {
    Rule::new(r"self.all(name, name.matches(r'^[A-Za-z_.-][A-Za-z0-9_.-]*$'))").message(
        "must have names that environment variables can have: letters, digits, `_`, `.` and `-`, no digit first",
    )
}

/// What a container asks for is not more than what it may use.
pub fn requests_within_limits() -> Rule {
    Rule::new(concat!(
        "!has(self.limits) || !has(self.requests) || self.requests.all(name, !(name in self.limits)",
        // what is no quantity is refused where it stands
        " || !isQuantity(string(self.requests[name])) || !isQuantity(string(self.limits[name]))",
        " || !quantity(string(self.requests[name])).isGreaterThan(quantity(string(self.limits[name]))))",
    ))
    .message("must not ask for more than limits allow: raise the limit or lower the request")
    .field_path(".requests")
}

/// The model's name also names a Service and what belongs to it.
pub fn model_name() -> Rule {
    Rule::new(r"size(self.metadata.name) <= 52 && self.metadata.name.matches(r'^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message(
            "metadata.name becomes the name of a Service: at most 52 lower-case letters, digits and dashes, beginning with a letter",
        )
}

/// A name that other fields refer to.
pub fn local_name() -> Rule {
    Rule::new(r"self.matches(r'^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')").message(
        "must be lower-case letters, digits, dashes and dots, beginning and ending with a letter or digit",
    )
}

/// The name of another Kubernetes object.
pub fn object_name() -> Rule {
    Rule::new(r"self.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')")
        .message("must be the name of an object: lower-case letters, digits, dashes and dots")
}

/// The names of other Kubernetes objects.
pub fn object_names() -> Rule {
    Rule::new(
        r"self.all(name, name.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'))",
    )
    .message("must be the names of objects: lower-case letters, digits, dashes and dots")
}

/// Rules that somebody may take upon themselves: `RuleId::is_waivable` says the same.
pub fn waivable() -> Rule {
    Rule::new(concat!(
        "self.all(rule, rule in ['model.signature', 'model.repositories', 'isolation.network', 'isolation.hardening', ",
        "'isolation.runtimeClasses'])",
    ))
    .message(
        "only model.signature, model.repositories, isolation.network, isolation.hardening and isolation.runtimeClasses can be waived: revocation always wins, and the others are no wishes of one model's",
    )
}

/// What was approved is what counts.
pub fn waiver_stays() -> Rule {
    Rule::new("self == oldSelf")
        .message("a waiver never changes: delete it and make another, which is approved anew")
}

/// Text that is shown within a sentence.
pub fn one_line() -> Rule {
    Rule::new(r"self.matches(r'^[^\s\pC]([^\pC]*[^\s\pC])?$')")
        .message("must be one line of text that neither begins nor ends with a blank")
}

/// The name of an account as a request carries it: there is no pattern in one, and no blank around it.
pub fn user_name() -> Rule {
    Rule::new(r"self.matches(r'^[^\s*]+$')").message(
        "must be one account by its full name, such as system:serviceaccount:kube-system:daemon-set-controller: no blanks and no *",
    )
}

/// The private half must never be sent here; saying so beats "no public key".
pub fn key_is_not_private() -> Rule {
    Rule::new("!self.contains('PRIVATE KEY-----')").message(
        "must not be a private key: keep that secret, make a new one since this one was sent, and write the public half here (openssl pkey -pubout)",
    )
}

/// A key is PEM. Whether it can be used is said by the `TrustRoot`'s status: reading it is the operator's work.
pub fn key_is_pem() -> Rule {
    Rule::new(concat!(
        "self.contains('PRIVATE KEY-----')",
        " || (self.contains('-----BEGIN PUBLIC KEY-----') && self.contains('-----END PUBLIC KEY-----'))",
    ))
    .message(
        "must be one public key as PEM, from -----BEGIN PUBLIC KEY----- to -----END PUBLIC KEY----- (of a certificate: openssl x509 -pubkey -noout)",
    )
}

/// Every signer that counts is defined, so that a typing error does not become a signer nobody can be.
pub fn signers_are_defined() -> Rule {
    Rule::new("self.spec.model.signers.all(s, self.spec.signers.exists(d, d.name == s))")
        .message(Message::Expression(
            concat!(
                "'names ' + self.spec.model.signers.filter(s, !self.spec.signers.exists(d, d.name == s))[0]",
                " + ', which spec.signers does not define: define it there or correct the name'",
            )
            .to_owned(),
        ))
        .field_path(".spec.model.signers")
}

/// A threshold that can be reached.
pub fn threshold_within_signers() -> Rule {
    Rule::new("!has(self.threshold) || self.threshold <= size(self.signers)")
        .message(
            "must not be more than there are signers, since nothing could ever pass: lower it, or name more signers",
        )
        .field_path(".threshold")
}

/// A glob that can match `host/repository`.
pub fn repository_globs() -> Rule {
    Rule::new(r"self.all(glob, glob.matches(r'^[^/@\s]+(/[^/:@\s]+)+$') || glob in ['**', 'mounted'])").message(
        "must be host/repository globs such as registry.example/models/*, without scheme, tag and digest, or volume:CLAIM/PATH, or mounted",
    )
}

/// What may be given is named.
pub fn no_wildcards() -> Rule {
    Rule::new("self.all(word, !word.contains('*'))").message("cannot have a *: name each that may be given")
}

/// `host/repository`, of which the operator made a verification.
pub fn repository_name() -> Rule {
    Rule::new(r"self.matches(r'^[^/@\s]+(/[^/:@\s]+)+$')")
        .message("must be host/repository, without scheme, tag and digest")
}

/// A section that asks for nothing is a typing error: the API server drops what it does not know.
pub fn isolation_asks_for_something() -> Rule {
    Rule::new("has(self.network) || has(self.rbac) || has(self.hardening) || has(self.runtimeClasses)")
        .message("asks for nothing: set network, rbac, hardening or runtimeClasses, or leave isolation out")
}

/// A ceiling without default deny would limit nothing.
pub fn ceiling_needs_network() -> Rule {
    Rule::new("!has(self.egressCeiling) || has(self.network)")
        .message("limits nothing without network: set network to DefaultDeny, or leave egressCeiling out")
        .field_path(".egressCeiling")
}

/// Whom monitoring is opened for is a question only where the rest is closed.
pub fn monitoring_needs_network() -> Rule {
    Rule::new("!has(self.monitoring) || has(self.network)")
        .message("opens nothing without network: set network to DefaultDeny, or leave monitoring out")
        .field_path(".monitoring")
}

/// A peer without any selector would be everybody, by accident.
pub fn peer_has_a_selector() -> Rule {
    Rule::new("has(self.namespaceSelector) || has(self.podSelector)").message(
        "needs namespaceSelector, podSelector or both; `namespaceSelector: {}` is every pod in the cluster",
    )
}

/// A peer is pods or addresses.
pub fn pods_or_addresses() -> Rule {
    Rule::new("has(self.ipBlock) != (has(self.namespaceSelector) || has(self.podSelector))").message(
        "needs either ipBlock or selectors (namespaceSelector, podSelector or both): Kubernetes knows no peer that is both",
    )
}

/// A range of addresses has one spelling.
pub fn cidr_grammar() -> Rule {
    Rule::new("isCIDR(self) && string(cidr(self).masked()) == self").message(
        "must be a range of addresses such as 192.0.2.0/24 or 2001:db8::/64, beginning with its first address",
    )
}

/// The metadata service gives a pod its node's credentials.
pub fn cidr_is_not_metadata() -> Rule {
    Rule::new(concat!(
        "!isCIDR(self) || (!cidr('169.254.0.0/16').containsCIDR(cidr(self))",
        " && !cidr('fd00:ec2::254/128').containsCIDR(cidr(self)))",
    ))
    .message(
        "must not be the address of a cloud's metadata service (169.254.0.0/16, fd00:ec2::254), which gives away the node's credentials: leave it out",
    )
}

/// What is left out of a range lies in it, and is not all of it.
pub fn except_within_cidr() -> Rule {
    Rule::new(concat!(
        "!has(self.except) || !isCIDR(self.cidr) || self.except.all(range, isCIDR(range)",
        " && string(cidr(range).masked()) == range && range != self.cidr && cidr(self.cidr).containsCIDR(cidr(range)))",
    ))
    .message("must be ranges such as 192.0.2.128/25 that lie within cidr and are smaller than it")
    .field_path(".except")
}

/// A range of ports begins before it ends.
pub fn end_port_after_port() -> Rule {
    Rule::new("!has(self.endPort) || self.endPort >= self.port")
        .message("must not be before port: it is the last port of the range")
        .field_path(".endPort")
}

/// The port of a server is said once; that of a workload somebody else runs is said here.
pub fn client_ports_fit_runner() -> Rule {
    Rule::new("!has(self.clients) || self.clients.all(client, has(client.port) != has(self.server))")
        .message(
            "have a port with workloadRef, where nothing else says it, and none with server, which has one: add or remove port",
        )
        .field_path(".clients")
}

/// A reference that cannot come to mean anything else.
pub fn reference_has_digest() -> Rule {
    Rule::new(r"self.matches(r'@sha256:[0-9a-f]{64}$')").message(
        "needs a digest: write host/repository@sha256:…, so that what is measured on cannot change unseen",
    )
}

/// A number that is more than nothing.
pub fn positive() -> Rule {
    Rule::new("double(self) > 0.0").message("must be more than 0: an attacker who changes nothing is none")
}

/// A share that can be reached, and that not everything reaches.
pub fn share() -> Rule {
    Rule::new("double(self) > 0.0 && double(self) < 1.0")
        .message("must lie between 0 and 1: at 0 everything passes, and no number of samples shows 1")
}

/// A file's name that cannot lead out of its folder.
pub fn plain_file() -> Rule {
    Rule::new(r"self.matches(r'^([A-Za-z0-9_][-A-Za-z0-9._]*/)*[A-Za-z0-9_][-A-Za-z0-9._]*\.npz$')")
        .message("must be the path of an .npz file within the artifact, of plain names, such as heldout.npz")
}

/// A suite that measures something. `has` of a single member today; each further member makes it a count.
pub fn suite_measures_something() -> Rule {
    Rule::new("has(self.square)").message("needs exactly one thing to measure: set square")
}

/// Every gate speaks of a number that is measured.
pub fn gates_name_suites() -> Rule {
    Rule::new("self.spec.gates.all(g, self.spec.suites.exists(s, s.name == g.suite))")
        .message("must each name a suite of spec.suites: add the suite there, or correct the name")
        .field_path(".spec.gates")
}

/// What was asked for is what was run.
pub fn evaluation_stays() -> Rule {
    Rule::new("self.spec == oldSelf.spec")
        .message("an evaluation never changes: make another one")
        .field_path(".spec")
}

/// The subject of a verdict never changes under it.
pub fn spec_is_immutable() -> Rule {
    Rule::new("self.spec == oldSelf.spec")
        .message("cannot be changed: another artifact or other keys are another object")
        .field_path(".spec")
}

/// The schema of a field that may be left out, with the field's own description: a bare `Option` would show the
/// enumeration's.
pub fn value<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    T::json_schema(generator)
}

/// Kubernetes' label selector, with the bounds and rules that its own schema leaves to the code behind it.
pub fn label_selector(_: &mut SchemaGenerator) -> Schema {
    selector("Labels the namespace must have, with these very values.", 64)
}

/// The same for the peers of a network rule, of which there may be many.
pub fn peer_selector(_: &mut SchemaGenerator) -> Schema {
    selector("Labels it must have, with these very values.", 16)
}

fn selector(labels: &str, most: u32) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {
            "matchLabels": {
                "description": labels,
                "type": "object",
                "maxProperties": most,
                "additionalProperties": {"type": "string", "maxLength": 63}
            },
            "matchExpressions": {
                "description": "Expressions about labels; all of them must hold.",
                "type": "array",
                "maxItems": most,
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {
                            "description": "The label.",
                            "type": "string", "minLength": 1, "maxLength": 317
                        },
                        "operator": {
                            "description": "`In` and `NotIn` compare with `values`; `Exists` and `DoesNotExist` do not.",
                            "type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"]
                        },
                        "values": {
                            "description": "What `In` and `NotIn` compare with.",
                            "type": "array", "maxItems": most, "items": {"type": "string", "maxLength": 63}
                        }
                    },
                    "x-kubernetes-validations": [{
                        "rule": "self.operator in ['In', 'NotIn'] == (has(self.values) && size(self.values) > 0)",
                        "message": "are needed by In and NotIn, and not used by Exists and DoesNotExist",
                        "fieldPath": ".values"
                    }]
                }
            }
        },
        "x-kubernetes-map-type": "atomic"
    })
}

/// A container's resources without device claims, which need a part of the pod that is not ours to set.
pub fn resources(_: &mut SchemaGenerator) -> Schema {
    let quantities = |description: &str| {
        json_schema!({
            "description": description,
            "type": "object",
            "maxProperties": 16,
            "additionalProperties": {
                "x-kubernetes-int-or-string": true,
                "maxLength": 32,
                "x-kubernetes-validations": [{
                    "rule": "isQuantity(string(self)) && !quantity(string(self)).isLessThan(quantity('0'))",
                    "message": "must be a quantity, such as 500m, 2 or 1.5Gi"
                }]
            }
        })
    };
    json_schema!({
        "type": "object",
        "properties": {
            "limits": quantities("The most the container may use, such as `memory: 1Gi`."),
            "requests": quantities("What is set aside for the container. Left out: the same as the limits.")
        }
    })
}

/// Environment: bounded values, and no more than fit into an object.
pub fn environment(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 128,
        "additionalProperties": {"type": "string", "maxLength": 4096}
    })
}
