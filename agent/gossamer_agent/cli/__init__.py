"""The program `gossamer`.

`main` is the console script. Commands are loaded when they are called (`gossamer_agent.cli.group`),
so that help and completion answer at once on a small device.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from traceback import format_exc
from typing import Any

import click

from gossamer_agent.cli.failures import exit_code_of, one_line
from gossamer_agent.cli.group import LazyGroup
from gossamer_agent.cli.help import EPILOG
from gossamer_agent.exit_codes import ExitCode
from gossamer_crypto.errors import GossamerError, PeerError

COMMANDS = {
    "data": ("gossamer_agent.cli.data:data", "Look at, check and import data of one's own."),
    "doctor": ("gossamer_agent.cli.doctor:doctor", "Say why peers do not connect, and what to do."),
    "evict": ("gossamer_agent.cli.evict:evict", "Remove a member from the swarm (stewards)."),
    "identity": ("gossamer_agent.cli.identity:identity", "Show, back up or renew the identity."),
    "init": ("gossamer_agent.cli.init:init", "Found a swarm with this device as its steward."),
    "invite": ("gossamer_agent.cli.invite:invite", "Print an invite for others (stewards)."),
    "join": ("gossamer_agent.cli.join:join", "Join a swarm with an invite."),
    "log": ("gossamer_agent.cli.log:log", "Verify, audit, export and prove the log of a device."),
    "metrics": (
        "gossamer_agent.cli.metrics:metrics",
        "Print the metrics of the running agent for Prometheus.",
    ),
    "model": ("gossamer_agent.cli.model:model", "See, check, make, convert and bake models."),
    "peers": (
        "gossamer_agent.cli.peers:peers",
        "List the other members of the swarm: linked or not, followed, trusted how much.",
    ),
    "profile": ("gossamer_agent.cli.profile:profile", "List, check and measure device profiles."),
    "receipt": ("gossamer_agent.cli.receipt:receipt", "Verify receipts of a device's answers."),
    "reputation": (
        "gossamer_agent.cli.reputation:reputation",
        "Show what this device thinks of the others, and why.",
    ),
    "run": ("gossamer_agent.cli.run:run", "Run the agent of this device until Ctrl-C or SIGTERM."),
    "service": (
        "gossamer_agent.cli.service:service",
        "Run the agent as a systemd service: at boot, watched.",
    ),
    "status": (
        "gossamer_agent.cli.status:status",
        "Show what the agent of this device does: state, round, members, links, refusals.",
    ),
    "version": ("gossamer_agent.cli.version:version", "Show the versions of what is installed."),
    "why": ("gossamer_agent.cli.why:why", "Show who was in a merge, who was not, and why."),
}

# What a user, a file, a peer or the machine can cause. Anything else is a bug, with its traceback.
_REPORTED = (GossamerError, PeerError, OSError)


class _Program(LazyGroup):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except _REPORTED:
            if ctx.params["traceback"]:
                click.echo(format_exc(), err=True, nl=False)
            raise


@click.group(
    cls=_Program,
    commands_by_name=COMMANDS,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--traceback", is_flag=True, help="Show where in the program an error arose.")
@click.option(
    "-C",
    "--directory",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=Path(),
    help="The device's folder; the current one without it.",
)
@click.pass_context
def gossamer(context: click.Context, traceback: bool, directory: Path) -> None:  # noqa: ARG001
    """Small devices train one model together, with no server and robust against liars."""
    context.obj = directory


def main() -> None:
    """Run the command line and leave the process with its exit code (docs/exit-codes.md)."""
    # Read when numpy is first imported: its BLAS spends more on threads than our products cost.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(run_program(sys.argv[1:]))


def run_program(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; what the user can cause costs one line.

    Not called `run`: that is the module of a command.
    """
    try:
        result = gossamer.main([*arguments], prog_name="gossamer", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("gossamer: interrupted", err=True)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) left; without this Python complains again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILURE
    except _REPORTED as error:
        click.echo(f"gossamer: {one_line(error)}", err=True)
        return exit_code_of(error)
    # click hands back the code of `ctx.exit`; commands themselves return nothing.
    return result if isinstance(result, int) else ExitCode.OK
