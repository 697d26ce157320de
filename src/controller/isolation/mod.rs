//! The network of one model: what its NetworkPolicy should be, bring it there, mend it when somebody else edits it, and say what
//! is known of it. What may pass is policy's to say; here it is only carried out.

pub(super) mod cluster;
mod drift;
mod isolated;
mod probe;

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::Pod, networking::v1::NetworkPolicy},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{Api, ResourceExt as _};

use super::{
    Context, Error, Note,
    condition::{self, Wanted},
};
use crate::{
    api::v1alpha1::ModelDeployment,
    cluster::{Applied, is_controlled_by},
    policy::{NetworkWish, World, network_wish},
    workload::{Openings, cut_off_network, network_policy, network_policy_name, shut_out},
};
pub(super) use cluster::ClusterPolicies;
use drift::changed_by;
use isolated::{ISOLATED, isolated};
pub use probe::{
    BACK_PORT, CANARIES, CLOSED_PORT, Enforcement, NOT_BACK_PORT, OPEN_PORT, Seen as SeenOfNode,
};
pub(super) use probe::{Probes, run};

/// What became of a model's NetworkPolicy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Isolation {
    /// Nobody asks for one, and there is none.
    Open,
    /// A NetworkPolicy of its name is somebody else's; it was left alone.
    NameTaken(String),
    /// It cannot be told which pods are the model's: the workload is not there.
    NoPods,
    /// It is there as planned.
    Applied(Closed),
}

/// A NetworkPolicy that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Closed {
    /// Its name.
    pub name: String,
    /// Whether it closes the way in.
    pub ingress: bool,
    /// Whether it closes the way out.
    pub egress: bool,
    /// What is declared and stays closed all the same, by its place in the specification.
    pub shut_out: Vec<String>,
}

/// What is to be told of a model's network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The object whose name somebody else has, as `Kind name`.
    pub name_taken: Option<String>,
    /// `Isolated`, where anybody asks for it.
    pub condition: Option<Wanted>,
}

/// One look at the network of a model, whose pods these are. `selector` is for those and any to come, if it can be told. While
/// the model is `cut` off, nothing comes in or goes out, whoever asks for isolation or not.
pub(super) async fn isolate(
    context: &Context,
    model: &ModelDeployment,
    (world, now): (&World, Timestamp),
    selector: Option<LabelSelector>,
    pods: &[Pod],
    cut: bool,
) -> Result<Seen, Error> {
    cluster::shut(context, model, selector.as_ref(), cut).await;
    let wish = if cut {
        NetworkWish::Closed(Openings::NONE)
    } else {
        network_wish(model, world, now)
    };
    let isolation = carry_out(context, model, wish, selector, cut).await?;
    let name_taken = match &isolation {
        Isolation::NameTaken(name) => Some(format!("NetworkPolicy {name}")),
        Isolation::Open | Isolation::NoPods | Isolation::Applied(_) => None,
    };
    Ok(Seen {
        name_taken,
        condition: isolated(&isolation, pods, &context.probes.told()),
    })
}

/// Brings the model's NetworkPolicy to what is wanted.
async fn carry_out(
    context: &Context,
    model: &ModelDeployment,
    wish: NetworkWish,
    selector: Option<LabelSelector>,
    cut: bool,
) -> Result<Isolation, Error> {
    let (uid, name) = (model.uid().unwrap_or_default(), network_policy_name(model));
    let api: Api<NetworkPolicy> = context.api(&model.namespace().unwrap_or_default());
    let there = context.applier.read(&api, &name).await?;
    let ours = there.as_ref().filter(|there| is_controlled_by(*there, &uid));
    let openings = match wish {
        NetworkWish::Closed(openings) => openings,
        NetworkWish::AsItIs => return Ok(ours.map_or(Isolation::Open, standing)),
        NetworkWish::None => {
            if let Some(ours) = ours {
                context.applier.delete(&api, ours).await?;
            }
            return Ok(Isolation::Open);
        }
    };
    let Some(selector) = selector else {
        return Ok(Isolation::NoPods);
    };
    let settings = &context.settings.network;
    let desired = network_policy(model, selector, &openings, settings);
    let desired = if cut { cut_off_network(desired) } else { desired };
    let mended = mended(model, ours, &desired);
    let closed = Closed {
        name: name.clone(),
        ingress: openings.ingress.is_some(),
        egress: openings.egress.is_some(),
        shut_out: shut_out(openings.egress.as_deref().unwrap_or_default(), settings),
    };
    match context.applier.apply(&api, there.as_ref(), &uid, desired).await? {
        Applied::NameTaken => Ok(Isolation::NameTaken(name)),
        Applied::Done(_) => {
            if let Some(note) = mended {
                context.publish(model, note).await;
            }
            Ok(Isolation::Applied(closed))
        }
    }
}

/// What is told of one that has to be made again: that somebody took it away, or who changed it. None when it is new, or was as
/// it was left.
fn mended(model: &ModelDeployment, ours: Option<&NetworkPolicy>, desired: &NetworkPolicy) -> Option<Note> {
    let name = desired.name_any();
    let message = match ours {
        Some(ours) => {
            let by = changed_by(ours, desired)?;
            format!("NetworkPolicy {name} was changed by {by} and is as planned again")
        }
        None if was_there(model) => format!("NetworkPolicy {name} was gone and is made again"),
        None => return None,
    };
    Some(Note {
        warning: true,
        reason: "NetworkPolicyRepaired".into(),
        action: "Repair",
        message,
    })
}

/// Whether the status says that the model had one when it was looked at last.
fn was_there(model: &ModelDeployment) -> bool {
    let conditions = model
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref());
    condition::find(conditions, ISOLATED)
        .is_some_and(|found| isolated::IS_THERE.contains(&found.reason.as_str()))
}

/// One that is left as it is.
fn standing(there: &NetworkPolicy) -> Isolation {
    let closes = |direction: &str| {
        let types = there
            .spec
            .iter()
            .flat_map(|spec| spec.policy_types.iter().flatten());
        types.into_iter().any(|one| one == direction)
    };
    Isolation::Applied(Closed {
        name: there.name_any(),
        ingress: closes("Ingress"),
        egress: closes("Egress"),
        shut_out: Vec::new(),
    })
}
