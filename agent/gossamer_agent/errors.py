"""What the user or this device can cause; each class names the exit code of the program."""

from __future__ import annotations

from typing import ClassVar

from gossamer_agent.exit_codes import ExitCode
from gossamer_crypto.errors import GossamerError


class AgentError(GossamerError):
    """Base of the agent's own errors. The message is one line: what, where, what to do."""

    exit_code: ClassVar[ExitCode] = ExitCode.FAILURE


class DataError(AgentError):
    """A data set cannot be used."""

    exit_code = ExitCode.DATA


class ModelError(AgentError):
    """A model file cannot be used."""

    exit_code = ExitCode.MODEL


class ConfigError(AgentError):
    """A setting or profile is wrong."""

    exit_code = ExitCode.CONFIG


class StoreError(AgentError):
    """The store cannot be read or written."""

    exit_code = ExitCode.STORE


class LogError(AgentError):
    """A log does not verify."""

    exit_code = ExitCode.LOG_BROKEN


class MembershipError(AgentError):
    """The swarm does not admit this device, or an invite is no good."""

    exit_code = ExitCode.MEMBERSHIP
