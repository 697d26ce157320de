//! `/livez`, `/readyz` and `/metrics`, for the kubelet and for Prometheus.
//! It shows what the operator counts and knows; nothing can be changed through it.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;

use super::{metrics::Metrics, world::WorldView};

#[derive(Clone)]
struct Admin {
    world: WorldView,
    metrics: Arc<Metrics>,
}

/// Serves until `stop` resolves.
pub(super) async fn serve(
    listener: TcpListener,
    world: WorldView,
    metrics: Arc<Metrics>,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let router = Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(exposition))
        .with_state(Admin { world, metrics });
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
        tracing::error!(%error, "the admin server ended");
    }
}

async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    if admin.world.is_ready() {
        (StatusCode::OK, "ok".to_owned())
    } else {
        let missing = admin.world.missing().join(", ");
        let message = format!(
            "not ready: {missing} cannot be read yet (are the CRDs installed, and may the operator list and watch them?)"
        );
        (StatusCode::SERVICE_UNAVAILABLE, message)
    }
}

async fn exposition(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.metrics.text() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (StatusCode::OK, [(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
