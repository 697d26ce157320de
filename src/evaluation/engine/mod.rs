//! What answers: a file run here, or an endpoint asked over the network.
//! Each is a [`Model`](super::model::Model); which one it is makes no difference to what is measured.

mod endpoint;
mod onnx;

pub use endpoint::{Endpoint, EndpointOptions};
pub use onnx::Onnx;

/// The name that a model's scores are looked for under when nobody says another.
const SCORES: &str = "logits";
