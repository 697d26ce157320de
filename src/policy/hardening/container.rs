//! What is asked of each container, of whichever kind: no way to more rights, none to the node, and limits.
//! Pure. What it inherits from the pod counts as its own, and is spoken of where it is written.

use k8s_openapi::api::core::v1::{PodSpec, SELinuxOptions, SeccompProfile, WindowsSecurityContextOptions};

use super::{Lack, limits_memory, part::Part};

const SE_LINUX_TYPES: [&str; 5] = [
    "",
    "container_t",
    "container_init_t",
    "container_kvm_t",
    "container_engine_t",
];
pub(super) const SECCOMP: &str = "RuntimeDefault or Localhost";
const MEMORY: &str = "a limit, such as 1Gi";

pub(super) fn lacks(part: &Part<'_>, pod: &PodSpec, found: &mut Vec<Lack>) {
    let at = part.path();
    security(part, pod, &at, found);
    for port in part.ports {
        if let Some(on_node) = port.host_port.filter(|port| *port != 0) {
            let field = format!("ports[{}].hostPort", port.container_port);
            found.push(Lack::new(&at, field, on_node.to_string(), "left out"));
        }
    }
    for (field, host) in part.hosts() {
        found.push(Lack::new(&at, field, host, "left out: the pod itself"));
    }
    // An ephemeral container lives within what the pod has.
    if part.may_have_limits {
        let resources = part.resources;
        let limited = limits_memory(resources) || limits_memory(pod.resources.as_ref());
        if !limited {
            let is = resources
                .and_then(|resources| resources.limits.as_ref()?.get("memory"))
                .map_or("unset", |limit| &limit.0);
            found.push(Lack::new(&at, "resources.limits.memory", is, MEMORY));
        }
    }
}

fn security(part: &Part<'_>, pod: &PodSpec, at: &str, found: &mut Vec<Lack>) {
    let inherited = pod.security_context.as_ref();
    let own = part.context;
    let mut lack = |field: &str, is: String, should| {
        found.push(Lack::new(at, format!("securityContext.{field}"), is, should));
    };
    if own.and_then(|own| own.privileged) == Some(true) {
        lack("privileged", "true".into(), "left out");
    }
    let escalates = own.and_then(|own| own.allow_privilege_escalation);
    if escalates != Some(false) {
        lack("allowPrivilegeEscalation", said(escalates), "false");
    }
    let read_only = own.and_then(|own| own.read_only_root_filesystem);
    if read_only != Some(true) {
        lack(
            "readOnlyRootFilesystem",
            said(read_only),
            "true, with an emptyDir where it writes",
        );
    }
    let not_root = own.and_then(|own| own.run_as_non_root);
    let inherits = inherited.is_some_and(|pod| pod.run_as_non_root.is_some());
    if not_root != Some(true) && !(not_root.is_none() && inherits) {
        lack("runAsNonRoot", said(not_root), "true");
    }
    if own.and_then(|own| own.run_as_user) == Some(0) {
        lack("runAsUser", "0".into(), "a user that is not root");
    }
    let seccomp = own.and_then(|own| own.seccomp_profile.as_ref());
    let inherits = inherited.is_some_and(|pod| pod.seccomp_profile.is_some());
    if !seccomp.map_or(inherits, confines) {
        let is = seccomp.map_or("unset", |profile| &profile.type_);
        lack("seccompProfile.type", is.into(), SECCOMP);
    }
    let capabilities = own.and_then(|own| own.capabilities.as_ref());
    let dropped = capabilities.and_then(|all| all.drop.as_ref());
    if !dropped.is_some_and(|dropped| dropped.iter().any(|one| one == "ALL")) {
        let is = dropped.map_or_else(|| "unset".into(), |dropped| format!("[{}]", dropped.join(", ")));
        lack("capabilities.drop", is, "[ALL]");
    }
    let added = capabilities.and_then(|all| all.add.as_ref());
    if let Some(added) = added.filter(|added| added.iter().any(|one| one != "NET_BIND_SERVICE")) {
        lack(
            "capabilities.add",
            format!("[{}]", added.join(", ")),
            "left out, or [NET_BIND_SERVICE]",
        );
    }
    let proc = own.and_then(|own| own.proc_mount.as_deref());
    if let Some(proc) = proc.filter(|proc| *proc != "Default") {
        lack("procMount", proc.into(), "Default");
    }
    let Some(own) = own else { return };
    if let Some(profile) = &own.app_armor_profile {
        app_armor(at, &profile.type_, found);
    }
    if let Some(options) = &own.se_linux_options {
        se_linux(at, options, found);
    }
    host_process(at, own.windows_options.as_ref(), found);
}

pub(super) fn confines(profile: &SeccompProfile) -> bool {
    matches!(profile.type_.as_str(), "RuntimeDefault" | "Localhost")
}

fn said(value: Option<bool>) -> String {
    value.map_or_else(|| "unset".into(), |value| value.to_string())
}

pub(super) fn app_armor(at: &str, profile: &str, found: &mut Vec<Lack>) {
    if !matches!(profile, "RuntimeDefault" | "Localhost") {
        found.push(Lack::new(
            at,
            "securityContext.appArmorProfile.type",
            profile,
            "RuntimeDefault or Localhost",
        ));
    }
}

pub(super) fn se_linux(at: &str, options: &SELinuxOptions, found: &mut Vec<Lack>) {
    let kind = options.type_.as_deref().unwrap_or_default();
    if !SE_LINUX_TYPES.contains(&kind) {
        found.push(Lack::new(
            at,
            "securityContext.seLinuxOptions.type",
            kind,
            "container_t, or left out",
        ));
    }
    for (field, value) in [("user", &options.user), ("role", &options.role)] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            found.push(Lack::new(
                at,
                format!("securityContext.seLinuxOptions.{field}"),
                value,
                "left out",
            ));
        }
    }
}

pub(super) fn host_process(at: &str, options: Option<&WindowsSecurityContextOptions>, found: &mut Vec<Lack>) {
    if options.and_then(|options| options.host_process) == Some(true) {
        found.push(Lack::new(
            at,
            "securityContext.windowsOptions.hostProcess",
            "true",
            "left out",
        ));
    }
}
