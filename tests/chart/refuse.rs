//! Values the chart refuses, with the words the refusal must have: the field, and what to write.
//! Each row is one mistake on top of values that would render.

use test_case::test_case;

use crate::helm::{DIGEST, image, template};

#[test]
fn an_image_must_be_named() {
    let outcome = template(&[]);
    assert!(!outcome.ok);
    assert!(
        outcome.err.contains("image.repository: say where the image is"),
        "{}",
        outcome.err
    );

    let outcome = template(&["--set", "image.repository=registry.example/probity"]);
    assert!(!outcome.ok);
    assert!(
        outcome
            .err
            .contains("image.digest: say which image it is, as sha256:…"),
        "{}",
        outcome.err
    );
}

#[test_case("image.tag=1.0.0", &["image.tag", "set image.digest instead", "crane digest registry.example/probity:1.0.0"]; "a tag")]
#[test_case("image.repository=registry.example/probity:1.0.0", &["/image/repository"]; "a tag in the repository")]
#[test_case(&format!("image.repository=registry.example/probity@{DIGEST}"), &["/image/repository"]; "a digest in the repository")]
#[test_case("image.repository=https://registry.example/probity", &["/image/repository"]; "a scheme in the repository")]
#[test_case("image.digest=sha256:abc", &["/image/digest", "sha256:"]; "a digest cut short")]
#[test_case(&format!("image.digest={}", DIGEST.replace('1', "A")), &["/image/digest"]; "a digest in upper case")]
#[test_case("image.previous={registry.example/probity:1.0.0}", &["/image/previous/0"]; "an earlier image by its tag")]
#[test_case(&format!("image.previous={DIGEST}"), &["/image/previous", "array"]; "an earlier image that is no list")]
#[test_case("image.pullPolicy=Sometimes", &["/image/pullPolicy", "IfNotPresent"]; "a pull policy that is none")]
#[test_case("imagePullSecrets={regcred}", &["/imagePullSecrets/0", "object"]; "pull secrets as plain names")]
#[test_case("replicaCount=2", &["replicaCount"]; "a value that is not there")]
#[test_case("replicas=0", &["/replicas"]; "no operator")]
#[test_case("admission.enabled=perhaps", &["/admission/enabled", "boolean"]; "a switch for admission that is a word")]
#[test_case("admission.failurePolicy=Ignore", &["/admission", "failurePolicy"]; "admission that fails open")]
#[test_case("certificates.mode=None", &["/certificates/mode", "SelfManaged"]; "a way to certificates that is none")]
#[test_case("certificates.caBundle=MIIB", &["/certificates/caBundle"]; "a bundle that is not PEM")]
#[test_case("certificates.mode=CertManager,admission.enabled=true", &["certificates.certManager.issuerRef: say which issuer signs"]; "no issuer")]
#[test_case("registries.plainHttp={localhost:5000}", &["/registries", "plainHttp"]; "a value in another spelling")]
#[test_case("registries.plainHTTP=localhost:5000", &["/registries/plainHTTP", "array"]; "one host where a list is meant")]
#[test_case("registries.plainHTTP={http://localhost:5000}", &["/registries/plainHTTP/0"]; "a host with a scheme")]
#[test_case("registries.allowHosts={auth.example/token}", &["/registries/allowHosts/0"]; "a host with a path")]
#[test_case("registries.allowHosts={*}", &["/registries/allowHosts/0"]; "every host")]
#[test_case("registries.allow={registry.example/models/*}", &["/registries/allow/0"]; "a repository where a registry is meant")]
#[test_case("registries.allow={*.example}", &["/registries/allow/0"]; "a pattern where a registry is meant")]
#[test_case("log.level=loud", &["/log/level"]; "a level that is none")]
#[test_case("log.format=xml", &["/log/format", "json"]; "a format that is none")]
#[test_case("maxConcurrentReconciles=0", &["/maxConcurrentReconciles"]; "no worker")]
#[test_case("maxConcurrentReconciles=5000", &["/maxConcurrentReconciles"]; "more workers than the operator takes")]
#[test_case("maxConcurrentReconciles=four", &["/maxConcurrentReconciles", "integer"]; "a number in words")]
#[test_case("audit.interval=29s", &["/audit/interval"]; "audits more often than the operator takes")]
#[test_case("audit.interval=0m", &["/audit/interval"]; "audits without a pause")]
#[test_case("audit.interval=1d", &["/audit/interval"]; "audits in days")]
#[test_case("resources.limits.memory=lots", &["/resources/limits/memory"]; "a quantity that is none")]
#[test_case("resources.limit.memory=1Gi", &["/resources", "limit"]; "resources in another spelling")]
#[test_case("metrics.serviceMonitor.enabled=please", &["/metrics/serviceMonitor/enabled", "boolean"]; "a switch that is a word")]
#[test_case("metrics.serviceMonitor.interval=often", &["/metrics/serviceMonitor/interval"]; "a duration that is none")]
#[test_case("crds.install=later", &["/crds/install", "boolean"]; "a switch for the definitions that is a word")]
#[test_case("tolerations[0].effect=Sometimes", &["/tolerations/0/effect", "NoSchedule"]; "an effect that is none")]
#[test_case("nodeSelector.disk=1", &["/nodeSelector/disk", "string"]; "a label that is a number")]
#[test_case("podAnnotations.a=true", &["/podAnnotations/a", "string"]; "an annotation that is a boolean")]
#[test_case("affinity.node=x", &["/affinity", "node"]; "an affinity that is none")]
fn a_bad_value_is_refused_by_name(set: &str, words: &[&str]) {
    let good = image();
    let mut args: Vec<&str> = good.iter().map(String::as_str).collect();
    args.extend(["--set", set]);
    let outcome = template(&args);
    assert!(!outcome.ok, "{set} was taken");
    for word in words {
        assert!(
            outcome.err.contains(word),
            "{set}: the refusal does not say `{word}`:\n{}",
            outcome.err
        );
    }
}

#[test]
fn a_cluster_that_is_too_old_is_refused() {
    let good = image();
    let mut args: Vec<&str> = good.iter().map(String::as_str).collect();
    args.extend(["--kube-version", "1.32.9"]);
    let outcome = template(&args);
    assert!(!outcome.ok);
    assert!(
        outcome.err.contains("kubeVersion") && outcome.err.contains("1.33"),
        "{}",
        outcome.err
    );
}
