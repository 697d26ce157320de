//! The certificate admission serves with: where it is kept, who renews it, and how every replica comes to have it.
//! The decision what to do next is [`rotation`]'s and pure; only the leader writes, through `cluster`.

mod follow;
mod issue;
mod material;
mod renew;
mod rotation;
mod serving;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

pub use follow::follow;
pub use renew::{Names, renew};
pub use serving::Serving;

use super::Metrics;

/// How often the Secret is looked at: by whoever serves what it holds, and by whoever renews it.
pub const EVERY: Duration = Duration::from_secs(10);

/// What is served now. Cloning gives another hand on the same; a new certificate is used from the next handshake on, and
/// connections that exist go on.
#[derive(Clone)]
pub struct Certificates {
    current: Arc<Mutex<Option<Arc<Serving>>>>,
    metrics: Metrics,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

impl Certificates {
    /// Serves nothing until it is told what.
    pub fn new(metrics: Metrics) -> Self {
        Self {
            current: Arc::default(),
            metrics,
        }
    }

    /// Serves this from the next handshake on. Returns whether it is another one.
    pub fn serve(&self, serving: Serving) -> bool {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| current.same(&serving)) {
            return false;
        }
        self.metrics.serves_until(serving.expires);
        tracing::info!(until = %serving.expires, "serving admission with another certificate");
        *current = Some(Arc::new(serving));
        true
    }

    /// When what is served ends; none when nothing is served.
    pub fn expires(&self) -> Option<Timestamp> {
        self.current().map(|serving| serving.expires)
    }

    fn current(&self) -> Option<Arc<Serving>> {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The settings of a TLS server that presents it.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current().map(|serving| serving.key.clone())
    }
}
