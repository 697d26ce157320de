//! Ways into a running pod of a governed namespace, and the right that opens them.
//! No pod runs here: who gets past the guard is told that there is nobody behind the door.

use serde_json::{Value, json};

use crate::cluster::{ADMIN, JANE, alone, apply, connect, eventually, free, governed, path};

const DOORS: &[(&str, &str)] = &[
    ("POST", "pods/digits/exec?command=id"),
    ("GET", "pods/digits/exec?command=id"),
    ("POST", "pods/digits/attach?stdin=true"),
    ("GET", "pods/digits/attach?stdin=true"),
    ("POST", "pods/digits/portforward?ports=8080"),
    ("GET", "pods/digits/portforward?ports=8080"),
    ("GET", "pods/digits/proxy"),
    ("GET", "pods/digits:8080/proxy/v2/models"),
    ("POST", "pods/digits/proxy/v2/models"),
    ("DELETE", "pods/digits/proxy/v2/models"),
    ("GET", "services/digits/proxy"),
    ("POST", "services/http:digits:8080/proxy/v2/models"),
];

const REFUSAL: &str = "needs the verb breakglass on modeldeployments.probity.dev";

#[tokio::test]
async fn every_way_into_a_pod_of_a_governed_namespace_is_refused() {
    let namespace = governed().await;
    for (method, door) in DOORS {
        let message = connect(
            JANE,
            &["team"],
            method,
            &format!("/api/v1/namespaces/{namespace}/{door}"),
        )
        .await;
        for words in [
            "'probity-breakglass'",
            REFUSAL,
            &namespace,
            "bind the ClusterRole probity-breakglass",
        ] {
            assert!(
                message.contains(words),
                "{method} {door} does not say `{words}`: {message}"
            );
        }
        let resource = door.split(['/', ':']).next().unwrap();
        let subresource = door.split(['/', '?']).nth(2).unwrap();
        assert!(
            message.contains(&format!("{resource}/{subresource}: ")),
            "{door}: {message}"
        );
    }
}

#[tokio::test]
async fn elsewhere_nothing_changes() {
    let namespace = free().await;
    for (method, door) in DOORS {
        let message = connect(
            JANE,
            &["team"],
            method,
            &format!("/api/v1/namespaces/{namespace}/{door}"),
        )
        .await;
        assert!(
            !message.contains("breakglass") && message.contains("not found"),
            "{method} {door}: {message}"
        );
    }
}

#[tokio::test]
async fn an_administrator_has_every_verb() {
    let namespace = governed().await;
    let message = connect(
        ADMIN,
        &["system:masters"],
        "POST",
        &format!("/api/v1/namespaces/{namespace}/pods/digits/exec?command=id"),
    )
    .await;
    assert!(message.contains("not found"), "{message}");
}

/// What `examples/breakglass.yaml` says is done, one document after the other.
#[tokio::test]
async fn the_example_opens_the_door_of_one_namespace_to_one_person() {
    let (here, elsewhere) = (governed().await, governed().await);
    let mut documents: Vec<Value> =
        serde_saphyr::from_multiple(include_str!("../../examples/breakglass.yaml")).unwrap();
    for document in &mut documents {
        document["metadata"]["namespace"] = json!(here);
    }
    let [_, may_exec, exec_for_jane, glass_for_jane] = &documents[..] else {
        panic!("a Namespace, a Role and two bindings, not {documents:?}")
    };
    assert_eq!(glass_for_jane["roleRef"]["name"], "probity-breakglass");
    let exec = |namespace: &str| format!("/api/v1/namespaces/{namespace}/pods/digits/exec?command=id");
    // What she is told when that is not it.
    let without = async |words: &str| {
        let message = connect(JANE, &[], "POST", &exec(&here)).await;
        (!message.contains(words)).then_some(message)
    };

    assert_eq!(without("cannot create resource \"pods/exec\"").await, None);
    for document in [may_exec, exec_for_jane] {
        apply(ADMIN, &path(document), document).await.unwrap();
    }
    // The right to exec alone was enough once.
    eventually("RBAC lets Jane exec, the guard does not", async || {
        without(REFUSAL).await
    })
    .await;

    apply(ADMIN, &path(glass_for_jane), glass_for_jane).await.unwrap();
    eventually("Jane is past the guard", async || {
        without("pods \"digits\" not found").await
    })
    .await;

    // For her, and there.
    let message = connect("john@example.com", &["team"], "POST", &exec(&here)).await;
    assert!(message.contains(REFUSAL), "{message}");
    let message = connect(JANE, &["team"], "POST", &exec(&elsewhere)).await;
    assert!(message.contains(REFUSAL), "{message}");

    // It opens a door and nothing else.
    let label = json!({"metadata": {"labels": {"probity.dev/governed": null}}});
    let answer = alone(
        JANE,
        "PATCH",
        &format!("/api/v1/namespaces/{here}?dryRun=All"),
        &label,
    )
    .await;
    assert!(
        answer
            .unwrap_err()
            .contains("cannot patch resource \"namespaces\"")
    );
}
