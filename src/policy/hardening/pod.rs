//! What is asked of the pod as a whole: nothing of the node's is in it, and what its containers inherit is sound.
//! Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodSpec, Volume};

use super::{Lack, container};

/// The kernel's settings that belong to the pod's own namespaces and harm nobody else.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];
/// The older way to choose a profile for a container, which API servers still heed.
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

pub(super) fn lacks(pod: &PodSpec, annotations: &BTreeMap<String, String>) -> Vec<Lack> {
    let mut found = Vec::new();
    let shared = [
        ("hostNetwork", pod.host_network),
        ("hostPID", pod.host_pid),
        ("hostIPC", pod.host_ipc),
    ];
    for (field, value) in shared {
        if value == Some(true) {
            found.push(Lack::new("spec", field, "true", "left out"));
        }
    }
    for (key, value) in annotations {
        let safe = value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
        if key.starts_with(APP_ARMOR) && !safe {
            found.push(Lack::new(
                "metadata",
                format!("annotations[{key}]"),
                value,
                "runtime/default",
            ));
        }
    }
    let volumes = pod.volumes.iter().flatten();
    found.extend(volumes.filter_map(volume));
    let Some(context) = &pod.security_context else {
        return found;
    };
    let at = "spec";
    for sysctl in context.sysctls.iter().flatten() {
        if !SAFE_SYSCTLS.contains(&sysctl.name.as_str()) {
            let field = format!("securityContext.sysctls[{}]", sysctl.name);
            found.push(Lack::new(at, field, &sysctl.value, "left out"));
        }
    }
    if context.run_as_user == Some(0) {
        found.push(Lack::new(
            at,
            "securityContext.runAsUser",
            "0",
            "a user that is not root",
        ));
    }
    // What containers inherit is said once, here, also where none of them does.
    if context.run_as_non_root == Some(false) {
        found.push(Lack::new(at, "securityContext.runAsNonRoot", "false", "true"));
    }
    if let Some(profile) = context
        .seccomp_profile
        .as_ref()
        .filter(|one| !container::confines(one))
    {
        let field = "securityContext.seccompProfile.type";
        found.push(Lack::new(at, field, &profile.type_, container::SECCOMP));
    }
    if let Some(profile) = &context.app_armor_profile {
        container::app_armor(at, &profile.type_, &mut found);
    }
    if let Some(options) = &context.se_linux_options {
        container::se_linux(at, options, &mut found);
    }
    let windows = context.windows_options.as_ref();
    container::host_process(at, windows, &mut found);
    found
}

/// A volume that is neither the pod's own nor claimed by it.
fn volume(volume: &Volume) -> Option<Lack> {
    let sound = volume.config_map.is_some()
        || volume.csi.is_some()
        || volume.downward_api.is_some()
        || volume.empty_dir.is_some()
        || volume.ephemeral.is_some()
        || volume.image.is_some()
        || volume.persistent_volume_claim.is_some()
        || volume.projected.is_some()
        || volume.secret.is_some();
    if sound {
        return None;
    }
    // Kinds are many, and each is a member beside the name.
    let written = serde_json::to_value(volume).unwrap_or_default();
    let mut members = written.as_object().into_iter().flat_map(|fields| fields.keys());
    let kind = members
        .find(|key| *key != "name")
        .map_or("unknown", |key| key.as_str());
    Some(Lack::new(
        "spec",
        format!("volumes[{}]", volume.name),
        format!("a {kind}"),
        "a volume of the pod's own or a persistentVolumeClaim",
    ))
}
