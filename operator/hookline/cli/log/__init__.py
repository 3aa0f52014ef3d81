"""What became of deliveries, for people: the same commands beside `hookline run` and as the kubectl plugin.

Each asks the API of `hookline api` over one seam, `api.Api`: through kubectl in a cluster, on loopback without one.
They never talk to the queue. docs/operating.md says when to type which.
"""
