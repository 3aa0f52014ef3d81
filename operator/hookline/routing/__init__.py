"""What senders serve: which Secrets a Webhook may use, what is said of it, its route and keys. Does no I/O."""
