//! The reconcilers, one folder a kind, the same verbs in each.
//! They write only through `cluster`.
