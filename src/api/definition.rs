//! The definitions as they are installed: what the schema generator writes beyond what we mean is taken away.
//! It changes no rule; the rules are where the fields are.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt as _;

use super::v1alpha1::{
    ArtifactVerification, ClusterDeploymentPolicy, DeploymentPolicy, Evaluation, ModelDeployment,
    RobustnessPolicy, TrustRoot, Waiver,
};

/// Every custom resource definition, in the order they are installed.
pub fn custom_resource_definitions() -> Vec<CustomResourceDefinition> {
    let mut definitions = vec![
        TrustRoot::crd(),
        ClusterDeploymentPolicy::crd(),
        DeploymentPolicy::crd(),
        ModelDeployment::crd(),
        ArtifactVerification::crd(),
        Waiver::crd(),
        RobustnessPolicy::crd(),
        Evaluation::crd(),
    ];
    for version in definitions
        .iter_mut()
        .flat_map(|definition| &mut definition.spec.versions)
    {
        if let Some(schema) = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
        {
            schema.title = None;
            tidy(schema);
        }
    }
    definitions
}

/// No `null`: the API server then takes a field without a value for one that was left out, so that a required one is
/// missed and nobody reads `null` back. And only the formats an API server knows, because it warns about others.
fn tidy(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if schema
        .format
        .as_deref()
        .is_some_and(|format| format.starts_with("uint"))
    {
        schema.format = None;
    }
    for property in schema
        .properties
        .iter_mut()
        .flat_map(|properties| properties.values_mut())
    {
        tidy(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(item)) = &mut schema.items {
        tidy(item);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = &mut schema.additional_properties {
        tidy(value);
    }
}
