"""What property tests are judged by: what holds, never how long a draw took on this machine.

The first text that hypothesis draws in a clone builds its tables of Unicode for more than a second, which its health
check takes for a slow strategy.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("hookline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hookline")
