//! Whether a binding, or a role that is bound, may be written: not when it would give the account of a model more than
//! policies allow. A change that gives nobody anything new is never refused, and asks nobody.

use k8s_openapi::api::rbac::v1::{Role, RoleBinding};

use super::{Gate, answer, not_governed_yet};
use crate::{
    admission::{AdmissionRequest, Answer},
    policy::{
        World,
        rbac::{self, Accounts, Binding, Given, NewBinding, NewRole, RoleName},
    },
};

impl Gate {
    /// Judges a `RoleBinding` or a `Role`.
    pub(super) async fn rights(&self, request: &AdmissionRequest) -> Answer {
        let (world, namespace) = (self.world.current(), &request.namespace);
        if let Some(wait) = not_governed_yet(namespace, &world) {
            return wait;
        }
        let judged = if request.resource.resource == "rolebindings" {
            self.binding(request, &world).await
        } else {
            self.role(request, &world).await
        };
        judged.unwrap_or_else(|error| {
            Answer::deny(400, format!("object: cannot be read by this version: {error}"))
        })
    }

    async fn binding(&self, request: &AdmissionRequest, world: &World) -> Result<Answer, serde_json::Error> {
        let Some(new) = request.object::<RoleBinding>()? else {
            return Ok(Answer::allow());
        };
        let old = request.old_object::<RoleBinding>()?.map(Binding::from);
        let binding = named(new.into(), request).beyond(old.as_ref());
        let Some(asked) = rbac::spoken_of(std::slice::from_ref(&binding), world) else {
            return Ok(Answer::allow());
        };
        let given = async {
            match &binding.role {
                Some(role) => self.records.given(role).await,
                None => Given::Missing,
            }
        };
        let (given, accounts) = tokio::join!(given, self.records.accounts(&asked));
        let (given, accounts) = match accounts {
            Ok(accounts) => (given, accounts),
            Err(unread) => (Given::Unread(unread.to_string()), Accounts::new()),
        };
        let new = NewBinding {
            binding: &binding,
            given: &given,
        };
        Ok(answer(&rbac::judge_binding(new, &accounts, world)))
    }

    async fn role(&self, request: &AdmissionRequest, world: &World) -> Result<Answer, serde_json::Error> {
        let Some(new) = request.object::<Role>()? else {
            return Ok(Answer::allow());
        };
        let rules = new.rules.unwrap_or_default();
        let before = request
            .old_object::<Role>()?
            .and_then(|old| old.rules)
            .unwrap_or_default();
        if rules.iter().all(|rule| before.contains(rule)) {
            return Ok(Answer::allow());
        }
        let role = RoleName {
            namespace: Some(request.namespace.clone()),
            // One whose name is not made yet, nobody can have bound.
            name: request.name.clone(),
        };
        let mut bindings = self
            .records
            .bindings(&role)
            .await
            .map_err(|unread| unread.to_string());
        let asked = bindings.as_ref().map(|bindings| rbac::spoken_of(bindings, world));
        let accounts = match asked {
            Ok(None) => return Ok(Answer::allow()),
            Ok(Some(asked)) => self.records.accounts(&asked).await,
            Err(_) => Ok(Accounts::new()),
        };
        let accounts = accounts.unwrap_or_else(|unread| {
            bindings = Err(unread.to_string());
            Accounts::new()
        });
        let new = NewRole {
            role: &role,
            rules: &rules,
            before: &before,
            bindings: bindings.as_deref().map_err(String::as_str),
        };
        Ok(answer(&rbac::judge_role(new, &accounts, world)))
    }
}

/// The binding as it will be called: the API server may send it before it has filled that in.
fn named(mut binding: Binding, request: &AdmissionRequest) -> Binding {
    if binding.name.is_empty() {
        binding.name = if request.name.is_empty() {
            "(new)".to_owned()
        } else {
            request.name.clone()
        };
    }
    binding.in_namespace(&request.namespace)
}
