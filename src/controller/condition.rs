//! Conditions as Kubernetes wants them: `lastTransitionTime` moves only when the status does.
//! Pure; the clock is an argument.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The three values of a condition's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is not known.
    Unknown,
}

impl State {
    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A condition as it should be, before its transition time is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// `Ready`, `Available`, …
    pub kind: &'static str,
    /// Whether it holds.
    pub state: State,
    /// The stable code.
    pub reason: String,
    /// One sentence: what is, and what to do.
    pub message: String,
}

impl Wanted {
    /// A condition.
    pub fn new(
        kind: &'static str,
        state: State,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            state,
            reason: reason.into(),
            message: message.into(),
        }
    }
}

/// What `Ready` says: what stands in the way of serving what was asked for, or that nothing does.
pub(super) struct Summary {
    pub state: State,
    pub reason: String,
    pub message: String,
    /// Nothing will change until somebody acts.
    pub stalled: bool,
}

impl Summary {
    /// Somebody has to act.
    pub fn no(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            state: State::False,
            reason: reason.into(),
            message: message.into(),
            stalled: true,
        }
    }

    /// It is under way.
    pub fn not_yet(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            stalled: false,
            ..Self::no(reason, message)
        }
    }

    /// `Ready`, and while it does not hold kstatus' word for that.
    pub fn conditions(&self) -> impl Iterator<Item = Wanted> {
        let says = |kind, state| Wanted::new(kind, state, &self.reason, &self.message);
        let kind = if self.stalled { "Stalled" } else { "Reconciling" };
        let why = (self.state != State::True).then(|| says(kind, State::True));
        [says("Ready", self.state)].into_iter().chain(why)
    }
}

/// The conditions of a status: exactly those wanted, in their order, each with the time its state last changed.
pub fn conditions(
    old: Option<&[Condition]>,
    wanted: Vec<Wanted>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    wanted
        .into_iter()
        .map(|want| {
            let unchanged = old
                .into_iter()
                .flatten()
                .find(|old| old.type_ == want.kind && old.status == want.state.as_str())
                .map(|old| old.last_transition_time.clone());
            Condition {
                type_: want.kind.to_owned(),
                status: want.state.as_str().to_owned(),
                reason: want.reason,
                message: want.message,
                observed_generation: generation,
                last_transition_time: unchanged.unwrap_or(Time(now)),
            }
        })
        .collect()
}

/// The condition of this type, if it is there.
pub fn find<'a>(conditions: Option<&'a [Condition]>, kind: &str) -> Option<&'a Condition> {
    conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.type_ == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_moves_only_with_the_state() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let want = |state, message: &str| vec![Wanted::new("Ready", state, "Because", message)];
        let first = conditions(None, want(State::False, "a"), Some(1), at(1));
        let same = conditions(Some(&first), want(State::False, "b"), Some(2), at(2));
        assert_eq!(
            (same[0].last_transition_time.0, same[0].message.as_str()),
            (at(1), "b")
        );
        let moved = conditions(Some(&same), want(State::True, "b"), Some(2), at(3));
        assert_eq!(moved[0].last_transition_time.0, at(3));
    }

    #[test]
    fn a_condition_no_longer_wanted_goes() {
        let old = conditions(
            None,
            vec![Wanted::new("Stalled", State::True, "X", "")],
            None,
            Timestamp::UNIX_EPOCH,
        );
        assert!(conditions(Some(&old), vec![], None, Timestamp::UNIX_EPOCH).is_empty());
    }
}
