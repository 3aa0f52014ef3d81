"""Hookline on one machine: files instead of a cluster, an embedded nats-server, a TLS receiver to try it on."""
