//! Probity lets an AI model serve in Kubernetes only while it can be shown to be the model somebody signed.
//!
//! # Map
//! | layer | module | what it does | imports of ours | what it may not do |
//! |---|---|---|---|---|
//! | 0 | [`evidence`] | values every layer speaks: digests, references, findings | nothing | read, decide |
//! | 0 | [`api`] | wire types, schema, CEL | `evidence` | behave |
//! | 1 | [`artifact`] | whether a model is the signed one: registries, signatures, trees | `evidence` | know Kubernetes |
//! | 1 | [`evaluation`] | how good a model is, in numbers that carry their uncertainty: data, engines, attacks, statistics | `api`, `evidence` | know Kubernetes, decide |
//! | 1 | [`listen`] | accepts connections, so many at a time | nothing | know what is spoken |
//! | 1 | [`workload`] | what runs a model: its objects, built and recognised again | `api`, `evidence` | decide |
//! | 1 | [`policy`] | the decision: compile, facts, checks, pods | `api`, `evidence`, `workload` | read, wait, look at a clock |
//! | 2 | [`cluster`] | the only writers: server-side apply, status patches | `api`, `evidence`, `policy` | decide |
//! | 2 | [`controller`] | gather → evaluate → plan → apply → status, the same words for every kind | `api`, `evidence`, `artifact`, `workload`, `policy`, `cluster` | write other than through `cluster` |
//! | 2 | [`admission`] | the same decision through the API server's door | `api`, `evidence`, `workload`, `policy`, `cluster`, `controller`, `listen` | write other than through `cluster`, fetch, verify |
//! | 2 | [`relay`] | gives model pods what their namespace's models are made of | `api`, `evidence`, `artifact`, `listen` | write, decide what may serve |
//! | 3 | [`operator`] | assembles the operator: world, controllers, admission, admin, leases | `api`, `evidence`, `artifact`, `workload`, `policy`, `cluster`, `controller`, `admission`, `relay` | do what a part does |
//! | 3 | [`cli`] | one file a subcommand | `api`, `evidence`, `artifact`, `policy` | hold logic others need |
//! | 3 | `cli::evaluate` | the one that measures a model | `api`, `evidence`, `evaluation` | the same |
//! | 3 | `cli::relay` | the one that serves models to pods | `evidence`, `artifact`, `relay` | the same |
//! | 3 | `cli::operator` | the one that talks to a cluster | `api`, `evidence`, `artifact`, `policy`, `workload`, `cluster`, `controller`, `admission`, `operator` | the same |
//!
//! `tests/layering.rs` reads this table and fails on an import that is not in it.

pub mod admission;
pub mod api;
pub mod artifact;
pub mod cli;
pub mod cluster;
pub mod controller;
pub mod evaluation;
pub mod evidence;
pub mod listen;
pub mod operator;
pub mod policy;
pub mod relay;
pub mod workload;
