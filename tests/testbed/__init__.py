"""A real Kubernetes on this machine, for tests: README.md says how to use it."""
