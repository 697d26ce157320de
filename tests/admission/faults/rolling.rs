//! A steady load while the certificate is renewed and every operator is replaced: no question is lost, none is answered
//! wrongly.

use std::time::{Duration, Instant};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use rcgen::{CertificateParams, DistinguishedName, DnType, Issuer, KeyPair};
use serde_json::json;

use super::{
    bed::{Bed, Said},
    load::{Answered, Load, shown},
};
use crate::renewal::{NAMESPACE, eventually};

/// What is aimed at. What the machine makes of it beside the servers is printed.
const A_SECOND: u32 = 200;
const SECRET: &str = "probity-admission";
const EXPIRY: &str = "probity_admission_certificate_expiry_seconds";

async fn secret(client: &Client, key: &str) -> String {
    let api: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let mut data = api.get(SECRET).await.unwrap().data.unwrap();
    String::from_utf8(data.remove(key).unwrap().0).unwrap()
}

/// Makes the certificate that is served one that ends tomorrow, by the same authority: the leader has to renew it.
async fn age(client: &Client) -> String {
    let mut issuer = CertificateParams::new([]).unwrap();
    issuer.distinguished_name = DistinguishedName::new();
    issuer
        .distinguished_name
        .push(DnType::CommonName, "probity-admission-ca");
    let authority = KeyPair::from_pem(&secret(client, "authority.key").await).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let now = Duration::from_secs(jiff::Timestamp::now().as_second().unsigned_abs());
    let tomorrow = now + Duration::from_secs(24 * 60 * 60);
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(1970, 1, 1) + tomorrow;
    let certificate = parameters
        .signed_by(&key, &Issuer::new(issuer, authority))
        .unwrap()
        .pem();
    let bytes = |text: String| ByteString(text.into_bytes());
    let data =
        json!({"data": {"tls.crt": bytes(certificate.clone()), "tls.key": bytes(key.serialize_pem())}});
    let api: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    api.patch(SECRET, &PatchParams::default(), &Patch::Merge(data))
        .await
        .unwrap();
    certificate
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewing_the_certificate_and_replacing_every_operator_under_load_fails_no_question() {
    let bed = Bed::shared().await;
    let bed = bed.as_ref().unwrap();
    let client = bed.client().await;
    let (one, two) = (bed.operator("first"), bed.operator("second"));
    let (open, closed) = bed.both_answer(&client, &one, &two).await;
    let began = Instant::now();
    let load = Load::start(&client, &[&open, &closed], A_SECOND);

    let aged = age(&client).await;
    eventually("it is renewed", async || {
        let now = secret(&client, "tls.crt").await;
        (now != aged).then_some(())
    })
    .await;
    let a_month =
        30.0 * 24.0 * 60.0 * 60.0 + f64::from(i32::try_from(jiff::Timestamp::now().as_second()).unwrap());
    for operator in [&one, &two] {
        eventually("it serves the new one", async || {
            (operator.metric(EXPIRY).await? > a_month).then_some(())
        })
        .await;
    }

    // As a Deployment does it: a new one, then an old one goes, which is led to no more when it is told so.
    let three = bed.operator("third");
    three.answers("/readyz", 200).await;
    bed.service.leads_to(&[two.door, three.door]);
    one.end().await;
    let four = bed.operator("fourth");
    four.answers("/readyz", 200).await;
    bed.service.leads_to(&[three.door, four.door]);
    two.end().await;

    let answers = load.stop().await;
    println!("a new certificate and new operators: {answers}; aimed at {A_SECOND} a second");
    let wrong = answers.wrong(|answer: &Answered| match &answer.said {
        Said::Admitted => answer.namespace == open,
        Said::Refused(why) => answer.namespace == closed && why.contains("UnmanagedPod"),
        Said::Nothing(_) => false,
    });
    assert!(
        wrong.is_empty(),
        "of {} questions, {}",
        answers.all.len(),
        shown(&wrong, began)
    );
    assert!(answers.all.len() > 1000, "{} questions only", answers.all.len());
}
