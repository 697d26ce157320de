//! Does the model come from a repository the policy allows?
//! Pure; it looks at the reference alone, so it can refuse before anything is fetched.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::Says;
use crate::{
    evidence::{Finding, Origin, Reason, Reference, RuleId},
    policy::{Facts, Problem, Rules},
};

/// Globs over the names of [`Origin`](crate::evidence::Origin)s, as `host/repository`: `*` stays within a path segment, `**`
/// is any number of whole segments, and nothing else is special.
#[derive(Debug, Clone)]
pub struct Repositories {
    globs: Vec<String>,
    set: GlobSet,
}

/// The same globs compile to the same set.
impl PartialEq for Repositories {
    fn eq(&self, other: &Self) -> bool {
        self.globs == other.globs
    }
}

impl Repositories {
    /// Compiles the globs of `model.repositories`. One that makes no sense is a problem and matches nothing.
    pub(in crate::policy) fn compile(globs: &[String]) -> (Self, Vec<Problem>) {
        let mut builder = GlobSetBuilder::new();
        let mut problems = Vec::new();
        let mut refuse = |at: usize, glob: &str, why: &str| {
            let field = format!("spec.model.repositories[{at}]");
            problems.push(Problem::new(
                Reason::PolicyInvalid,
                field,
                format!("`{glob}` {why}"),
            ));
        };
        for (at, glob) in globs.iter().enumerate() {
            if let Err(why) = check(glob) {
                refuse(at, glob, why);
                continue;
            }
            // The brackets of an IPv6 host are meant as they are, not as a class of characters.
            let literal = glob.replace('[', "\\[").replace(']', "\\]");
            match GlobBuilder::new(&literal)
                .literal_separator(true)
                .backslash_escape(true)
                .build()
            {
                Ok(glob) => drop(builder.add(glob)),
                Err(_) => refuse(at, glob, "cannot be read: write host/repository with * or **"),
            }
        }
        let set = builder.build().unwrap_or_else(|_| GlobSet::empty());
        (
            Self {
                globs: globs.to_vec(),
                set,
            },
            problems,
        )
    }

    fn allow(&self, name: &str) -> bool {
        self.set.is_match(name)
    }
}

/// Refuses what could never match, or not what it looks like: in a policy that is a mistake, not a choice.
fn check(glob: &str) -> Result<(), &'static str> {
    if glob.contains("://") {
        return Err("has a scheme: write host/repository without it");
    }
    if let Some(folder) = glob.strip_prefix("volume:") {
        return check_volume(folder);
    }
    let Some((_, path)) = glob.split_once('/') else {
        return if glob == "**" || glob == "mounted" {
            Ok(())
        } else {
            Err("names no repository: write host/repository, or host/** for all of them")
        };
    };
    if path.contains(':') || glob.contains('@') {
        return Err("has a tag or digest: write host/repository, which all its tags belong to");
    }
    if glob.split('/').any(str::is_empty) {
        return Err("has an empty part: write host/repository with single slashes between");
    }
    if glob.split('/').any(|part| part.contains("**") && part != "**") {
        return Err("has ** beside other characters: ** stands for whole parts between slashes");
    }
    if glob.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("has upper-case letters, which no reference has");
    }
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-:/*[]".contains(&b);
    if glob.bytes().all(plain) {
        Ok(())
    } else {
        Err("has a character that no reference has: only * and ** are special")
    }
}

/// A folder on a volume: its parts may be written as file names are.
fn check_volume(folder: &str) -> Result<(), &'static str> {
    let parts: Vec<&str> = folder.split('/').collect();
    if parts.len() < 2 || parts.iter().any(|part| part.is_empty()) {
        return Err(
            "names no folder: write volume:CLAIM/PATH, volume:CLAIM/. for a volume's root, or volume:CLAIM/** for all of it",
        );
    }
    if parts.iter().any(|part| part.contains("**") && *part != "**") {
        return Err("has ** beside other characters: ** stands for whole parts between slashes");
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-*".contains(&b);
    if parts.iter().all(|part| part.bytes().all(plain)) {
        Ok(())
    } else {
        Err("has a character that no folder here has: only * and ** are special")
    }
}

/// Whether [`allowed`] fails, without a sentence about it.
pub fn refuses(reference: &Reference, rules: &Rules) -> bool {
    let repositories = rules.repositories.as_ref();
    repositories.is_some_and(|repositories| !repositories.allow(&reference.name()))
}

/// Passes when the reference's `host/repository` matches one of the globs. Absent when the policy does not restrict it.
pub fn allowed(facts: &Facts, rules: &Rules) -> Option<Finding> {
    let repositories = rules.repositories.as_ref()?;
    let says = Says {
        rule: RuleId::ModelRepositories,
        rules,
    };
    let name = facts.origin.name();
    Some(if repositories.allow(&name) {
        says.pass(format!("{name} is an allowed repository"))
    } else {
        let allowed = repositories.globs.join(", ");
        let remedy = match facts.origin {
            Origin::Registry(_) => "push the model to one of them, or have it added".to_owned(),
            Origin::Volume { .. } | Origin::Mounted => {
                format!("have {name} added to model.repositories, or deliver the model from one of them")
            }
        };
        says.fail(
            Reason::RepositoryNotAllowed,
            format!("{name} is not among the repositories the policy allows ({allowed}): {remedy}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::{
        evidence::Verdict,
        policy::{
            Evidence,
            samples::{facts, rules, signer, verified},
        },
    };

    fn compiled(globs: &[&str]) -> (Repositories, Vec<Problem>) {
        Repositories::compile(&globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>())
    }

    #[test_case("registry.example/models/digits", "registry.example/models/digits" => true; "itself")]
    #[test_case("registry.example/models/*", "registry.example/models/digits" => true; "one segment")]
    #[test_case("registry.example/models/*", "registry.example/models/a/b" => false; "one star does not cross a slash")]
    #[test_case("registry.example/models/*", "registry.example/models" => false; "nor stand for none")]
    #[test_case("registry.example/models/**", "registry.example/models/a/b" => true; "two stars do")]
    #[test_case("registry.example/**/digits", "registry.example/a/b/digits" => true; "two stars in the middle")]
    #[test_case("registry.example/models/d*s", "registry.example/models/digits" => true; "a star within a segment")]
    #[test_case("registry.example/models/digits", "registry.example/models/digits-evil" => false; "not a prefix")]
    #[test_case("registry.example/models/digits", "evil.registry.example/models/digits" => false; "not a suffix")]
    #[test_case("registry.example/*", "registry.example.evil/models" => false; "the host ends where it ends")]
    #[test_case("registry.example/*", "registryXexample/models" => false; "a dot is a dot")]
    #[test_case("*.example/models/*", "a.b.example/models/digits" => true; "a star in the host")]
    #[test_case("localhost:5000/*", "localhost:5000/digits" => true; "a port")]
    #[test_case("localhost/*", "localhost:5000/digits" => false; "another port is another registry")]
    #[test_case("[::1]:5000/*", "[::1]:5000/digits" => true; "brackets are brackets")]
    #[test_case("**", "registry.example/models/digits" => true; "anything")]
    fn matches(glob: &str, name: &str) -> bool {
        let (repositories, problems) = compiled(&[glob]);
        assert_eq!(problems, []);
        repositories.allow(name)
    }

    #[test_case("https://registry.example/models/*", "scheme")]
    #[test_case("registry.example", "names no repository")]
    #[test_case("*", "names no repository")]
    #[test_case("registry.example/models/digits:1.2.0", "tag or digest")]
    #[test_case("registry.example/models@sha256:12", "tag or digest")]
    #[test_case("registry.example/models/", "empty part")]
    #[test_case("/models", "empty part")]
    #[test_case("registry.example/mod**", "** beside other")]
    #[test_case("registry.example/Models/*", "upper-case")]
    #[test_case("registry.example/{a,b}", "character")]
    #[test_case("registry.example/model?", "character")]
    #[test_case("registry.example/\\*", "character")]
    fn refuses(glob: &str, why: &str) {
        let (repositories, problems) = compiled(&["registry.example/fine", glob]);
        assert_eq!(problems.len(), 1);
        assert_eq!(
            (problems[0].reason, problems[0].field.as_str()),
            (Reason::PolicyInvalid, "spec.model.repositories[1]")
        );
        assert!(problems[0].message.contains(why), "{}", problems[0]);
        assert!(repositories.allow("registry.example/fine"));
    }

    #[test_case(None => None; "not restricted")]
    #[test_case(Some(&["registry.example/models/*"]) => Some(Verdict::Pass); "allowed")]
    #[test_case(Some(&["registry.example/other/*", "registry.example/models/*"]) => Some(Verdict::Pass); "any one is enough")]
    #[test_case(Some(&["registry.example/other/*"]) => Some(Verdict::Fail); "not allowed")]
    #[test_case(Some(&[]) => Some(Verdict::Fail); "an empty list allows nothing")]
    fn verdict(globs: Option<&[&str]>) -> Option<Verdict> {
        let repositories = globs.map(|globs| compiled(globs).0);
        let rules = Rules {
            repositories,
            ..rules(vec![signer("release", &[1])])
        };
        let facts = facts(Evidence::Known(verified(&[1])));
        let verdict = allowed(&facts, &rules).map(|finding| finding.verdict);
        assert_eq!(
            super::refuses(facts.origin.reference().unwrap(), &rules),
            verdict == Some(Verdict::Fail)
        );
        verdict
    }

    #[test]
    fn names_where_it_came_from_and_where_it_may() {
        let repositories = Some(compiled(&["registry.example/other/*"]).0);
        let rules = Rules {
            repositories,
            ..rules(vec![signer("release", &[1])])
        };
        let finding = allowed(&facts(Evidence::Known(verified(&[1]))), &rules).unwrap();
        assert_eq!(finding.reason, Some(Reason::RepositoryNotAllowed));
        assert_eq!(
            finding.message,
            "registry.example/models/digits is not among the repositories the policy allows (registry.example/other/*): \
             push the model to one of them, or have it added"
        );
        let volume = Facts {
            origin: Origin::Mounted,
            ..facts(Evidence::Known(verified(&[1])))
        };
        let message = allowed(&volume, &rules).unwrap().message;
        assert!(
            message
                .ends_with("have mounted added to model.repositories, or deliver the model from one of them"),
            "{message}"
        );
    }
}
