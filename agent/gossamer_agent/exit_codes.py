"""Exit codes of the program `gossamer`. Numbers never change; docs/exit-codes.md explains them."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    OK = 0
    FAILURE = 1
    USAGE = 2
    DATA = 3
    MODEL = 4
    LOG_BROKEN = 5
    NETWORK = 6
    STORE = 7
    CONFIG = 8
    MEMBERSHIP = 9
    INTERRUPTED = 130
