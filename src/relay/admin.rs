//! `/livez`, `/readyz` and `/metrics`, for the kubelet and for Prometheus.
//! It shows; nothing can be changed through it.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::net::TcpListener;

/// Serves until `stop` resolves. A relay that listens is ready: it depends on nothing that it could wait for.
pub async fn serve(
    listener: TcpListener,
    metrics: Registry,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let router = Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(async || "ok"))
        .route("/metrics", get(exposition))
        .with_state(Arc::new(metrics));
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
        tracing::error!(%error, "the admin server ended");
    }
}

async fn exposition(State(metrics): State<Arc<Registry>>) -> impl IntoResponse {
    let mut text = String::new();
    match encode(&mut text, &metrics) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (StatusCode::OK, [(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
