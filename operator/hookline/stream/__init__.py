"""The queue: NATS JetStream. The only package that imports nats."""
