//! Stories of one model, told by the plan alone: no API server, no registry, no time but the one that is given.
#![allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]

use insta::assert_yaml_snapshot;
use serde_json::{Value, json};
use test_case::test_case;

use super::{super::scene::*, *};
use crate::{api::v1alpha1::Hardening, workload::CREDENTIALS_VOLUME};

const FETCH_ARGS: &str = "/spec/template/spec/initContainers/0/args/2";

fn snapshots() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

#[test]
fn nothing_runs_before_it_is_shown_to_be_good() {
    let mut scene = Scene::new();
    let plan = scene.step();
    assert_eq!(plan.desired.workload, None);
    let [verification] = &plan.desired.verifications[..] else {
        panic!("one verification")
    };
    assert_yaml_snapshot!(verification.spec, @r#"
    source:
      oci:
        repository: registry.example/models/digits
        digest: "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    keys:
      - fingerprint: "sha256:0101010101010101010101010101010101010101010101010101010101010101"
        name: bank-keys/current
        publicKey: "-----BEGIN PUBLIC KEY-----\nkey 1\n-----END PUBLIC KEY-----\n"
    "#);
    assert_eq!(scene.ready(), ("False".into(), "Verifying".into()));
}

#[test]
fn an_admitted_model_gets_its_objects() {
    let mut scene = Scene::new();
    scene
        .settings
        .hosts
        .plain_http
        .insert("registry.example".parse().unwrap());
    scene.edit("/model/source/oci/pullSecret", json!("regcred"));
    scene.step();
    scene.verified(GOOD);
    let workload = scene.step().desired.workload.unwrap();
    snapshots().bind(|| {
        assert_yaml_snapshot!("workload_service_account", workload.service_account);
        assert_yaml_snapshot!("workload_service", workload.service);
        assert_yaml_snapshot!("workload_deployment", workload.deployment);
    });
}

/// The snapshot shows all of it; these are the lines that must never be lost from it by a hasty review.
#[test]
fn what_must_hold_for_every_pod() {
    let mut scene = Scene::new();
    scene.edit("/model/source/oci/pullSecret", json!("regcred"));
    scene.step();
    scene.verified(GOOD);
    let deployment = scene.step().desired.workload.unwrap().deployment;
    let pod = serde_json::to_value(deployment.spec.unwrap().template.spec.unwrap()).unwrap();
    let (fetch, server) = (&pod["initContainers"][0], &pod["containers"][0]);
    let mount = |container: &Value, volume: &str| {
        container["volumeMounts"]
            .as_array()
            .unwrap()
            .iter()
            .find(|mount| mount["name"] == volume)
            .cloned()
    };
    assert_eq!(
        fetch["args"][2],
        json!(reference(GOOD)),
        "the pinned content and no other"
    );
    assert_eq!(mount(server, "probity-model").unwrap()["readOnly"], true);
    assert!(mount(fetch, CREDENTIALS_VOLUME).is_some());
    assert_eq!(
        mount(server, CREDENTIALS_VOLUME),
        None,
        "the server gets no credentials"
    );
    let sized = pod["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|volume| volume["name"] == "probity-model")
        .unwrap();
    assert_eq!(sized["emptyDir"]["sizeLimit"], (604_211 + (16 << 20)).to_string());
    assert_eq!(pod["automountServiceAccountToken"], false);
    for container in [fetch, server] {
        let context = &container["securityContext"];
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["runAsNonRoot"], true);
        assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
    }
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
}

#[test]
fn the_operators_lists_of_hosts_go_to_the_fetch_container() {
    let mut scene = Scene::new();
    scene
        .settings
        .hosts
        .plain_http
        .insert("10.0.0.5:5000".parse().unwrap());
    scene.settings.hosts.extra.insert("auth.example".parse().unwrap());
    scene.step();
    scene.verified(GOOD);
    let pod = scene
        .step()
        .desired
        .workload
        .unwrap()
        .deployment
        .spec
        .unwrap()
        .template
        .spec
        .unwrap();
    let args = pod.init_containers.unwrap().remove(0).args.unwrap();
    assert!(
        args.contains(&"--plain-http=10.0.0.5:5000".to_owned()),
        "{args:?}"
    );
    assert!(args.contains(&"--allow-host=auth.example".to_owned()), "{args:?}");
}

#[test]
fn a_refused_candidate_leaves_the_last_good_one() {
    let mut scene = Scene::serving();
    scene.ask(NEXT);
    scene.step();
    assert_eq!(scene.runs(), Some((GOOD, 2)), "while it is looked at");
    scene.refused(NEXT);
    scene.settle();
    assert_eq!(scene.runs(), Some((GOOD, 2)));
    assert_eq!(scene.says(), (Some(GOOD), Some(Some(NEXT))));
    assert_eq!(scene.ready(), ("False".into(), "DigestMismatch".into()));
    assert_eq!(
        scene.snapshot.verifications.len(),
        2,
        "both are still somebody's answer"
    );
}

#[test]
fn refused_and_never_good_there_is_nothing() {
    let mut scene = Scene::new();
    scene.step();
    scene.refused(GOOD);
    assert_eq!(scene.settle().desired.workload, None);
    assert_eq!(scene.says(), (None, Some(Some(GOOD))));
}

#[test]
fn what_was_admitted_and_turned_bad_before_it_served_is_stopped() {
    let mut scene = Scene::new();
    scene.step();
    scene.verified(GOOD);
    scene.step();
    scene.set_rollout(2, 2, 0);
    scene.policy(1, &json!({"revoked": [{"digest": GOOD, "reason": "poisoned"}]}));
    scene.settle();
    assert_eq!(scene.runs(), Some((GOOD, 0)));
    assert_eq!(scene.ready(), ("False".into(), "Revoked".into()));
}

#[test_case(|scene| scene.policy(2, &json!({})); "its verification is made anew")]
#[test_case(|scene| { scene.policy(2, &json!({})); scene.step(); scene.unreadable(GOOD); }; "and cannot be made")]
fn what_was_stopped_is_not_started_again_while_nothing_is_known(change: fn(&mut Scene)) {
    let mut scene = Scene::new();
    scene.step();
    scene.verified(GOOD);
    scene.step();
    scene.set_rollout(2, 2, 0);
    scene.policy(1, &json!({"revoked": [{"digest": GOOD, "reason": "poisoned"}]}));
    scene.settle();
    change(&mut scene);
    scene.settle();
    assert_eq!(scene.runs(), Some((GOOD, 0)));
    // Once it is known to be good, it is.
    scene.verified(GOOD);
    scene.settle();
    assert_eq!(scene.runs(), Some((GOOD, 2)));
}

#[test]
fn replicas_that_are_left_out_are_an_autoscalers() {
    let mut scene = Scene::new();
    scene.edit("/server/replicas", Value::Null);
    scene.step();
    scene.verified(GOOD);
    scene.step();
    let workload = scene.plan().desired.workload.unwrap();
    assert_eq!(
        workload.deployment.spec.unwrap().replicas,
        None,
        "not even mentioned"
    );
}

#[test_case(|scene| { scene.step(); }; "a verification under way")]
#[test_case(|scene| { scene.step(); scene.unreadable(NEXT); }; "a registry that does not answer")]
fn not_knowing_changes_nothing(change: fn(&mut Scene)) {
    let mut scene = Scene::serving();
    let before = scene.snapshot.deployment.clone();
    scene.ask(NEXT);
    change(&mut scene);
    scene.settle();
    assert_eq!(scene.snapshot.deployment, before);
    assert_eq!(scene.says().0, Some(GOOD));
}

#[test_case(json!(null), "Resolving"; "not looked up yet")]
#[test_case(json!({"reason": "NotFound", "message": "there is no such tag"}), "NotFound"; "not found")]
fn an_unresolved_tag_changes_nothing_but_what_runs_is_still_looked_after(resolved: Value, reason: &str) {
    let mut scene = Scene::serving();
    scene.ask_for_tag("2", resolved);
    scene.tamper(
        "/spec/template/spec/containers/0/volumeMounts/0/readOnly",
        json!(false),
    );
    scene.settle();
    assert_eq!(scene.runs(), Some((GOOD, 2)));
    let pod = scene
        .snapshot
        .deployment
        .clone()
        .unwrap()
        .spec
        .unwrap()
        .template
        .spec
        .unwrap();
    assert_eq!(
        pod.containers[0].volume_mounts.as_ref().unwrap()[0].read_only,
        Some(true)
    );
    assert_eq!(scene.ready().1, reason);
    assert_eq!(scene.says(), (Some(GOOD), Some(None)));
    assert_eq!(
        scene.snapshot.verifications.len(),
        1,
        "the verification of what serves stays"
    );
}

#[test]
fn a_specification_that_makes_no_sense_changes_nothing() {
    let mut scene = Scene::serving();
    scene.edit("/server/image", json!("registry.example/servers/onnx:1"));
    let plan = scene.settle();
    assert_eq!(plan.desired, Desired::default());
    assert_eq!(scene.condition("Accepted").1, "SpecInvalid");
    assert_eq!(scene.says().0, Some(GOOD));
}

#[test]
fn a_lost_status_does_not_stop_what_serves() {
    let mut scene = Scene::serving();
    scene.model.status = None;
    scene.ask(NEXT);
    scene.step();
    scene.refused(NEXT);
    scene.settle();
    assert_eq!(scene.runs(), Some((GOOD, 2)));
    assert_eq!(scene.says(), (Some(GOOD), Some(Some(NEXT))));
}

#[test]
fn a_lost_status_of_a_tag_is_looked_up_again_and_makes_a_candidate() {
    let mut scene = Scene::serving();
    scene.ask_for_tag("1", json!({"digest": GOOD}));
    scene.settle();
    scene.model.status = None;
    scene.ask_for_tag("1", json!({"digest": NEXT}));
    scene.step();
    assert_eq!(scene.runs(), Some((GOOD, 2)), "never a silent swap");
}

#[test]
fn revoked_while_it_serves_it_goes_on_and_says_so() {
    let mut scene = Scene::serving();
    scene.policy(1, &json!({"revoked": [{"digest": GOOD, "reason": "poisoned"}]}));
    scene.settle();
    assert_eq!(scene.runs(), Some((GOOD, 2)));
    assert_eq!(scene.says(), (Some(GOOD), None));
    let (state, reason, message) = scene.condition("Ready");
    assert_eq!((state.as_str(), reason.as_str()), ("False", "Revoked"));
    assert!(
        message.contains("poisoned") && message.contains("goes on serving"),
        "{message}"
    );
    // A pod of it that is lost comes back: a drained node is no outage.
    scene.set_rollout(2, 2, 1);
    scene.settle();
    assert_eq!(scene.runs(), Some((GOOD, 2)));
}

#[test]
fn another_source_while_the_candidate_is_refused() {
    let mut scene = Scene::serving();
    scene.ask(NEXT);
    scene.step();
    scene.refused(NEXT);
    scene.settle();
    let before = scene.snapshot.deployment.clone();
    scene.edit(
        "/model/source/oci",
        json!({"reference": format!("elsewhere.example/other@{OTHER}"), "pullSecret": "other"}),
    );
    scene.step();
    assert_eq!(
        scene.snapshot.deployment, before,
        "what serves keeps its own source and secret"
    );
    assert_eq!(scene.says(), (Some(GOOD), Some(Some(OTHER))));
    let digests: Vec<_> = scene
        .snapshot
        .verifications
        .iter()
        .map(|v| v.spec.source.oci.as_ref().unwrap().digest)
        .collect();
    assert_eq!(
        digests,
        [GOOD, OTHER],
        "nobody asks about the refused one any more"
    );
    scene.verified(OTHER);
    scene.settle();
    assert_eq!(scene.runs(), Some((OTHER, 2)));
}

#[test]
fn a_candidate_refused_half_way_is_rolled_back() {
    let mut scene = Scene::serving();
    let good = scene.snapshot.deployment.clone().unwrap().spec;
    scene.ask(NEXT);
    scene.step();
    scene.verified(NEXT);
    scene.step();
    scene.set_rollout(3, 1, 2);
    assert_eq!(scene.runs(), Some((NEXT, 2)));
    scene.policy(1, &json!({"revoked": [{"digest": NEXT, "reason": "poisoned"}]}));
    scene.settle();
    assert_eq!(scene.runs(), Some((GOOD, 2)));
    assert_eq!(
        scene.snapshot.deployment.clone().unwrap().spec,
        good,
        "just as it was"
    );
    assert_eq!(scene.says(), (Some(GOOD), Some(Some(NEXT))));
}

#[test]
fn a_half_rolled_candidate_that_is_verified_anew_is_left_as_it_is() {
    let mut scene = Scene::serving();
    scene.ask(NEXT);
    scene.step();
    scene.verified(NEXT);
    scene.step();
    scene.set_rollout(3, 1, 2);
    scene.policy(2, &json!({}));
    scene.settle();
    assert_eq!(scene.runs(), Some((NEXT, 2)));
}

#[test]
fn what_completed_while_the_operator_was_away_counts_if_it_would_be_admitted() {
    let mut scene = Scene::serving();
    let before = scene.model.status.clone();
    scene.ask(NEXT);
    scene.step();
    scene.verified(NEXT);
    scene.step();
    scene.roll_out();
    // The operator dies before it writes that NEXT serves; meanwhile something else is asked for, and refused.
    scene.model.status = before;
    scene.ask(OTHER);
    scene.step();
    assert_eq!(scene.runs(), Some((NEXT, 2)), "while it is looked at");
    scene.refused(OTHER);
    scene.settle();
    assert_eq!(scene.runs(), Some((NEXT, 2)));
    assert_eq!(scene.says(), (Some(NEXT), Some(Some(OTHER))));
}

/// Content nobody admitted, put into the Deployment by hand, while a candidate is waited for, unreadable or refused.
#[test_case(|scene| { scene.step(); }; "while a candidate is looked at")]
#[test_case(|scene| { scene.step(); scene.unreadable(NEXT); }; "while it cannot be looked at")]
#[test_case(|scene| { scene.step(); scene.refused(NEXT); }; "while it is refused")]
#[test_case(|scene| scene.ask_for_tag("2", json!(null)); "while a tag is looked up")]
#[test_case(|scene| scene.ask(GOOD); "while nothing else is asked for")]
fn content_put_into_the_deployment_by_hand_is_taken_out(change: fn(&mut Scene)) {
    let mut scene = Scene::serving();
    let good = scene.snapshot.deployment.clone().unwrap().spec;
    scene.ask(NEXT);
    change(&mut scene);
    scene.settle();
    scene.tamper(FETCH_ARGS, json!(reference(OTHER)));
    scene.settle();
    assert_eq!(scene.snapshot.deployment.clone().unwrap().spec, good);
    assert_eq!(scene.says().0, Some(GOOD));
}

#[test_case("/spec/template/spec/initContainers", json!([]); "no fetch container at all")]
#[test_case("/spec/template/spec/initContainers/0/name", json!("fetch"); "under another name")]
#[test_case(FETCH_ARGS, json!("registry.example/models/digits:1"); "not pinned")]
#[test_case("/spec/template/spec/initContainers/0/args", json!(["fetch"]); "without a reference")]
fn a_template_that_cannot_be_read_is_replaced_by_the_last_good_one(pointer: &str, value: Value) {
    let mut scene = Scene::serving();
    let good = scene.snapshot.deployment.clone().unwrap().spec;
    scene.ask(NEXT);
    scene.step();
    scene.refused(NEXT);
    scene.settle();
    scene.tamper(pointer, value);
    scene.settle();
    assert_eq!(scene.snapshot.deployment.clone().unwrap().spec, good);
    assert_eq!(scene.says(), (Some(GOOD), Some(Some(NEXT))));
}

#[test]
fn a_deployment_that_is_deleted_while_a_candidate_is_refused_comes_back_if_it_would_be_admitted() {
    let refused = || {
        let mut scene = Scene::serving();
        scene.ask(NEXT);
        scene.step();
        scene.refused(NEXT);
        scene.settle();
        scene.snapshot.deployment = None;
        scene
    };
    let mut scene = refused();
    scene.settle();
    assert_eq!(scene.runs(), Some((GOOD, 2)));
    assert_eq!(scene.condition("Available").0, "False");

    let mut scene = refused();
    scene.policy(1, &json!({"revoked": [{"digest": GOOD, "reason": "poisoned"}]}));
    scene.settle();
    assert_eq!(
        scene.runs(),
        None,
        "starting it again is an admission like any other"
    );
    assert_eq!(scene.says().0, None);
}

#[test]
fn a_deployment_of_somebody_else_is_not_what_serves() {
    let mut scene = Scene::serving();
    let foreign = scene.snapshot.deployment.as_mut().unwrap();
    foreign.metadata.owner_references = None;
    let plan = scene.plan();
    assert_eq!(plan.rollout, Rollout::default());
    let mut candidate = scene.clone();
    candidate.ask(NEXT);
    candidate.step();
    candidate.refused(NEXT);
    assert_eq!(candidate.plan().serving.map(|judged| judged.subject), Some(GOOD));
}

#[test]
fn a_verification_with_the_right_name_and_another_content_is_not_believed_and_goes() {
    let mut scene = Scene::new();
    scene.step();
    scene.verified(GOOD);
    // Somebody made it before the operator did: of other content, with a verdict.
    scene.snapshot.verifications[0]
        .spec
        .source
        .oci
        .as_mut()
        .unwrap()
        .repository = "elsewhere.example/digits".into();
    let plan = scene.plan();
    assert_eq!(plan.requested.unwrap().decision.verdict, Verdict::Wait);
    assert_eq!(plan.desired.workload, None);
    assert_eq!(
        plan.desired.obsolete, scene.snapshot.verifications,
        "it is in the way of the one that is needed"
    );
}

#[test]
fn a_verification_under_a_name_that_nobody_asked_for_is_not_believed_and_goes() {
    let mut scene = Scene::new();
    scene.step();
    scene.verified(GOOD);
    scene.snapshot.verifications[0].metadata.name = Some("digits-0000000000".into());
    let plan = scene.plan();
    assert_eq!(plan.desired.workload, None);
    assert_eq!(plan.desired.obsolete.len(), 1);
}

#[test_case(json!({"verdict": "Verified", "files": 3, "size": 9}); "by nobody")]
#[test_case(json!({"verdict": "Verified", "signers": [{"key": "bank-keys/current", "fingerprint": OTHER}]}); "by a key that was not looked for")]
#[test_case(json!({"verdict": "Verified", "reason": "Unsigned"}); "and yet unsigned")]
#[test_case(json!({}); "nothing yet")]
fn a_verdict_that_does_not_hold_together_admits_nothing(status: Value) {
    let mut scene = Scene::new();
    scene.step();
    scene.looked_at(GOOD, &status);
    assert_eq!(scene.settle().desired.workload, None);
}

/// The same steps again change nothing: what was planned is what is there.
#[test_case(Scene::new(); "at first")]
#[test_case(Scene::serving(); "serving")]
#[test_case({ let mut scene = Scene::serving(); scene.ask(NEXT); scene.step(); scene.refused(NEXT); scene }; "refused")]
#[test_case({ let mut scene = Scene::serving(); scene.govern(false); scene }; "no longer governed")]
#[test_case({ let mut scene = Scene::serving(); scene.ask_for_tag("2", json!(null)); scene }; "unresolved")]
fn a_plan_that_is_carried_out_plans_the_same_again(mut scene: Scene) {
    let settled = scene.settle();
    let again = scene.plan();
    assert_eq!(again.desired.workload, settled.desired.workload);
    assert_eq!(again.desired.obsolete, []);
    let there: Vec<_> = scene
        .snapshot
        .verifications
        .iter()
        .map(kube::ResourceExt::name_any)
        .collect();
    for verification in &again.desired.verifications {
        assert!(there.contains(&verification.name_any()));
    }
}

#[test]
fn a_namespace_that_is_no_longer_governed_serves_on_and_says_why_not_ready() {
    let mut scene = Scene::serving();
    let remembered = scene.model.status.clone().unwrap().serving;
    scene.govern(false);
    scene.settle();
    assert_eq!(scene.ready(), ("False".into(), "NoPolicy".into()));
    assert_eq!(scene.runs(), Some((GOOD, 2)));
    assert_eq!(scene.snapshot.verifications, []);
    let mut serving = scene.model.status.clone().unwrap().serving;
    assert!(serving.as_mut().unwrap().unproven_since.take().is_some());
    assert_eq!(serving, remembered, "who signed it is not forgotten");
    scene.govern(true);
    scene.settle();
    scene.verified(GOOD);
    scene.settle();
    assert_eq!(scene.ready(), ("True".into(), "Serving".into()));
}

#[test]
fn only_the_models_own_verifications_are_made_or_cleared_away() {
    let mut scene = Scene::serving();
    let plan = scene.step();
    for verification in plan.desired.verifications {
        assert!(is_controlled_by(&verification, &scene.model.uid().unwrap()));
        assert!(verification.metadata.finalizers.is_none());
    }
}

#[test]
fn what_serves_and_is_revoked_goes_on_just_as_it_is() {
    let mut scene = Scene::serving();
    let before = scene.snapshot.deployment.clone().unwrap().spec.unwrap().template;
    scene.policy(1, &json!({"revoked": [{"digest": GOOD, "reason": "poisoned"}]}));
    scene.settle();
    scene.edit("/server/args", json!(["--other"]));
    scene.edit("/model/mountPath", json!("/mnt/elsewhere"));
    scene.settle();
    assert_eq!(scene.ready(), ("False".into(), "Revoked".into()));
    let after = scene.snapshot.deployment.clone().unwrap().spec.unwrap().template;
    assert!(after == before, "a changed server would be a new rollout of it");
}

#[test]
fn a_registry_that_policy_does_not_allow_is_not_asked() {
    let mut scene = Scene::new();
    scene.policy(1, &json!({"repositories": ["elsewhere.example/**"]}));
    scene.settle();
    assert_eq!(scene.snapshot.verifications, []);
    assert_eq!(scene.ready(), ("False".into(), "RepositoryNotAllowed".into()));
    scene.ask_for_tag("1", json!(null));
    scene.settle();
    assert_eq!(scene.ready(), ("False".into(), "RepositoryNotAllowed".into()));
    let status = scene.model.status.clone().unwrap();
    assert_eq!(
        status.findings.unwrap()[0].rule,
        crate::evidence::RuleId::ModelRepositories
    );
}

#[test]
fn a_policy_that_only_warns_holds_nothing_up_and_is_told() {
    let mut scene = Scene::new();
    scene.another_policy(2, "Warn");
    assert_eq!(scene.step().desired.verifications.len(), 2);
    scene.verified_under(GOOD, 1);
    assert!(
        scene.step().desired.workload.is_some(),
        "the other verification is not waited for"
    );
    assert_eq!(scene.condition("PolicySatisfied").1, "Satisfied");
    scene.roll_out();
    scene.step();
    assert_eq!(scene.ready(), ("True".into(), "Serving".into()));
    let of_auditor = |verification: &&mut ArtifactVerification| verification.spec.keys == [key(2)];
    let verification = scene.snapshot.verifications.iter_mut().find(of_auditor).unwrap();
    verification.status = serde_json::from_value(
        json!({"verdict": "Refused", "reason": "SignerMismatch", "message": "by a stranger"}),
    )
    .unwrap();
    scene.step();
    assert_eq!(scene.ready(), ("True".into(), "Serving".into()));
    let (state, reason, message) = scene.condition("PolicySatisfied");
    assert_eq!((state.as_str(), reason.as_str()), ("True", "WouldDeny"));
    assert_eq!(
        message,
        "every enforced policy is satisfied; ClusterDeploymentPolicy/another would deny it: not signed by auditor: by a stranger"
    );
    let [note] = &scene.notes[..] else {
        panic!("one Event: {:?}", scene.notes)
    };
    assert_eq!((note.reason.as_str(), note.warning), ("WouldDeny", true));
    scene.step();
    assert_eq!(scene.notes, [], "it is told once");
}

#[test]
fn a_policy_that_only_warns_never_changes_what_is_asked_for_the_others() {
    let mut scene = Scene::serving();
    let before = scene.snapshot.verifications.clone();
    scene.another_policy(2, "Audit");
    let plan = scene.step();
    assert_eq!(plan.desired.obsolete, []);
    assert!(plan.requested.unwrap().decision.admits());
    assert_eq!(scene.snapshot.verifications[..before.len()], before);
}

#[test]
fn where_nothing_is_enforced_it_serves_at_once_and_does_not_start_anew_when_more_is_known() {
    let mut scene = Scene::new();
    scene.world.rules.clear();
    scene.another_policy(2, "Audit");
    let first = scene.step().desired.workload.unwrap();
    scene.unreadable(GOOD);
    assert_eq!(scene.step().desired.workload.unwrap(), first);
    scene.roll_out();
    scene.step();
    let serving = scene.model.status.clone().unwrap().serving.unwrap();
    assert_eq!((serving.size, serving.signed_by.as_str()), (0, ""));
    assert!(
        scene
            .condition("Ready")
            .2
            .ends_with("serves, signed by nobody that a policy names")
    );
    scene.refused(GOOD);
    assert_eq!(scene.step().desired.workload.unwrap(), first);
    assert_eq!(scene.model.status.clone().unwrap().serving.unwrap().size, 604_211);
    assert_eq!(
        scene.condition("PolicySatisfied").1,
        "Satisfied",
        "what only audits is not shouted"
    );
    assert_eq!(scene.ready(), ("True".into(), "Serving".into()));
}

#[test]
fn an_approval_lets_it_serve_until_it_expires_and_then_it_serves_on() {
    let mut scene = Scene::new();
    let expires = scene.clock + 100;
    let time = Timestamp::from_second(expires).unwrap();
    scene.policy(
        1,
        &json!({"approved": [{"digest": GOOD, "by": "Ada", "expires": time}]}),
    );
    scene.step();
    scene.looked_at(
        GOOD,
        &json!({"verdict": "Refused", "reason": "Unsigned", "message": "no signature", "files": 3, "size": 604_211}),
    );
    assert_eq!(
        scene.step().until(),
        Some(time),
        "the model is looked at again then"
    );
    scene.roll_out();
    scene.step();
    assert_eq!(scene.ready(), ("True".into(), "Serving".into()));
    let serving = scene.model.status.clone().unwrap().serving.unwrap();
    assert_eq!(serving.signed_by, "Ada (approval)");
    scene.clock = expires;
    assert_eq!(scene.step().until(), None);
    assert_eq!(scene.ready(), ("False".into(), "Unsigned".into()));
    assert!(
        scene
            .condition("Ready")
            .2
            .contains("the approval by Ada expired at"),
        "{:?}",
        scene.condition("Ready")
    );
    assert_eq!(scene.runs(), Some((GOOD, 2)));
}

/// How much memory the planned server may take.
fn limit(plan: &Plan) -> Option<String> {
    let workload = plan.desired.workload.as_ref()?;
    let pod = workload.deployment.spec.as_ref()?.template.spec.as_ref()?;
    let limits = pod.containers[0].resources.as_ref()?.limits.as_ref()?;
    limits.get("memory").map(|limit| limit.0.clone())
}

fn harden(scene: &mut Scene) {
    scene.world.rules[0].isolation.hardening = Some(Hardening::Restricted);
}

fn unproven(scene: &Scene) -> bool {
    let status = scene.model.status.as_ref().unwrap();
    status.serving.as_ref().unwrap().unproven_since.is_some()
}

#[test]
fn what_serves_is_as_good_as_before_when_it_is_asked_for_without_a_limit() {
    let mut scene = Scene::serving();
    scene.edit("/server/resources", json!({"limits": {"memory": "1Gi"}}));
    scene.step();
    scene.roll_out();
    scene.step();
    harden(&mut scene);
    scene.step();
    assert_eq!(scene.ready(), ("True".into(), "Serving".into()));
    scene.edit("/server/resources", json!(null));
    let plan = scene.step();
    assert_eq!(scene.ready(), ("False".into(), "NotHardened".into()));
    assert_eq!(limit(&plan).as_deref(), Some("1Gi"), "what serves stays as it is");
    assert!(!unproven(&scene));
}

#[test]
fn what_serves_without_a_limit_goes_on_until_it_is_asked_for_with_one() {
    let mut scene = Scene::serving();
    harden(&mut scene);
    let plan = scene.step();
    assert_eq!(scene.ready(), ("False".into(), "NotHardened".into()));
    assert!(plan.desired.workload.is_some());
    assert!(unproven(&scene));
    scene.edit("/server/resources", json!({"limits": {"memory": "1Gi"}}));
    let plan = scene.step();
    assert_eq!(limit(&plan).as_deref(), Some("1Gi"));
    scene.roll_out();
    scene.step();
    assert_eq!(scene.ready(), ("True".into(), "Serving".into()));
    assert!(!unproven(&scene));
}
