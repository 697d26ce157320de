module probity.dev/testbed/probe

go 1.26.0
