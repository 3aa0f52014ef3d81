"""A real Kubernetes for the tests and for developers: its programs, its servers, and on Linux one node.

Nothing here knows Hookline's code; the product never imports it.
"""
