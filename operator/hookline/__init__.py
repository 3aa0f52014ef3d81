"""Hookline delivers webhooks from Kubernetes: signed, at least once, retried, dead-lettered.

ARCHITECTURE.md is the map of this package.
"""

__version__ = "0.1.0"
