//! Attacks, and what they leave of a model's accuracy.
//! An attack only asks; whether an input is still read rightly is decided here, by asking once more at the end.

mod ask;
mod hopskipjump;
mod metrics;
mod outcome;
mod run;
mod sanity;
mod square;
mod threat;

pub use ask::{Ask, Watch};
pub use hopskipjump::HopSkipJump;
pub use metrics::{Metric, median_distance, metrics};
pub use outcome::{Attacked, Clean, SampleResult, Tally, WorstCase};
pub(in crate::evaluation) use run::check;
pub use run::{Attack, AttackError, Attempt, Plan, Run, Target, run};
pub use sanity::{Sanity, sanity};
pub use square::{Bounds, Square};
pub use threat::{Norm, Threat};
