//! Who may take upon themselves that a policy's rule does not hold, and that it is they who are named for it.

use serde_json::{Value, json};

use crate::cluster::{ADMIN, JANE, alone, create, eventually, free, governed, merge, not_refused, refused};

fn waivers(namespace: &str) -> String {
    format!("/apis/probity.dev/v1alpha1/namespaces/{namespace}/waivers")
}

fn waiver(by: Option<&str>, days: i64) -> Value {
    let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
    json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "Waiver", "metadata": {"name": "until-signed"},
        "spec": {
            "rules": ["model.signature"], "subject": {"modelDeployment": "digits"}, "expires": expires,
            "reason": "the vendor signs from next week on", "approvedBy": by
        }
    })
}

#[tokio::test]
async fn a_waiver_is_made_by_those_who_may_and_in_their_own_name() {
    for namespace in [governed().await, free().await] {
        let (there, dry) = (waivers(&namespace), format!("{}?dryRun=All", waivers(&namespace)));
        let jane = create(JANE, &dry, &waiver(Some(JANE), 30)).await;
        refused(
            &jane,
            "waivers",
            &["verb waive on deploymentpolicies.probity.dev", "probity-waiver"],
        );

        let ada = format!("ada-of-{namespace}");
        let rbac = "rbac.authorization.k8s.io";
        let binding = json!({"apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": {"name": "ada"},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "probity-waiver"},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": ada}]});
        create(
            ADMIN,
            &format!("/apis/{rbac}/v1/namespaces/{namespace}/rolebindings"),
            &binding,
        )
        .await
        .unwrap();
        let says = [
            "spec.approvedBy",
            "write your own user name while admission is away",
        ];
        eventually("who may waive is asked for their name", async || {
            not_refused(
                &alone(&ada, "POST", &dry, &waiver(None, 30)).await,
                "waivers",
                &says,
            )
        })
        .await;
        refused(
            &alone(&ada, "POST", &dry, &waiver(Some("bob"), 30)).await,
            "waivers",
            &says,
        );
        let long = alone(&ada, "POST", &dry, &waiver(Some(&ada), 91)).await;
        refused(&long, "waivers", &["spec.expires", "ninety days"]);
        alone(&ada, "POST", &there, &waiver(Some(&ada), 89))
            .await
            .unwrap();

        // What was approved stays as it was approved, and may be labelled and taken away by whoever may otherwise.
        let url = format!("{there}/until-signed");
        let longer = json!({"spec": {"reason": "another"}});
        let changed = merge(ADMIN, &url, &longer).await.unwrap_err();
        assert!(changed.contains("a waiver never changes"), "{changed}");
        merge(JANE, &url, &json!({"metadata": {"labels": {"team": "fraud"}}}))
            .await
            .unwrap();
        alone(&ada, "DELETE", &url, &Value::Null).await.unwrap();
    }
}
