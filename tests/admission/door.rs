//! A server with a judge that does what the request's name says, and clients that trust exactly one authority.
//! Certificates are made here by hand; who makes them in a cluster is in `renewal`.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use probity::admission::{
    AdmissionRequest, Answer, Judge, Limits, Metrics,
    certificates::{Certificates, Serving},
    serve,
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Does what the name says, and counts.
#[derive(Debug, Clone, Default)]
pub struct Obedient(pub Arc<AtomicUsize>);

impl Judge for Obedient {
    async fn validate(&self, request: &AdmissionRequest) -> Answer {
        self.0.fetch_add(1, Ordering::Relaxed);
        match request.name.as_str() {
            "deny" => Answer::deny(403, "the image is signed by nobody: sign it"),
            "slow" => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Answer::allow()
            }
            "never" => std::future::pending().await,
            "panic" => panic!("as asked"),
            "warn" => Answer {
                warnings: vec!["deprecated".into()],
                audit_annotations: [("rule".to_owned(), "model.signature".to_owned())].into(),
                ..Answer::allow()
            },
            _ => Answer::allow(),
        }
    }

    async fn mutate(&self, _: &AdmissionRequest) -> Answer {
        Answer {
            patch: Some(json!([{"op": "add", "path": "/metadata/labels", "value": {"seen": "yes"}}])),
            ..Answer::allow()
        }
    }
}

pub const HOST: &str = "probity-webhook.probity-system.svc";

/// A certificate for [`HOST`] and loopback that is its own authority.
pub fn certificate() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = [HOST.to_owned(), "127.0.0.1".to_owned()];
    let certificate = rcgen::CertificateParams::new(names)
        .unwrap()
        .self_signed(&key)
        .unwrap();
    (certificate.pem(), key.serialize_pem())
}

pub struct Door {
    pub address: SocketAddr,
    pub certificates: Certificates,
    pub judged: Arc<AtomicUsize>,
    registry: Registry,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
}

impl Door {
    /// One that serves this certificate.
    pub async fn serving(pair: &(String, String), limits: Limits) -> Self {
        let door = Self::open(limits).await;
        door.certificates
            .serve(Serving::read(pair.0.as_bytes(), pair.1.as_bytes()).unwrap());
        door
    }

    /// One that has no certificate yet.
    pub async fn open(limits: Limits) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut registry = Registry::with_prefix("probity");
        let metrics = Metrics::register(&mut registry);
        let certificates = Certificates::new(metrics.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let judge = Obedient::default();
        let judged = judge.0.clone();
        let tls = certificates.server_config().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            let stop = async {
                let _ = stopped.await;
            };
            serve(listener, tls, judge, metrics, limits, stop).await;
        });
        Self {
            address,
            certificates,
            judged,
            registry,
            stop: Some(stop),
            server: Some(server),
        }
    }

    /// Tells it to stop; resolves when it has.
    pub fn stop(&mut self) -> JoinHandle<()> {
        let _ = self.stop.take().unwrap().send(());
        self.server.take().unwrap()
    }

    pub fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://{HOST}:{}{path}", self.address.port())
    }

    /// A TLS connection of our own, for what no proper client does.
    pub async fn connect(&self, authority: &str) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        let certificate = rustls_pki_types::pem::PemObject::from_pem_slice(authority.as_bytes()).unwrap();
        roots.add(certificate).unwrap();
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.address).await.unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(HOST.try_into().unwrap(), stream)
            .await
            .unwrap()
    }
}

/// A client that trusts this bundle alone and finds [`HOST`] there.
pub fn client(authority: &str, address: SocketAddr) -> reqwest::Client {
    let certificates = reqwest::Certificate::from_pem_bundle(authority.as_bytes()).unwrap();
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only(certificates)
        .resolve(HOST, address)
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap()
}

pub fn review(uid: &str, name: &str) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": uid, "operation": "CREATE", "namespace": "bank", "name": name,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "userInfo": {"username": "ann"},
            "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}}
        }
    })
}
