//! What can be added to a pod so that it lacks less, and nobody who wrote it is contradicted: a field that has a value keeps
//! it. Pure; done twice, the second time changes nothing.
//!
//! Added: what a process without root's rights does not miss, or what the runtime does anyway on a careful cluster.
//! Not added: a read-only root and limits, with which a program may stop working, and only its author knows. `runAsNonRoot`
//! only where a user is named that is not root, for else the node would refuse an image that runs as root much later and with
//! less to say. Nor is the account's token taken away: when admission is asked, the API server has mounted it already, and
//! what it may be used for is a question of rights.

use k8s_openapi::api::core::v1::{
    Capabilities, Container, EphemeralContainer, PodSpec, SeccompProfile, SecurityContext,
};

/// The pod with everything that is safe to add.
pub fn with_defaults(pod: &PodSpec) -> PodSpec {
    let mut pod = pod.clone();
    if pod.os.as_ref().is_some_and(|os| os.name != "linux") {
        return pod;
    }
    let shared = pod.security_context.clone().unwrap_or_default();
    let every_part = |context: &mut Option<SecurityContext>| {
        let own = context.clone().unwrap_or_default();
        let user = own.run_as_user.or(shared.run_as_user);
        let not_root = own.run_as_non_root.or(shared.run_as_non_root);
        let mut filled = own;
        // Kubernetes refuses the two together, and refuses less clearly than the answer to `privileged` does.
        if filled.allow_privilege_escalation.is_none() && !is_all_powerful(&filled) {
            filled.allow_privilege_escalation = Some(false);
        }
        if not_root.is_none() && user.is_some_and(|user| user != 0) {
            filled.run_as_non_root = Some(true);
        }
        let capabilities = filled.capabilities.get_or_insert_with(Capabilities::default);
        if capabilities.drop.is_none() {
            capabilities.drop = Some(vec!["ALL".into()]);
        }
        *context = Some(filled);
    };
    let of = |one: &mut Container| every_part(&mut one.security_context);
    pod.init_containers.iter_mut().flatten().for_each(of);
    pod.containers.iter_mut().for_each(of);
    let of_ephemeral = |one: &mut EphemeralContainer| every_part(&mut one.security_context);
    pod.ephemeral_containers
        .iter_mut()
        .flatten()
        .for_each(of_ephemeral);
    let context = pod.security_context.get_or_insert_default();
    context.seccomp_profile.get_or_insert_with(|| SeccompProfile {
        type_: "RuntimeDefault".into(),
        localhost_profile: None,
    });
    pod
}

/// Whether the container asks for what no limit on its rights would survive.
fn is_all_powerful(context: &SecurityContext) -> bool {
    let added = context
        .capabilities
        .iter()
        .flat_map(|all| all.add.iter().flatten());
    context.privileged == Some(true)
        || added
            .into_iter()
            .any(|one| matches!(one.as_str(), "SYS_ADMIN" | "CAP_SYS_ADMIN"))
}
