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
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::net::TcpListener;

use super::readiness::Readiness;

#[derive(Clone)]
struct Admin {
    readiness: Readiness,
    metrics: Arc<Registry>,
}

/// Serves until `stop` resolves.
pub(super) async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    metrics: Registry,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let admin = Admin {
        readiness,
        metrics: Arc::new(metrics),
    };
    let router = Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(exposition))
        .with_state(admin);
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
        tracing::error!(%error, "the admin server ended");
    }
}

async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    let lacking = admin.readiness.lacking();
    if lacking.is_empty() {
        (StatusCode::OK, "ok".to_owned())
    } else {
        let message = format!("not ready: {}", lacking.join("; "));
        (StatusCode::SERVICE_UNAVAILABLE, message)
    }
}

async fn exposition(State(admin): State<Admin>) -> impl IntoResponse {
    let mut text = String::new();
    match encode(&mut text, &admin.metrics) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (StatusCode::OK, [(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
