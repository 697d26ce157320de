//! The planned pods of models, ready to be compared with: made once, and anew as soon as anything they rest on is another.
//! A plan is kept beside all that it was made from and looked up by that, so that none can be out of date.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;

use super::{PodSettings, RunningModel, Served, differences, pod};
use crate::{api::v1alpha1::Server, evidence::Digest};

/// At most this many are kept, some kilobytes each.
const MOST: usize = 256;

/// The planned pods of all models under the same settings.
#[derive(Debug)]
pub struct Plans {
    settings: PodSettings,
    kept: Mutex<HashMap<Digest, Arc<Plan>>>,
}

/// One plan, and all that it was made from but the settings, which stay.
#[derive(Debug)]
struct Plan {
    name: String,
    server: Server,
    mount_path: Option<String>,
    runs: RunningModel,
    spec: Value,
}

impl Plan {
    fn is_of(&self, served: &Served<'_>, runs: &RunningModel) -> bool {
        let Self {
            name,
            server,
            mount_path,
            runs: ran,
            spec: _,
        } = self;
        let kept = Served {
            name,
            server,
            mount_path: mount_path.as_deref(),
        };
        kept == *served && ran == runs
    }
}

impl Plans {
    /// None yet, all to be made with these settings.
    pub fn new(settings: PodSettings) -> Self {
        Self {
            settings,
            kept: Mutex::default(),
        }
    }

    /// What all of them are made with.
    pub fn settings(&self) -> &PodSettings {
        &self.settings
    }

    /// How this pod, as it was sent, differs from the planned one: see [`differences`].
    pub fn differences(&self, served: &Served<'_>, runs: &RunningModel, sent: &Value) -> Vec<String> {
        match self.plan(served, runs) {
            Some(plan) => differences(&plan.spec, sent),
            None => vec!["spec: cannot be planned".into()],
        }
    }

    fn plan(&self, served: &Served<'_>, runs: &RunningModel) -> Option<Arc<Plan>> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept().get(&runs.digest).cloned();
        if let Some(plan) = known.filter(|plan| plan.is_of(served, runs)) {
            return Some(plan);
        }
        let plan = Arc::new(Plan {
            name: served.name.to_owned(),
            server: served.server.clone(),
            mount_path: served.mount_path.map(ToOwned::to_owned),
            runs: runs.clone(),
            spec: serde_json::to_value(pod(served, runs, &self.settings)).ok()?,
        });
        let mut kept = kept();
        if kept.len() >= MOST {
            kept.clear();
        }
        kept.insert(runs.digest, plan.clone());
        Some(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::samples::{model, running, settings};

    const DIGEST: Digest = Digest::from_bytes([0xaa; 32]);

    #[test]
    fn nothing_that_a_plan_rests_on_can_change_without_another_plan() {
        let model = model(DIGEST);
        let (base, runs) = (Served::of(&model).unwrap(), running(DIGEST));
        let mut other = model.spec.server.clone().unwrap();
        other.port += 1;
        let plans = Plans::new(settings());
        let served = [
            Served {
                name: "other",
                ..base
            },
            Served {
                server: &other,
                ..base
            },
            Served {
                mount_path: Some("/elsewhere"),
                ..base
            },
        ];
        let ran = [
            RunningModel {
                size: 1,
                ..runs.clone()
            },
            RunningModel {
                pull_secret: Some("regcred".into()),
                ..runs.clone()
            },
            RunningModel {
                reference: "registry.example/other:1".parse().unwrap(),
                ..runs.clone()
            },
        ];
        let first = serde_json::to_value(pod(&base, &runs, &settings())).unwrap();
        let others = served
            .iter()
            .map(|served| (*served, runs.clone()))
            .chain(ran.map(|runs| (base, runs)));
        for (served, other) in others {
            // Each beside the first, so that there is always one to be mistaken for.
            assert_eq!(plans.differences(&base, &runs, &first), Vec::<String>::new());
            let planned = serde_json::to_value(pod(&served, &other, &settings())).unwrap();
            assert_eq!(plans.differences(&served, &other, &planned), Vec::<String>::new());
            assert!(!plans.differences(&served, &other, &first).is_empty());
        }
    }

    #[test]
    fn no_more_are_kept_than_have_room() {
        let model = model(DIGEST);
        let plans = Plans::new(settings());
        for number in 0..=u8::MAX {
            for kind in [0, 1] {
                let mut bytes = [kind; 32];
                bytes[0] = number;
                assert!(
                    plans
                        .plan(&Served::of(&model).unwrap(), &running(Digest::from_bytes(bytes)))
                        .is_some()
                );
                assert!(plans.kept.lock().unwrap().len() <= MOST);
            }
        }
    }
}
