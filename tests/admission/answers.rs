//! Every question gets a well-formed answer, every other body a sentence, and no client can hold the server up.

use std::{sync::atomic::Ordering, time::Duration};

use futures::future::join_all;
use probity::admission::{Limits, certificates::Serving};
use serde_json::{Value, json};
use test_case::test_case;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, timeout},
};

use crate::door::{Door, certificate, client, review};

fn limits() -> Limits {
    Limits {
        drain: Duration::from_millis(500),
        ..Limits::default()
    }
}

async fn asked(door: &Door, authority: &str, path: &str, body: impl Into<reqwest::Body>) -> (u16, String) {
    let client = client(authority, door.address);
    let answer = client.post(door.url(path)).body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn response(door: &Door, authority: &str, path: &str, name: &str) -> Value {
    let (status, text) = asked(door, authority, path, review("u-1", name).to_string()).await;
    assert_eq!(status, 200, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["kind"], "AdmissionReview");
    assert_eq!(answer["response"]["uid"], "u-1");
    answer["response"].clone()
}

#[tokio::test]
async fn every_question_is_answered_under_its_uid() {
    let pair = certificate();
    let door = Door::serving(&pair, limits()).await;
    let allowed = response(&door, &pair.0, "/validate", "fine").await;
    assert_eq!(allowed, json!({"uid": "u-1", "allowed": true}));
    // The API server says its own time limit in the query.
    let denied = response(&door, &pair.0, "/validate?timeout=5s", "deny").await;
    assert_eq!(
        denied,
        json!({"uid": "u-1", "allowed": false, "status": {"code": 403, "message": "the image is signed by nobody: sign it"}})
    );
    let warned = response(&door, &pair.0, "/validate", "warn").await;
    assert_eq!(warned["warnings"], json!(["deprecated"]));
    assert_eq!(warned["auditAnnotations"]["rule"], "model.signature");
    let patched = response(&door, &pair.0, "/mutate", "fine").await;
    assert_eq!(patched["patchType"], "JSONPatch");

    let metrics = door.metrics();
    for line in [
        r#"probity_admission_duration_seconds_count{hook="validate",allowed="true"} 2"#,
        r#"probity_admission_duration_seconds_count{hook="validate",allowed="false"} 1"#,
        r#"probity_admission_requests_total{hook="mutate",code="200"} 1"#,
        r#"probity_admission_requests_total{hook="validate",code="403"} 1"#,
        "probity_admission_certificate_expiry_seconds ",
    ] {
        assert!(metrics.contains(line), "{line} is not in:\n{metrics}");
    }
}

#[tokio::test]
async fn a_judge_that_fails_or_does_not_end_denies() {
    let pair = certificate();
    let limits = Limits {
        request: Duration::from_millis(500),
        ..limits()
    };
    let door = Door::serving(&pair, limits).await;
    for (name, code) in [("panic", 500), ("never", 504)] {
        let denied = response(&door, &pair.0, "/validate", name).await;
        assert_eq!(denied["allowed"], false, "{name}");
        assert_eq!(denied["status"]["code"], code, "{name}");
    }
    response(&door, &pair.0, "/validate", "fine").await;
}

#[test_case("/validate", b"{", 400, "not an AdmissionReview"; "cut short")]
#[test_case("/validate", b"\x16\x03\x01garbage", 400, "not an AdmissionReview"; "garbage")]
#[test_case("/validate", b"", 400, "not an AdmissionReview"; "nothing")]
#[test_case("/mutate", br#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview"}"#, 400, "admissionReviewVersions"; "another version")]
#[test_case("/", b"{}", 404, "/validate or /mutate"; "no path")]
#[test_case("/validate/", b"{}", 404, "/validate or /mutate"; "a longer path")]
#[test_case("/validate/../mutate2", b"{}", 404, "/validate or /mutate"; "a path that climbs")]
#[tokio::test]
async fn what_is_no_question_is_told_so(path: &str, body: &'static [u8], status: u16, says: &str) {
    let pair = certificate();
    let door = Door::serving(&pair, limits()).await;
    let (found, text) = asked(&door, &pair.0, path, body).await;
    assert_eq!(found, status, "{text}");
    assert!(text.contains(says), "{text}");
    assert_eq!(door.judged.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn another_method_is_told_which_one() {
    let pair = certificate();
    let door = Door::serving(&pair, limits()).await;
    let answer = client(&pair.0, door.address)
        .get(door.url("/validate"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 405);
    assert_eq!(answer.headers()["allow"], "POST");
}

#[tokio::test]
async fn a_body_over_the_cap_is_refused_and_one_under_it_read() {
    let pair = certificate();
    let door = Door::serving(&pair, limits()).await;
    let sized = |bytes: usize| {
        let mut review = review("u-1", "fine");
        review["request"]["object"]["data"] = json!("x".repeat(bytes));
        review.to_string()
    };
    let (status, text) = asked(&door, &pair.0, "/validate", sized(3 << 20)).await;
    assert_eq!(
        (status, text.as_str()),
        (413, "the body has more than 3145728 bytes")
    );
    // Also when nothing says beforehand how long it is.
    let parts = (0..64).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1 << 16]));
    let stream = reqwest::Body::wrap_stream(futures::stream::iter(parts));
    assert_eq!(asked(&door, &pair.0, "/validate", stream).await.0, 413);
    assert_eq!(
        asked(&door, &pair.0, "/validate", sized((3 << 20) - 4096))
            .await
            .0,
        200
    );
}

/// One that says nothing, one that begins a request, one that begins a body: each is let go, and others are served.
#[tokio::test]
async fn slow_clients_are_let_go_and_hold_nobody_up() {
    let pair = certificate();
    let limits = Limits {
        handshake: Duration::from_millis(400),
        head: Duration::from_millis(400),
        request: Duration::from_millis(400),
        ..limits()
    };
    let door = Door::serving(&pair, limits).await;
    let mut silent = tokio::net::TcpStream::connect(door.address).await.unwrap();
    let mut begun = door.connect(&pair.0).await;
    begun.write_all(b"POST /validate HTTP/1.1\r\nhos").await.unwrap();
    let mut half = door.connect(&pair.0).await;
    half.write_all(b"POST /validate HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        .await
        .unwrap();
    response(&door, &pair.0, "/validate", "fine").await;

    let patience = Duration::from_secs(10);
    let mut said = Vec::new();
    timeout(patience, silent.read_to_end(&mut said))
        .await
        .expect("no handshake: closed")
        .unwrap();
    assert_eq!(said, b"");
    // How the end comes, with or without a last word, is the library's.
    let _ = timeout(patience, begun.read_to_end(&mut Vec::new()))
        .await
        .expect("no head: closed");
    let mut said = vec![0; 12];
    timeout(patience, half.read_exact(&mut said))
        .await
        .expect("no body: answered")
        .unwrap();
    assert_eq!(said, b"HTTP/1.1 408");
}

#[tokio::test]
async fn more_connections_than_there_are_places_wait_for_one() {
    let pair = certificate();
    let limits = Limits {
        connections: 2,
        head: Duration::from_millis(500),
        ..limits()
    };
    let door = Door::serving(&pair, limits).await;
    let _idle = [door.connect(&pair.0).await, door.connect(&pair.0).await];
    response(&door, &pair.0, "/validate", "fine").await;
}

#[tokio::test]
async fn many_at_once_are_each_answered_their_own() {
    let pair = certificate();
    let door = Door::serving(&pair, limits()).await;
    let client = client(&pair.0, door.address);
    let url = door.url("/validate");
    join_all((0..64).map(|n| {
        let (client, url) = (client.clone(), url.clone());
        async move {
            for m in 0..10 {
                let uid = format!("{n}-{m}");
                let name = if m % 2 == 0 { "fine" } else { "deny" };
                let answer = client
                    .post(&url)
                    .body(review(&uid, name).to_string())
                    .send()
                    .await
                    .unwrap();
                let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
                assert_eq!(answer["response"]["uid"], uid.as_str());
                assert_eq!(answer["response"]["allowed"], m % 2 == 0);
            }
        }
    }))
    .await;
    assert_eq!(door.judged.load(Ordering::Relaxed), 640);
}

#[tokio::test]
async fn without_a_certificate_nobody_is_served_and_with_another_one_nobody_is_cut_off() {
    let (first, second) = (certificate(), certificate());
    let door = Door::open(limits()).await;
    let post = |client: &reqwest::Client| {
        client
            .post(door.url("/validate"))
            .body(review("u", "fine").to_string())
            .send()
    };
    assert!(post(&client(&first.0, door.address)).await.is_err());

    door.certificates
        .serve(Serving::read(first.0.as_bytes(), first.1.as_bytes()).unwrap());
    let old = client(&first.0, door.address);
    assert_eq!(post(&old).await.unwrap().status(), 200);
    door.certificates
        .serve(Serving::read(second.0.as_bytes(), second.1.as_bytes()).unwrap());
    // A connection that exists goes on; a new one meets the new certificate.
    assert_eq!(post(&old).await.unwrap().status(), 200);
    assert_eq!(
        post(&client(&second.0, door.address)).await.unwrap().status(),
        200
    );
    assert!(post(&client(&first.0, door.address)).await.is_err());
}

/// It stops: what comes while not everybody knows is answered and told to go elsewhere, what is under way is finished.
#[tokio::test]
async fn a_stop_fails_nobody() {
    let pair = certificate();
    let mut door = Door::serving(&pair, limits()).await;
    let kept = client(&pair.0, door.address);
    let url = door.url("/validate");
    let post = async |client: &reqwest::Client, name: &str| {
        client.post(&url).body(review("u", name).to_string()).send().await
    };
    assert!(
        !post(&kept, "fine")
            .await
            .unwrap()
            .headers()
            .contains_key("connection")
    );
    let began = Instant::now();
    let stopped = door.stop();
    let during = post(&client(&pair.0, door.address), "fine").await.unwrap();
    assert_eq!(during.headers()["connection"], "close");
    assert_eq!(
        post(&kept, "fine").await.unwrap().headers()["connection"],
        "close"
    );
    // Begun before the end of the drain, finished after it.
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(post(&kept, "slow").await.unwrap().status(), 200);
    stopped.await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(500));
    assert!(
        post(&client(&pair.0, door.address), "fine").await.is_err(),
        "nobody listens"
    );
}
