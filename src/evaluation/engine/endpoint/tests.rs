//! An endpoint that answers, and all the ways in which one does not.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use test_case::test_case;

use super::*;
use crate::evidence::Class;

/// A server of one model with two inputs and two classes, on a port of its own. What it answers to an inference is decided
/// by a function of how many there were before and of the numbers it was sent.
struct Served {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

type Answer = (u16, String);

fn good(data: &[f64]) -> Answer {
    let rows = data.len() / 2;
    let body = json!({"model_name": "m", "outputs": [{"name": "p", "datatype": "FP32", "shape": [rows, 2], "data": data}]});
    (200, body.to_string())
}

fn metadata() -> Answer {
    let body =
        json!({"name": "m", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}], "outputs": []});
    (200, body.to_string())
}

fn serve(
    mut said: impl FnMut(usize) -> Answer + Send + 'static,
    mut infer: impl FnMut(usize, &[f64]) -> Answer + Send + 'static,
) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    std::thread::spawn(move || {
        let (mut asked, mut inferred) = (0, 0);
        for stream in listener.incoming() {
            let Some((head, body)) = request(stream.as_ref().unwrap()) else {
                continue;
            };
            let (status, answer) = if head.starts_with("GET ") {
                asked += 1;
                said(asked - 1)
            } else {
                let body: Value = serde_json::from_slice(&body).unwrap();
                let data: Vec<f64> = serde_json::from_value(body["inputs"][0]["data"].clone()).unwrap();
                inferred += 1;
                infer(inferred - 1, &data)
            };
            seen.lock().unwrap().push(head);
            let more = if status == 429 { "retry-after: 0\r\n" } else { "" };
            let _ = write!(
                stream.unwrap(),
                "HTTP/1.1 {status} X\r\n{more}connection: close\r\ncontent-length: {}\r\n\r\n{answer}",
                answer.len()
            );
        }
    });
    Served { url, heads }
}

fn request(stream: &TcpStream) -> Option<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let length = head
        .lines()
        .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}

fn options() -> EndpointOptions {
    EndpointOptions {
        timeout: Duration::from_millis(500),
        attempts: 3,
        pause: Duration::from_millis(1),
        ..EndpointOptions::default()
    }
}

fn connect(served: &Served) -> Endpoint {
    Endpoint::connect(&served.url, "m", options()).unwrap()
}

/// The numbers of four rows, which an endpoint that answers gives back as scores.
const ROWS: [f32; 8] = [1.0, 0.0, 2.0, 0.5, 3.0, 0.25, 4.0, 0.0];

fn asked(endpoint: &mut Endpoint) -> Result<Vec<Result<f32, Fault>>, ModelError> {
    let scores = endpoint.scores(Rows::new(&[2], &ROWS).unwrap())?;
    assert_eq!(scores.len(), 4);
    Ok((0..4)
        .map(|row| scores.row(row).map(|scores| scores[0]))
        .collect())
}

const ALL: [Result<f32, Fault>; 4] = [Ok(1.0), Ok(2.0), Ok(3.0), Ok(4.0)];

#[test]
fn rows_are_asked_together_by_an_ordinary_client() {
    let served = serve(|_| metadata(), |_, data| good(data));
    let mut endpoint = connect(&served);
    assert_eq!(asked(&mut endpoint).unwrap(), ALL);
    assert_eq!(endpoint.requests(), 2);
    let heads = served.heads.lock().unwrap().clone();
    assert!(heads[0].starts_with("GET /v2/models/m HTTP/1.1\r\n"), "{heads:?}");
    assert!(
        heads[1].starts_with("POST /v2/models/m/infer HTTP/1.1\r\n"),
        "{heads:?}"
    );
    // It must not see who asks.
    assert!(!heads.concat().to_lowercase().contains("probity"), "{heads:?}");
}

#[test]
fn batches_are_as_large_as_they_may_be() {
    let served = serve(|_| metadata(), |_, data| good(data));
    let mut endpoint = Endpoint::connect(
        &served.url,
        "m",
        EndpointOptions {
            batch: 3,
            ..options()
        },
    )
    .unwrap();
    assert_eq!(asked(&mut endpoint).unwrap(), ALL);
    assert_eq!(endpoint.requests(), 3);
}

#[test_case(429; "asked to come later")]
#[test_case(503; "not ready")]
#[test_case(502; "behind a gateway")]
fn what_passes_is_waited_for(status: u16) {
    let served = serve(
        move |asked| {
            if asked == 0 {
                (status, String::new())
            } else {
                metadata()
            }
        },
        move |asked, data| {
            if asked < 2 {
                (status, String::new())
            } else {
                good(data)
            }
        },
    );
    let mut endpoint = connect(&served);
    assert_eq!(asked(&mut endpoint).unwrap(), ALL);
    assert_eq!(endpoint.requests(), 2 + 3);
}

#[test]
fn what_stays_is_told() {
    let served = serve(|_| metadata(), |_, _| (503, String::new()));
    let error = asked(&mut connect(&served)).unwrap_err();
    assert_eq!(
        (error.code(), error.class()),
        ("EndpointUnavailable", Class::Transient)
    );
    assert!(
        error
            .to_string()
            .contains("answered 503 for /v2/models/m/infer: it was tried 3 times"),
        "{error}"
    );
}

#[test]
fn nobody_there() {
    let error = Endpoint::connect("http://127.0.0.1:1", "m", options()).unwrap_err();
    assert_eq!(error.code(), "EndpointUnavailable");
    assert!(
        error.to_string().starts_with("127.0.0.1:1 cannot be reached ("),
        "{error}"
    );
}

#[test]
fn an_endpoint_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let options = EndpointOptions {
        timeout: Duration::from_millis(50),
        ..options()
    };
    let error = Endpoint::connect(&url, "m", options).unwrap_err();
    assert!(error.to_string().contains("did not answer in time"), "{error}");
}

#[test_case(401, "EndpointDenied", "it wants credentials; give them with --bearer-token-file"; "without credentials")]
#[test_case(403, "EndpointRefused", "let us ask"; "forbidden")]
#[test_case(404, "EndpointRefused", "check --endpoint and --model"; "no such model")]
#[test_case(307, "EndpointRefused", "give the address it redirects to"; "elsewhere")]
#[test_case(500, "EndpointRefused", "look at the endpoint's log"; "broken")]
fn what_it_does_not_say_of_itself(status: u16, code: &str, words: &str) {
    let served = serve(move |_| (status, String::new()), |_, data| good(data));
    let error = Endpoint::connect(&served.url, "m", options()).unwrap_err();
    assert_eq!((error.code(), error.class()), (code, Class::Transient));
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn credentials_that_expire_are_told() {
    let served = serve(|_| metadata(), |_, _| (401, String::new()));
    assert_eq!(asked(&mut connect(&served)).unwrap_err().code(), "EndpointDenied");
}

#[test]
fn credentials_are_sent() {
    let served = serve(|_| metadata(), |_, data| good(data));
    let options = EndpointOptions {
        token: Some("secret".into()),
        ..options()
    };
    Endpoint::connect(&served.url, "m", options).unwrap();
    assert!(served.heads.lock().unwrap()[0].contains("authorization: Bearer secret\r\n"));
}

/// The third row is refused; which one it is takes asking about halves.
#[test_case(403, Fault::Blocked; "a guard")]
#[test_case(451, Fault::Blocked; "a guard that knows the law")]
#[test_case(500, Fault::Unreadable; "the server breaks on it")]
#[test_case(400, Fault::Unreadable; "the server does not take it")]
fn a_refused_row_is_found(status: u16, fault: Fault) {
    let served = serve(
        |_| metadata(),
        move |_, data| {
            if data.contains(&3.0) {
                (status, String::new())
            } else {
                good(data)
            }
        },
    );
    let mut endpoint = connect(&served);
    assert_eq!(
        asked(&mut endpoint).unwrap(),
        [Ok(1.0), Ok(2.0), Err(fault), Ok(4.0)]
    );
    // All, the halves, the rows of the second half.
    assert_eq!(endpoint.requests(), 1 + 5);
}

#[test_case("hello", Fault::Unreadable; "garbage")]
#[test_case("", Fault::Unreadable; "nothing")]
#[test_case(r#"{"outputs": []}"#, Fault::Shape; "no output")]
#[test_case(r#"{"outputs": [{"name": "p", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}"#, Fault::Shape; "one row for all")]
#[test_case(r#"{"outputs": [{"name": "p", "datatype": "FP32", "shape": [4, 2], "data": [1e39, 0, 1e39, 0, 1e39, 0, 1e39, 0]}]}"#, Fault::NotFinite; "beyond all numbers")]
fn answers_that_are_none(body: &str, fault: Fault) {
    let body = body.to_owned();
    let served = serve(|_| metadata(), move |_, _| (200, body.clone()));
    assert_eq!(asked(&mut connect(&served)).unwrap(), [Err(fault); 4]);
}

#[test]
fn an_answer_without_end_is_cut() {
    let served = serve(|_| metadata(), |_, _| (200, " ".repeat(5000)));
    let options = EndpointOptions {
        answer: 4096,
        ..options()
    };
    let mut endpoint = Endpoint::connect(&served.url, "m", options).unwrap();
    assert_eq!(asked(&mut endpoint).unwrap(), [Err(Fault::Unreadable); 4]);
}

#[test]
fn the_budget_of_requests_is_kept() {
    let served = serve(|_| metadata(), |_, _| (503, String::new()));
    let options = EndpointOptions {
        requests: 2,
        ..options()
    };
    let mut endpoint = Endpoint::connect(&served.url, "m", options).unwrap();
    let error = asked(&mut endpoint).unwrap_err();
    assert_eq!((error.code(), endpoint.requests()), ("RequestsUsedUp", 2));
    assert_eq!(served.heads.lock().unwrap().len(), 2);
}

#[test_case("ftp://x", "m", "not one of HTTP alone"; "another protocol")]
#[test_case("http://user:secret@x", "m", "not one of HTTP alone"; "credentials in the address")]
#[test_case("x:8080", "m", "not one of HTTP alone"; "no protocol")]
#[test_case("", "m", "makes no sense"; "nothing")]
#[test_case("http://x", "", "its name is none"; "no name")]
#[test_case("http://x", "..", "its name is none"; "a name that climbs")]
fn addresses_that_make_no_sense(url: &str, name: &str, words: &str) {
    let error = Endpoint::connect(url, name, options()).unwrap_err();
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!(error.class(), Class::Unsupported);
}

#[test_case("http://x", "m" => "http://x/v2/models/m")]
#[test_case("http://x/", "m" => "http://x/v2/models/m"; "a slash")]
#[test_case("http://x:1/serving/", "m" => "http://x:1/serving/v2/models/m"; "below a path")]
#[test_case("http://x?q=1#f", "../admin?x" => "http://x/v2/models/..%2Fadmin%3Fx"; "a name that would climb")]
fn addresses(url: &str, name: &str) -> String {
    address(url, name).unwrap().to_string()
}

#[test]
fn asynchronous_code_is_told_and_not_ended() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let error = runtime
        .block_on(async { Endpoint::connect("http://127.0.0.1:1", "m", options()) })
        .unwrap_err();
    assert_eq!(error.class(), Class::Internal);
}
