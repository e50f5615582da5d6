"""Our own errors out of trio's exception groups: the shell's user wants one line, not a tree."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gossamer_crypto.errors import GossamerError


@contextmanager
def first_of_ours() -> Iterator[None]:
    """Raise the first GossamerError of an exception group bare; groups without one as they are."""
    error: BaseException | None = None
    try:
        yield
    except BaseExceptionGroup as group:
        error = group.subgroup(GossamerError)
        if error is None:
            raise
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if error is not None:
        raise error
