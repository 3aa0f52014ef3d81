"""Replays: deliveries that are made once more because somebody asked for them.

`plan` decides which ones, `executor` has them stored, `replays` is where Replays are written down.
"""
