//! Whom a binding reaches. An account is meant by its name, by the user it is, and by each of the groups that every account
//! is in.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding, RoleRef, Subject};
use kube::core::ObjectMeta;

/// What a `ServiceAccount` is called as a user: then come its namespace and its name.
const USER: &str = "system:serviceaccount:";
/// The group of all accounts of a namespace: then comes the namespace.
const OF_NAMESPACE: &str = "system:serviceaccounts:";
/// Everybody who says who they are, the accounts among them; and who does not say it, as an account need not.
const EVERYBODY: [(&str, &str); 4] = [
    ("Group", "system:serviceaccounts"),
    ("Group", "system:authenticated"),
    ("Group", "system:unauthenticated"),
    ("User", "system:anonymous"),
];

/// A `ServiceAccount`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Account {
    /// Where it is.
    pub namespace: String,
    /// What it is called.
    pub name: String,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceAccount {}/{}", self.namespace, self.name)
    }
}

/// The accounts that models run under, and for each a model that does.
pub type Accounts = BTreeMap<Account, String>;

/// Which accounts a subject means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// This one.
    One(Account),
    /// All of a namespace.
    Namespace(String),
    /// All there are.
    Everybody,
}

impl Reach {
    /// Which accounts this subject of a binding means; none when it means others. `within`: the namespace of the binding.
    pub fn of(subject: &Subject, within: Option<&str>) -> Option<Self> {
        let name = subject.name.as_str();
        if EVERYBODY.contains(&(subject.kind.as_str(), name)) {
            return Some(Self::Everybody);
        }
        match subject.kind.as_str() {
            "ServiceAccount" => Some(Self::One(Account {
                namespace: subject.namespace.as_deref().or(within)?.to_owned(),
                name: name.to_owned(),
            })),
            "User" => {
                let (namespace, name) = name.strip_prefix(USER)?.split_once(':')?;
                Some(Self::One(Account {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                }))
            }
            "Group" => Some(Self::Namespace(name.strip_prefix(OF_NAMESPACE)?.to_owned())),
            _ => None,
        }
    }

    /// Whether it means this account.
    pub fn holds(&self, account: &Account) -> bool {
        match self {
            Self::One(one) => one == account,
            Self::Namespace(namespace) => *namespace == account.namespace,
            Self::Everybody => true,
        }
    }
}

/// Which role a binding gives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoleName {
    /// Where it is; none for a `ClusterRole`.
    pub namespace: Option<String>,
    /// What it is called.
    pub name: String,
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "Role {namespace}/{}", self.name),
            None => write!(f, "ClusterRole {}", self.name),
        }
    }
}

/// A binding of either kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    /// Where it is and gives; none for a `ClusterRoleBinding`, which gives everywhere.
    pub namespace: Option<String>,
    /// What it is called.
    pub name: String,
    /// What it gives; none when that is of no kind that gives rights.
    pub role: Option<RoleName>,
    /// To whom.
    pub subjects: Vec<Subject>,
}

impl Binding {
    /// Whether it gives rights to paths, which are of no namespace.
    pub fn gives_paths(&self) -> bool {
        self.namespace.is_none()
    }

    /// As far as it says something new, compared to how it is stored: with those it does not give its role to already.
    #[must_use]
    pub fn beyond(mut self, old: Option<&Self>) -> Self {
        if let Some(old) = old.filter(|old| old.role == self.role) {
            self.subjects.retain(|subject| !old.subjects.contains(subject));
        }
        self
    }

    /// The same, in this namespace, whatever it says of that itself.
    #[must_use]
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        if let Some(its) = self.role.as_mut().and_then(|role| role.namespace.as_mut()) {
            namespace.clone_into(its);
        }
        self
    }

    /// The accounts that each of its subjects means, and what the subject is called.
    pub fn reaches(&self) -> impl Iterator<Item = (Reach, String)> {
        let named = |subject: &Subject| format!("{} {}", subject.kind, subject.name);
        let within = self.namespace.as_deref();
        self.subjects
            .iter()
            .filter_map(move |subject| Some((Reach::of(subject, within)?, named(subject))))
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "RoleBinding {namespace}/{}", self.name),
            None => write!(f, "ClusterRoleBinding {}", self.name),
        }
    }
}

impl From<RoleBinding> for Binding {
    fn from(binding: RoleBinding) -> Self {
        let ObjectMeta { name, namespace, .. } = binding.metadata;
        let namespace = namespace.unwrap_or_default();
        Self {
            role: role(binding.role_ref, Some(&namespace)),
            namespace: Some(namespace),
            name: name.unwrap_or_default(),
            subjects: binding.subjects.unwrap_or_default(),
        }
    }
}

impl From<ClusterRoleBinding> for Binding {
    fn from(binding: ClusterRoleBinding) -> Self {
        Self {
            role: role(binding.role_ref, None),
            namespace: None,
            name: binding.metadata.name.unwrap_or_default(),
            subjects: binding.subjects.unwrap_or_default(),
        }
    }
}

fn role(role: RoleRef, namespace: Option<&str>) -> Option<RoleName> {
    let namespace = match (role.kind.as_str(), namespace) {
        ("Role", Some(namespace)) => Some(namespace.to_owned()),
        ("ClusterRole", _) => None,
        _ => return None,
    };
    Some(RoleName {
        namespace,
        name: role.name,
    })
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case("ServiceAccount", "digits", Some("bank") => true; "by name")]
    #[test_case("ServiceAccount", "digits", None => true; "by name in the binding's own namespace")]
    #[test_case("ServiceAccount", "digits", Some("shop") => false; "of another namespace")]
    #[test_case("ServiceAccount", "other", Some("bank") => false; "another")]
    #[test_case("User", "system:serviceaccount:bank:digits", None => true; "as a user")]
    #[test_case("User", "system:serviceaccount:bank:other", None => false; "as a user, another")]
    #[test_case("User", "digits", None => false; "a user of the same name")]
    #[test_case("User", "system:anonymous", None => true; "who does not say who it is")]
    #[test_case("Group", "system:serviceaccounts:bank", None => true; "with all of the namespace")]
    #[test_case("Group", "system:serviceaccounts:shop", None => false; "all of another namespace")]
    #[test_case("Group", "system:serviceaccounts", None => true; "with all accounts")]
    #[test_case("Group", "system:authenticated", None => true; "with everybody")]
    #[test_case("Group", "system:unauthenticated", None => true; "with nobody in particular")]
    #[test_case("Group", "system:masters", None => false; "a group it is not in")]
    #[test_case("ServiceAccount", "system:serviceaccounts", Some("bank") => false; "an account called like a group")]
    fn reaches_the_account(kind: &str, name: &str, namespace: Option<&str>) -> bool {
        let subject = Subject {
            kind: kind.into(),
            name: name.into(),
            namespace: namespace.map(Into::into),
            api_group: None,
        };
        let account = Account {
            namespace: "bank".into(),
            name: "digits".into(),
        };
        Reach::of(&subject, Some("bank")).is_some_and(|reach| reach.holds(&account))
    }
}
