//! The least an admission server can do, for `benches/admission`: it reads the question and its object, and allows it.
//! It shares everything with the operator's but the decision: TLS, HTTP, the limits, the reading and the writing.

use std::{path::PathBuf, sync::Arc};

use probity::admission::{AdmissionRequest, Answer, Judge, Limits, Metrics, serve};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::Value;
use tokio::net::TcpListener;

/// Allows whatever can be read.
struct Bare;

impl Judge for Bare {
    async fn validate(&self, request: &AdmissionRequest) -> Answer {
        match request.object::<Value>() {
            Ok(Some(_)) => Answer::allow(),
            Ok(None) | Err(_) => Answer::deny(400, "object: cannot be read"),
        }
    }

    async fn mutate(&self, _: &AdmissionRequest) -> Answer {
        Answer::allow()
    }
}

/// `bare-admission ADDRESS CERTIFICATE KEY`, both PEM; it serves until it is killed.
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let mut next = || {
        arguments
            .next()
            .ok_or("usage: bare-admission ADDRESS CERTIFICATE KEY")
    };
    let address = next()?.into_string().map_err(|_| "ADDRESS: is no text")?;
    let (certificate, key) = (PathBuf::from(next()?), PathBuf::from(next()?));
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
    let listener = TcpListener::bind(address).await?;
    let never = std::future::pending();
    serve(listener, Arc::new(tls), Bare, metrics, Limits::default(), never).await;
    Ok(())
}
