module probity.dev/testbed/kserve

go 1.25.8

require github.com/kserve/kserve v0.19.0
