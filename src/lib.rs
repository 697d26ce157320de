//! Probity lets an AI model serve in Kubernetes only while it can be shown to be the model somebody signed.
//!
//! # Map
//! | layer | module | what it does | what it may not do |
//! |---|---|---|---|
//! | 0 | [`api`] | wire types, schema, CEL | behave |
//! | 0 | [`evidence`] | values every layer speaks: digests, references, findings | read, decide |
//! | 1 | [`artifact`] | whether a model is the signed one: registries, signatures, trees | know Kubernetes |
//! | 1 | [`policy`] | the decision: compile, facts, checks | read, wait, look at a clock, import `artifact` |
//! | 2 | [`cluster`] | the only writers: server-side apply, status patches | decide |
//! | 2 | [`controller`] | gather → evaluate → plan → apply → status, the same words for every kind | write other than through `cluster` |
//! | 3 | [`cli`] | one file a subcommand | hold logic others need |
//!
//! `tests/layering.rs` fails on an import that goes up.

pub mod api;
pub mod artifact;
pub mod cli;
pub mod cluster;
pub mod controller;
pub mod evidence;
pub mod policy;
