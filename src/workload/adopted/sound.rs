//! What no pod of a governed workload may have, whatever else is in it: ways to reach another container's files or processes.
//! Pure; each is said with its field and what to do.

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};

use super::{kserve, mounts::all};

/// All of them in this pod.
pub(super) fn problems(pod: &PodSpec) -> Vec<String> {
    let shared = [
        ("hostNetwork", pod.host_network),
        ("hostPID", pod.host_pid),
        ("hostIPC", pod.host_ipc),
        ("shareProcessNamespace", pod.share_process_namespace),
    ];
    let shared = shared
        .into_iter()
        .filter(|(_, value)| *value == Some(true))
        .map(|(field, _)| {
            format!("spec.{field}: a pod that serves a model shares nothing with the node, and its containers no processes: leave it out")
        });
    let windows = pod
        .security_context
        .as_ref()
        .and_then(|context| context.windows_options.as_ref())
        .is_some_and(|options| options.host_process == Some(true));
    let windows = windows.then(|| "spec.securityContext.windowsOptions.hostProcess: leave it out".to_owned());
    let volumes = pod.volumes.iter().flatten().filter_map(volume);
    let containers = all(pod).flat_map(|(list, container)| of_container(list, container));
    let modelcars = pod.containers.iter().filter_map(kserve::modelcar);
    // What tells the remedy best comes first, for not all is told.
    modelcars
        .chain(shared)
        .chain(windows)
        .chain(volumes)
        .chain(containers)
        .collect()
}

/// A folder of the node, where every pod's volumes lie; and volumes of a kind nobody here has heard of.
fn volume(volume: &Volume) -> Option<String> {
    let name = &volume.name;
    if volume.host_path.is_some() {
        return Some(format!(
            "spec.volumes[{name}].hostPath: the model of this pod, and of others, lies in the node's folders: use a claim"
        ));
    }
    let nameless = Volume {
        name: name.clone(),
        ..Volume::default()
    };
    (*volume == nameless)
        .then(|| format!("spec.volumes[{name}]: is of a kind that this version does not know"))
}

fn of_container(list: &str, container: &Container) -> Vec<String> {
    let at = format!("spec.{list}[{}]", container.name);
    let mut found = Vec::new();
    if let Some(context) = &container.security_context {
        if context.privileged == Some(true) {
            found.push(format!(
                "{at}.securityContext.privileged: could write what was verified: leave it out"
            ));
        }
        let added = context
            .capabilities
            .iter()
            .flat_map(|all| all.add.iter().flatten());
        if let Some(capability) = added.into_iter().find(|one| *one != "NET_BIND_SERVICE") {
            found.push(format!(
                "{at}.securityContext.capabilities.add: {capability} could reach into other containers: leave it out"
            ));
        }
        if context
            .proc_mount
            .as_deref()
            .is_some_and(|mount| mount != "Default")
        {
            found.push(format!("{at}.securityContext.procMount: leave it at Default"));
        }
        let windows = context.windows_options.as_ref();
        if windows.is_some_and(|options| options.host_process == Some(true)) {
            found.push(format!(
                "{at}.securityContext.windowsOptions.hostProcess: leave it out"
            ));
        }
    }
    let mounts = container.volume_mounts.iter().flatten();
    if let Some(mount) = mounts
        .into_iter()
        .find(|mount| mount.mount_propagation.as_deref() == Some("Bidirectional"))
    {
        found.push(format!(
            "{at}.volumeMounts[{}].mountPropagation: mounts must not reach the node: leave it out",
            mount.name
        ));
    }
    found
}
