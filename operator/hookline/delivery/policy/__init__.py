"""The rules of delivery: who may be called next, when again, what waits and why. Pure."""
