"""The gateway: events come in by HTTP, checked against the schema of their type, and confirmed once they are stored."""
