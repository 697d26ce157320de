//! The chart, as somebody who installs it meets it: what it renders, what it refuses, what it leaves behind.
//! Rendering needs helm alone; installing needs the API server bed. Nothing here runs a pod.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod apiserver;
mod guards;
mod helm;
mod install;
mod rbac;
mod refuse;
mod render;
