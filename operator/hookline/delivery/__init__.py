"""The sender: from an event in the queue to a signed HTTPS call. Knows nothing of Kubernetes, only the route book."""
