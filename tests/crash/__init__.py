"""The faults that Hookline must survive: a real sender, nats-server and receiver, and what happens to them.

`wire` stands between sender and NATS or receiver, `parties` are the processes, `scenario` is what they do, `steps`
names each step and what a crash there does, `matrix` kills a sender at each of them. `queues`, `moves` and `replays`
are the other parts. `make kill-matrix` runs it all.
"""
