"""Hypothesis has no deadline: on a busy machine an example may take any time, and no test depends on it."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("nexapod", deadline=None)
settings.load_profile("nexapod")
