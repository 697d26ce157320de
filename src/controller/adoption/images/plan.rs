//! Which images of a workload are to be looked up, and what is written down of them. Pure.

use std::collections::BTreeSet;

use crate::{
    api::v1alpha1::ResolvedImage,
    evidence::{Digest, Failure},
};

/// At most this many images are written down.
const MOST: usize = 64;

/// What is written down before anything is looked up: of each image what was found once, in the order of their names. One
/// that only pods name is kept as long as they do: whatever makes them may make more.
pub(super) fn kept(
    old: &[ResolvedImage],
    template: &BTreeSet<String>,
    pods: &BTreeSet<String>,
) -> Vec<ResolvedImage> {
    let known = |image: &String| old.iter().find(|known| known.image == *image);
    let wanted = template.iter().map(|image| ResolvedImage {
        retained: None,
        ..known(image).cloned().unwrap_or_else(|| nothing(image))
    });
    let retained = pods.iter().filter(|image| !template.contains(*image));
    let retained = retained
        .filter_map(known)
        .filter(|known| known.digest.is_some())
        .map(|known| ResolvedImage {
            retained: Some(true),
            ..known.clone()
        });
    // What the template names counts more than what it named.
    let mut kept: Vec<ResolvedImage> = wanted.chain(retained).take(MOST).collect();
    kept.sort_by(|a, b| a.image.cmp(&b.image));
    kept
}

/// Whether something was written down that the template names no more: only then it matters what pods name.
pub(super) fn has_others(old: &[ResolvedImage], template: &BTreeSet<String>) -> bool {
    old.iter().any(|known| !template.contains(&known.image))
}

/// The image after a look. What was found is never replaced.
pub(super) fn looked(image: &ResolvedImage, answer: Result<Digest, &Failure>) -> ResolvedImage {
    if image.digest.is_some() {
        return image.clone();
    }
    match answer {
        Ok(digest) => ResolvedImage {
            digest: Some(digest),
            ..nothing(&image.image)
        },
        Err(failure) => ResolvedImage {
            reason: Some(failure.reason),
            message: Some(failure.message.clone()),
            ..nothing(&image.image)
        },
    }
}

/// What is written down: what nobody looked at yet is not.
pub(super) fn written(images: Vec<ResolvedImage>) -> Option<Vec<ResolvedImage>> {
    let said = images
        .into_iter()
        .filter(|image| image.digest.is_some() || image.reason.is_some());
    let said: Vec<ResolvedImage> = said.collect();
    (!said.is_empty()).then_some(said)
}

fn nothing(image: &str) -> ResolvedImage {
    ResolvedImage {
        image: image.to_owned(),
        digest: None,
        reason: None,
        message: None,
        retained: None,
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::evidence::Reason;

    const ONE: Digest = Digest::from_bytes([1; 32]);

    fn known(image: &str) -> ResolvedImage {
        looked(&nothing(image), Ok(ONE))
    }

    fn failed(image: &str) -> ResolvedImage {
        looked(&nothing(image), Err(&Failure::new(Reason::NotFound, "push it")))
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// `a` known, `b` failed, `c` not looked at; `-` behind what only pods name.
    fn words(images: &[ResolvedImage]) -> String {
        let word = |image: &ResolvedImage| {
            let state = match (image.digest, image.reason) {
                (Some(_), _) => "=",
                (None, Some(_)) => "!",
                (None, None) => "?",
            };
            let retained = if image.retained == Some(true) { "-" } else { "" };
            format!("{}{state}{retained}", image.image)
        };
        images.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test_case(&[], &[] => ""; "nothing")]
    #[test_case(&["d", "c"], &[] => "c? d?"; "what is new is sorted")]
    #[test_case(&["a", "b"], &[] => "a= b!"; "what is known stays")]
    #[test_case(&["b"], &["a"] => "a=- b!"; "what pods still run is kept")]
    #[test_case(&["a"], &["b", "d"] => "a="; "what was never found is not")]
    #[test_case(&["c"], &[] => "c?"; "what nobody names is dropped")]
    fn is_kept(template: &[&str], pods: &[&str]) -> String {
        words(&kept(&[known("a"), failed("b")], &names(template), &names(pods)))
    }

    #[test]
    fn what_comes_back_into_the_template_is_what_it_was() {
        let once = kept(&[known("a")], &names(&[]), &names(&["a"]));
        assert_eq!(kept(&once, &names(&["a"]), &names(&[])), [known("a")]);
    }

    #[test]
    fn what_was_found_stays_when_the_tag_moves_or_the_registry_is_away() {
        let other = Digest::from_bytes([2; 32]);
        let away = Failure::new(Reason::RegistryUnavailable, "gone");
        assert_eq!(looked(&known("a"), Ok(other)), known("a"));
        assert_eq!(looked(&known("a"), Err(&away)), known("a"));
        assert_eq!(looked(&failed("a"), Ok(ONE)), known("a"));
    }

    #[test]
    fn there_are_never_too_many_and_the_template_goes_before_pods() {
        let template: BTreeSet<String> = (0..MOST).map(|n| format!("t{n:02}")).collect();
        let kept = kept(&[known("a")], &template, &names(&["a"]));
        assert_eq!(kept.len(), MOST);
        assert!(kept.iter().all(|image| image.retained.is_none()));
    }

    #[test]
    fn only_what_was_looked_at_is_written() {
        let images = vec![known("a"), failed("b"), nothing("c")];
        assert_eq!(words(&written(images).unwrap()), "a= b!");
        assert_eq!(written(vec![nothing("c")]), None);
        assert!(has_others(&[known("a")], &names(&["b"])));
        assert!(!has_others(&[known("a")], &names(&["a", "b"])));
    }
}
