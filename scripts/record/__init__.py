"""The claims of the decision for JetStream, each executable on real servers: `make adr`."""
