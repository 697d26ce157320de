//! The containers of a pod of all three kinds, as far as they are asked the same.
//! It only looks.

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EphemeralContainer, Lifecycle, LifecycleHandler, PodSpec, Probe,
    ResourceRequirements, SecurityContext,
};

/// A container of any kind.
pub(super) struct Part<'a> {
    /// The list it is in.
    pub list: &'static str,
    pub name: &'a str,
    pub image: Option<&'a str>,
    pub context: Option<&'a SecurityContext>,
    pub ports: &'a [ContainerPort],
    /// Whether Kubernetes lets it have limits of its own.
    pub may_have_limits: bool,
    /// Its requests and limits.
    pub resources: Option<&'a ResourceRequirements>,
    probes: [(&'static str, Option<&'a Probe>); 3],
    lifecycle: Option<&'a Lifecycle>,
}

impl<'a> Part<'a> {
    /// As `spec.containers[server]`.
    pub fn path(&self) -> String {
        format!("spec.{}[{}]", self.list, self.name)
    }

    /// Other hosts that a node would be sent to on the container's behalf, each with its field.
    pub fn hosts(&self) -> impl Iterator<Item = (String, &'a str)> + use<'a> {
        let probes = self.probes.into_iter().filter_map(|(name, probe)| {
            let probe = probe?;
            let get = probe.http_get.as_ref().and_then(|get| get.host.as_deref());
            let connect = probe.tcp_socket.as_ref().and_then(|to| to.host.as_deref());
            Some((name, get, connect))
        });
        let hook = |name, hook: Option<&'a LifecycleHandler>| {
            let hook = hook?;
            let get = hook.http_get.as_ref().and_then(|get| get.host.as_deref());
            let connect = hook.tcp_socket.as_ref().and_then(|to| to.host.as_deref());
            Some((name, get, connect))
        };
        let hooks = self.lifecycle.map(|cycle| {
            [
                hook("lifecycle.postStart", cycle.post_start.as_ref()),
                hook("lifecycle.preStop", cycle.pre_stop.as_ref()),
            ]
        });
        let all = probes.chain(hooks.into_iter().flatten().flatten());
        all.flat_map(|(name, get, connect)| {
            let get = get.map(|host| (format!("{name}.httpGet.host"), host));
            let connect = connect.map(|host| (format!("{name}.tcpSocket.host"), host));
            get.into_iter().chain(connect)
        })
        .filter(|(_, host)| !host.is_empty())
    }
}

/// Every container of the pod, in the order in which they start.
pub(super) fn all(pod: &PodSpec) -> impl Iterator<Item = Part<'_>> {
    let init = pod.init_containers.iter().flatten();
    let init = init.map(|one| of("initContainers", one));
    let main = pod.containers.iter().map(|one| of("containers", one));
    let ephemeral = pod.ephemeral_containers.iter().flatten().map(of_ephemeral);
    init.chain(main).chain(ephemeral)
}

fn of<'a>(list: &'static str, one: &'a Container) -> Part<'a> {
    Part {
        list,
        name: &one.name,
        image: one.image.as_deref(),
        context: one.security_context.as_ref(),
        ports: one.ports.as_deref().unwrap_or_default(),
        may_have_limits: true,
        resources: one.resources.as_ref(),
        probes: [
            ("livenessProbe", one.liveness_probe.as_ref()),
            ("readinessProbe", one.readiness_probe.as_ref()),
            ("startupProbe", one.startup_probe.as_ref()),
        ],
        lifecycle: one.lifecycle.as_ref(),
    }
}

fn of_ephemeral(one: &EphemeralContainer) -> Part<'_> {
    Part {
        list: "ephemeralContainers",
        name: &one.name,
        image: one.image.as_deref(),
        context: one.security_context.as_ref(),
        ports: one.ports.as_deref().unwrap_or_default(),
        may_have_limits: false,
        resources: None,
        probes: [
            ("livenessProbe", one.liveness_probe.as_ref()),
            ("readinessProbe", one.readiness_probe.as_ref()),
            ("startupProbe", one.startup_probe.as_ref()),
        ],
        lifecycle: one.lifecycle.as_ref(),
    }
}
