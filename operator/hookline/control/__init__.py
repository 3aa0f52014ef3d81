"""The operator: watches a cluster, decides, and writes route books, senders and statuses."""
