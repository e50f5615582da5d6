"""The version of this program, as others see it."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def program_version() -> str:
    """Such as "0.1.0"; "unknown" where the package is not installed."""
    try:
        return version("gossamer")
    except PackageNotFoundError:
        return "unknown"
