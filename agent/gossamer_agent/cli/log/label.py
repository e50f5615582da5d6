"""`gossamer log label`: a name for the model that the device serves now, in its log."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from gossamer_agent.cli.here import in_folder
from gossamer_agent.cli.log.opening import json_option
from gossamer_agent.errors import AgentError, StoreError

HELP = """Give the model that this device serves now the name NAME, as an entry of its log.

The entry holds the name and the SHA-256 of the model, signed and chained like everything in the
log: it tells later, also to others, which version was called that, for instance the one that was
tested or installed elsewhere. The same name may be given again; the newest entry counts.

A running agent writes it at once. Otherwise it is kept, and the agent writes it when it starts
next, before it learns on: an entry can only be added by who made sure that the log is the newest.

\b
Examples:
  gossamer -C shed log label before-harvest
  gossamer log show shed --kind label
"""


@click.command(help=HELP, short_help="Give the model of now a name.")
@click.argument("name")
@in_folder
@json_option
def label(folder: Path, name: str, as_json: bool) -> None:
    from gossamer_agent.node.statussocket import ask  # noqa: PLC0415  loads trio
    from gossamer_agent.owner import NAME_CHARS_MAX, NONCE_BYTES  # noqa: PLC0415
    from gossamer_agent.store.state import FILE_NAME, LABELS, StateStore  # noqa: PLC0415

    if not (name.isprintable() and 1 <= len(name) <= NAME_CHARS_MAX):
        raise click.BadParameter(
            f"must be 1 to {NAME_CHARS_MAX} printable characters", param_hint="NAME"
        )
    if not (folder / FILE_NAME).is_file():
        raise StoreError(f"{folder}: is not the folder of a device; name one: gossamer -C DIR")
    nonce = os.urandom(NONCE_BYTES)
    with closing(StateStore(folder / FILE_NAME)) as state:
        state.put(LABELS, nonce, name.encode())
    answer = ask(folder, "label")
    written = None if answer is None else _written(folder, answer, nonce)
    if as_json:
        click.echo(json.dumps({"name": name, "nonce": nonce.hex(), "written": written}))
    elif written is not None:
        model, seq = written["model"], written["seq"]
        click.echo(f"entry {seq}: {name} is model {model}, after round {written['round']}")
    elif answer is None:
        click.echo(f"kept: the agent writes {name} into the log when it starts next")
    else:
        click.echo(f"kept: the agent is busy and writes {name} into the log as soon as it can")


def _written(folder: Path, answer: bytes, nonce: bytes) -> dict[str, Any] | None:
    """What the agent says of our label; None if it is not in the log yet."""
    try:
        told = json.loads(answer)
        mine = [each for each in told or () if each["nonce"] == nonce.hex()]
        return {key: mine[0][key] for key in ("seq", "round", "model")} if mine else None
    except (ValueError, KeyError, TypeError):
        raise AgentError(
            f"{folder}: the agent there is of another version; restart it, and it writes the label"
        ) from None
