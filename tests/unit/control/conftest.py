"""Settings of the property tests: how long an example takes says nothing, since machines are shared."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
