//! Certificates that the API server must not believe, brought along by somebody else: it refuses, the operator says so, and
//! with the right one all is well again without a restart.

use jiff::Timestamp;
use k8s_openapi::api::{admissionregistration::v1::ValidatingWebhookConfiguration, core::v1::Secret};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;

use super::bed::{Bed, Said, ask, refused};
use crate::{
    renewal::{NAMESPACE, apply, eventually, may_have_pods},
    testbed,
};

const SECRET: &str = "brought-along";

/// Somebody who signs.
struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::new([]).unwrap();
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap().pem();
        Self {
            certificate,
            issuer: Issuer::new(parameters, key),
        }
    }

    /// Puts a certificate that ends in so many years where the operator looks for it.
    async fn serves(&self, client: &Client, years: i32) {
        let mut parameters = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let year = i32::from(Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).year());
        parameters.not_before = rcgen::date_time_ymd(year - 2, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(year + years, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": SECRET, "namespace": NAMESPACE},
            "stringData": {"tls.crt": certificate.pem(), "tls.key": key.serialize_pem()}
        });
        apply(client, secret).await;
    }

    /// From now on the API server believes whom this authority signed for, and nobody else.
    async fn is_trusted(&self, client: &Client) {
        let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
        let bundle = k8s_openapi::ByteString(self.certificate.clone().into_bytes());
        let patch = json!([{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle}]);
        let patch = Patch::Json::<()>(serde_json::from_value(patch).unwrap());
        api.patch("probity", &PatchParams::default(), &patch)
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_ended_and_one_of_a_stranger_let_nobody_in_and_are_told() {
    let bed = Bed::shared().await;
    let bed = bed.as_ref().unwrap();
    let client = bed.client().await;
    let _: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let (ours, strange) = (Authority::new("ours"), Authority::new("strange"));
    ours.is_trusted(&client).await;
    ours.serves(&client, 0).await;
    let operator = bed.operator_with("brought", bed.api(), &["--admission-secret", SECRET], &[]);
    bed.service.leads_to(&[operator.door]);
    let governed = bed.governed(&client, "Allow").await;
    let free = testbed::namespace(&client).await;
    may_have_pods(&client, &free).await;

    // It ended with the last year.
    eventually("it says that its certificate ended", async || {
        let (status, text) = operator.asks("/readyz").await;
        (status == 503 && text.starts_with("not ready: the serving certificate ended at")).then_some(())
    })
    .await;
    let ends = operator
        .metric("probity_admission_certificate_expiry_seconds")
        .await
        .unwrap();
    assert!(ends > 0.0 && ends < f64::from(i32::try_from(Timestamp::now().as_second()).unwrap()));
    refused(&client, &governed, "x509: certificate has expired").await;
    assert_eq!(ask(&client, &free).await, Said::Admitted);

    // It is in time, and a stranger's. Only those who ask can know: they hang up, and that is counted and told.
    let hung_up = "probity_admission_handshakes_failed_total{cause=\"Distrusted\"}";
    let before = operator.metric(hung_up).await;
    assert!(
        before >= Some(1.0),
        "those who saw the one that ended: {before:?}"
    );
    strange.serves(&client, 1).await;
    operator.answers("/readyz", 200).await;
    refused(
        &client,
        &governed,
        "x509: certificate signed by unknown authority",
    )
    .await;
    assert!(operator.metric(hung_up).await > before, "{before:?}");
    let log = operator.log();
    assert!(log.contains("does not trust the certificate"), "{log}");
    assert_eq!(ask(&client, &free).await, Said::Admitted);

    // The right one: nobody restarts anything.
    ours.serves(&client, 1).await;
    super::bed::admitted(&client, &governed).await;
    assert_eq!(operator.answers("/readyz", 200).await, "ok");
}
