module probity.dev/testbed/policyapi

go 1.24.0

require sigs.k8s.io/network-policy-api v0.3.0
