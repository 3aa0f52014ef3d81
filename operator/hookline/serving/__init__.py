"""What every server of Hookline has: connections that cannot hurt each other, a certificate, and the API server of the
cluster to ask who somebody is and what he may do.

Knows nothing of events and deliveries, and not in which words a server says no.
"""
