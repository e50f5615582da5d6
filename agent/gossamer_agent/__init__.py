"""The agent of one device. `Agent` runs one inside another program; nothing else is loaded here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gossamer_agent.embedding import Agent

__all__ = ["Agent"]


def __getattr__(name: str) -> Any:
    """`Agent` is loaded when it is asked for: the program's help must not wait for numpy."""
    if name == "Agent":
        from gossamer_agent.embedding import Agent  # noqa: PLC0415

        return Agent
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
