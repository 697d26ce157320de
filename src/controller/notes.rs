//! What people are told of a model as Events: what is different between two of its statuses, whoever wrote them.
//! Pure.

use super::{
    Note,
    condition::{State, find},
};
use crate::api::v1alpha1::ModelDeploymentStatus;

/// The reason of `PolicySatisfied` while a policy that only warns does not hold.
pub(super) const WOULD_DENY: &str = "WouldDeny";
/// The reason of `PolicySatisfied` while somebody took upon themselves what does not hold.
pub(super) const WAIVED: &str = "Waived";
/// The reason of `Ready` and `Available` while what serves is cut off, and its network was seen to be shut.
pub(super) const QUARANTINED: &str = "Quarantined";
/// The same while its pods take no new connections, and nobody saw that its network is shut as well.
pub(super) const QUARANTINE_PARTIAL: &str = "QuarantinePartial";
/// The same once its server is scaled to zero.
pub(super) const STOPPED: &str = "Stopped";

/// The Events that tell what changed between two statuses.
pub fn notes(old: Option<&ModelDeploymentStatus>, new: &ModelDeploymentStatus) -> Vec<Note> {
    let ready = |status: &ModelDeploymentStatus| find(status.conditions.as_deref(), "Ready").cloned();
    let stalled = |status: &ModelDeploymentStatus| find(status.conditions.as_deref(), "Stalled").is_some();
    let mut notes = Vec::new();
    let served = old
        .and_then(|old| old.serving.as_ref())
        .map(|serving| serving.digest);
    if let Some(serving) = new
        .serving
        .as_ref()
        .filter(|serving| Some(serving.digest) != served)
    {
        notes.push(Note {
            warning: false,
            reason: "Serving".into(),
            action: "RollOut",
            message: format!("{} serves now, {}", serving.version, signed(&serving.signed_by)),
        });
    }
    notes.extend(warning(old, new));
    notes.extend(released(old, new));
    let Some(now) = ready(new).filter(|now| now.status != State::True.as_str()) else {
        return notes;
    };
    let before = old.and_then(ready);
    let other_reason = before.as_ref().is_none_or(|before| before.reason != now.reason);
    let other_message = before.as_ref().is_none_or(|before| before.message != now.message);
    // What is final is told whenever it reads differently; what is under way only when it turns into something else, for
    // its message counts pods and seconds.
    let (warning, action, tell) = match now.reason.as_str() {
        "RollingOut" => (false, "RollOut", other_reason),
        "Resolving" | "Verifying" | "Measuring" | "ScaledToZero" => return notes,
        QUARANTINED | QUARANTINE_PARTIAL => (true, "Quarantine", other_reason || other_message),
        STOPPED => (true, "Stop", other_reason || other_message),
        _ if stalled(new) => (true, "Refuse", other_reason || other_message),
        _ => (true, "Retry", other_reason),
    };
    if tell {
        notes.push(Note {
            warning,
            reason: now.reason,
            action,
            message: now.message,
        });
    }
    notes
}

/// What was cut off and is no more, when it is the same that serves.
fn released(old: Option<&ModelDeploymentStatus>, new: &ModelDeploymentStatus) -> Option<Note> {
    let before = old?.serving.as_ref().filter(|before| before.response.is_some())?;
    let now = new.serving.as_ref()?;
    let released = now.digest == before.digest && now.response.is_none();
    released.then(|| Note {
        warning: false,
        reason: "Released".into(),
        action: "Release",
        message: format!("{} takes traffic again", now.version),
    })
}

/// What is tolerated of a model, when that is something else than before: that a policy which only warns would deny it, or that
/// somebody waived what one that is enforced says.
fn warning(old: Option<&ModelDeploymentStatus>, new: &ModelDeploymentStatus) -> Option<Note> {
    let of = |status: &ModelDeploymentStatus| {
        find(status.conditions.as_deref(), "PolicySatisfied")
            .filter(|condition| condition.reason == WOULD_DENY || condition.reason == WAIVED)
            .cloned()
    };
    let (before, now) = (old.and_then(of), of(new)?);
    let same = before.is_some_and(|before| before.message == now.message);
    let action = if now.reason == WAIVED { "Waive" } else { "Warn" };
    (!same).then_some(Note {
        warning: true,
        reason: now.reason,
        action,
        message: now.message,
    })
}

/// Who signed, as part of a sentence.
pub(super) fn signed(by: &str) -> String {
    if by.is_empty() {
        // Which serves only where no policy that is enforced asks for a signature.
        return "signed by nobody that a policy names".to_owned();
    }
    format!("signed by {by}")
}
