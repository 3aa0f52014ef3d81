"""What became of deliveries, asked for over the Kubernetes API: attempts, what waits, and dead letters.

Reads the queue and never calls a receiver. docs/operating.md says what a person sees.
"""
