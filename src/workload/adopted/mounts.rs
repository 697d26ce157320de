//! Who in a pod mounts what where, by the identity of volumes: two names of one claim are one volume, two spellings of a
//! path one path. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume, VolumeMount};

use super::{AdoptedSource, Adoption, MODEL_VOLUME, Source, VERIFY_CONTAINER, verifier};
use crate::workload::images::same_image;

/// Every container of the pod with the list it is in, Probity's own not counted.
pub(super) fn all(pod: &PodSpec) -> impl Iterator<Item = (&'static str, &Container)> {
    let init = pod
        .init_containers
        .iter()
        .flatten()
        .map(|one| ("initContainers", one));
    let main = pod.containers.iter().map(|one| ("containers", one));
    init.chain(main).filter(|(_, one)| one.name != VERIFY_CONTAINER)
}

/// Whether an init container goes on beside the server.
pub(super) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Whether it runs while the server does: an init container that ends does not.
fn serves(list: &str, container: &Container) -> bool {
    list == "containers" || is_sidecar(container)
}

pub(super) fn mounts(container: &Container) -> impl Iterator<Item = &VolumeMount> {
    container.volume_mounts.iter().flatten()
}

/// One spelling of a path: no empty parts, no `.`.
fn normal(path: &str) -> String {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts.fold(String::new(), |path, part| format!("{path}/{part}"))
}

/// The path of the mount, as the kernel sees it; none when it climbs, which only the kernel can follow.
fn place(mount: &VolumeMount) -> Option<String> {
    let climbs = mount.mount_path.split('/').any(|part| part == "..");
    (!climbs).then(|| normal(&mount.mount_path))
}

/// Whether the container has something mounted at this path.
pub(super) fn is_mounted_at(container: &Container, path: &str) -> bool {
    mounts(container).any(|mount| place(mount).as_deref() == Some(path))
}

/// What the verifier of this pod reads.
///
/// # Errors
/// Nothing is mounted where the model should be, or not the same thing everywhere.
pub(super) fn source(pod: &PodSpec, adoption: &Adoption) -> Result<Source, String> {
    match &adoption.source {
        AdoptedSource::Registry(_) => return Ok(Source::Elsewhere),
        AdoptedSource::Claim { .. } => return Ok(Source::Own),
        AdoptedSource::Mounted { .. } => {}
    }
    if let Some(there) = verifier::of(pod).and_then(verifier::reads) {
        return Ok(Source::Mount {
            volume: there.name.clone(),
            sub_path: there.sub_path.clone().filter(|path| !path.is_empty()),
        });
    }
    let path = &adoption.mount_path;
    let serving = all(pod).filter(|(list, one)| serves(list, one));
    let found: BTreeSet<(&str, Option<&str>)> = serving
        .flat_map(|(_, one)| mounts(one))
        .filter(|mount| place(mount).as_ref() == Some(path))
        .map(|mount| {
            (
                mount.name.as_str(),
                mount.sub_path.as_deref().filter(|path| !path.is_empty()),
            )
        })
        .collect();
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some((volume, sub_path)), None) => Ok(Source::Mount {
            volume: volume.to_owned(),
            sub_path: sub_path.map(ToOwned::to_owned),
        }),
        (None, _) => Err(format!(
            "spec.containers: none of them mounts anything at {path}, where the model should be: mount it there, or say in the ModelDeployment's spec.model.mountPath where it is"
        )),
        (Some(_), Some(_)) => Err(format!(
            "spec.containers: they mount different things at {path}, and only one can be the model"
        )),
    }
}

/// Mounts by which somebody would read, or write, the model other than verified.
pub(super) fn problems(pod: &PodSpec, adoption: &Adoption, source: &Source) -> Vec<String> {
    let unverified: BTreeSet<&str> = pod
        .volumes
        .iter()
        .flatten()
        .filter(|volume| is_source(pod, volume, adoption, source))
        .map(|volume| volume.name.as_str())
        .collect();
    all(pod)
        .flat_map(|(list, one)| of_container(list, one, adoption, &unverified))
        .collect()
}

/// Whether the volume holds what is not verified yet, under whichever name.
fn is_source(pod: &PodSpec, volume: &Volume, adoption: &Adoption, source: &Source) -> bool {
    let claim = |volume: &Volume| {
        let claim = volume.persistent_volume_claim.as_ref();
        claim.map(|claim| claim.claim_name.clone())
    };
    match (&adoption.source, source) {
        (AdoptedSource::Claim { claim: wanted, .. }, _) => claim(volume).as_ref() == Some(wanted),
        (AdoptedSource::Mounted { .. }, Source::Mount { volume: name, .. }) => {
            let read = pod.volumes.iter().flatten().find(|one| one.name == *name);
            let image = |volume: &Volume| volume.image.as_ref().and_then(|image| image.reference.clone());
            let same_claim = read
                .and_then(claim)
                .is_some_and(|read| claim(volume) == Some(read));
            let same_image = read
                .and_then(image)
                .is_some_and(|read| image(volume).is_some_and(|there| same_image(&there, &read)));
            volume.name == *name || same_claim || same_image
        }
        _ => false,
    }
}

fn of_container(
    list: &str,
    container: &Container,
    adoption: &Adoption,
    unverified: &BTreeSet<&str>,
) -> Vec<String> {
    let path = &adoption.mount_path;
    let at = format!("spec.{list}[{}]", container.name);
    let serves = serves(list, container);
    let brings = matches!(adoption.source, AdoptedSource::Mounted { .. }) && !serves;
    let mut found = Vec::new();
    let mut here = 0;
    for mount in mounts(container) {
        let at = format!("{at}.volumeMounts[{}]", mount.name);
        let Some(place) = place(mount) else {
            found.push(format!("{at}.mountPath: climbs with ..: write the path itself"));
            continue;
        };
        let is_here = place == *path;
        here += usize::from(is_here);
        if place
            .strip_prefix(path.as_str())
            .is_some_and(|rest| rest.starts_with('/'))
        {
            found.push(format!(
                "{at}.mountPath: {place} would hide a part of the model at {path}: mount it elsewhere"
            ));
        } else if mount.name == MODEL_VOLUME && !(serves && is_here) {
            found.push(format!(
                "{at}: the verified copy is only at {path}, and only for containers that serve"
            ));
        } else if unverified.contains(mount.name.as_str()) && !brings && !(serves && is_here) {
            found.push(format!(
                "{at}: is where the model comes from, and nothing is verified there: read the model at {path}, and leave this mount out"
            ));
        }
    }
    if here > 1 {
        found.push(format!(
            "{at}.volumeMounts: {here} of them are at {path}: keep one"
        ));
    }
    let devices = container.volume_devices.iter().flatten();
    if let Some(device) = devices
        .into_iter()
        .find(|device| unverified.contains(device.name.as_str()))
    {
        found.push(format!(
            "{at}.volumeDevices[{}]: is where the model comes from: leave it out",
            device.name
        ));
    }
    found
}

/// Lets every container that serves find the verified copy at the path, read-only: in the place of what it has there now.
/// Where none has anything there, all get it.
pub(super) fn redirect(pod: &mut PodSpec, path: &str) {
    let mut found = false;
    let init = pod
        .init_containers
        .iter_mut()
        .flatten()
        .filter(|one| is_sidecar(one));
    for container in init.chain(&mut pod.containers) {
        let mounts = container.volume_mounts.iter_mut().flatten();
        for mount in mounts.filter(|mount| place(mount).as_deref() == Some(path)) {
            found = true;
            point(mount);
        }
    }
    if found {
        return;
    }
    for container in &mut pod.containers {
        container.volume_mounts.get_or_insert_default().push(VolumeMount {
            name: MODEL_VOLUME.into(),
            mount_path: path.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        });
    }
}

/// Makes it the verified copy, whole and read-only. What is there is overwritten and not taken out, so that the change is an
/// addition.
fn point(mount: &mut VolumeMount) {
    MODEL_VOLUME.clone_into(&mut mount.name);
    mount.read_only = Some(true);
    for part in [&mut mount.sub_path, &mut mount.sub_path_expr]
        .into_iter()
        .flatten()
    {
        part.clear();
    }
    for (field, usual) in [
        (&mut mount.mount_propagation, "None"),
        (&mut mount.recursive_read_only, "Disabled"),
    ] {
        if let Some(value) = field {
            usual.clone_into(value);
        }
    }
}
