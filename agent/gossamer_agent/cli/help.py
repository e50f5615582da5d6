"""The part of `gossamer --help` that lists the exit codes; docs/exit-codes.md says more."""

from __future__ import annotations

from collections.abc import Mapping

from gossamer_agent.exit_codes import ExitCode

MEANING: Mapping[ExitCode, str] = {
    ExitCode.OK: "done",
    ExitCode.FAILURE: "failed for a reason that has no code of its own",
    ExitCode.USAGE: "wrong command, option or argument",
    ExitCode.DATA: "a data set cannot be used",
    ExitCode.MODEL: "a model file cannot be used",
    ExitCode.LOG_BROKEN: "a log is damaged or does not verify",
    ExitCode.NETWORK: "the network cannot be used",
    ExitCode.STORE: "the store cannot be read or written",
    ExitCode.CONFIG: "a setting or a profile is wrong",
    ExitCode.MEMBERSHIP: "the swarm does not admit this device, or an invite is no good",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
}

# click keeps the line breaks of a paragraph that begins with a backspace.
EPILOG = "\b\nExit codes:\n" + "\n".join(
    f"  {code:>3}  {meaning}" for code, meaning in MEANING.items()
)
