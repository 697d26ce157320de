//! Which models a namespace has, by name: a cluster has many, and whoever asks about a pod asks about those of one namespace.
//! It follows the watch that fills the store, and keeps no model itself.

use std::collections::{BTreeSet, HashMap};

use kube::{Resource, ResourceExt as _, runtime::watcher::Event};

/// The names of the objects of a kind, by namespace.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: HashMap<String, BTreeSet<String>>,
    /// A list that is being read again, and is not whole yet.
    listing: Option<HashMap<String, BTreeSet<String>>>,
}

impl Names {
    /// Takes in what the watch says.
    pub(super) fn take<K: Resource>(&mut self, event: &Event<K>) {
        match event {
            Event::Init => self.listing = Some(HashMap::new()),
            Event::InitApply(object) => add(self.listing.get_or_insert_default(), object),
            Event::InitDone => {
                if let Some(listing) = self.listing.take() {
                    self.names = listing;
                }
            }
            Event::Apply(object) => add(&mut self.names, object),
            Event::Delete(object) => {
                let namespace = object.namespace().unwrap_or_default();
                if let Some(names) = self.names.get_mut(&namespace) {
                    names.remove(&object.name_any());
                    if names.is_empty() {
                        self.names.remove(&namespace);
                    }
                }
            }
        }
    }

    /// The names of those in the namespace, in order.
    pub(super) fn of(&self, namespace: &str) -> impl Iterator<Item = &str> {
        let names = self.names.get(namespace).into_iter().flatten();
        names.map(String::as_str)
    }
}

fn add<K: Resource>(names: &mut HashMap<String, BTreeSet<String>>, object: &K) {
    let namespace = object.namespace().unwrap_or_default();
    names.entry(namespace).or_default().insert(object.name_any());
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn object(namespace: &str, name: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.namespace = Some(namespace.into());
        object.metadata.name = Some(name.into());
        object
    }

    fn told(names: &Names, namespace: &str) -> Vec<String> {
        names.of(namespace).map(ToOwned::to_owned).collect()
    }

    #[test]
    fn what_comes_and_goes_is_known_by_its_namespace() {
        let mut names = Names::default();
        for (namespace, name) in [("bank", "b"), ("bank", "a"), ("shop", "c"), ("bank", "a")] {
            names.take(&Event::Apply(object(namespace, name)));
        }
        assert_eq!(told(&names, "bank"), ["a", "b"]);
        names.take(&Event::Delete(object("bank", "a")));
        names.take(&Event::Delete(object("shop", "c")));
        names.take(&Event::Delete(object("nowhere", "x")));
        assert_eq!(told(&names, "bank"), ["b"]);
        assert!(told(&names, "shop").is_empty());
        assert!(!names.names.contains_key("shop"), "and nothing is left of it");
    }

    #[test]
    fn a_list_counts_when_it_is_whole_and_then_alone() {
        let mut names = Names::default();
        names.take(&Event::Apply(object("bank", "gone")));
        names.take::<ConfigMap>(&Event::Init);
        names.take(&Event::InitApply(object("bank", "there")));
        assert_eq!(told(&names, "bank"), ["gone"], "it is not whole");
        names.take::<ConfigMap>(&Event::InitDone);
        assert_eq!(told(&names, "bank"), ["there"]);
    }
}
