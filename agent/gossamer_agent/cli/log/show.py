"""`gossamer log show`: the entries of a log in order, without judging them."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from gossamer_agent.cli.log.opening import json_option, log_files, opened, path_argument
from gossamer_agent.cli.log.where import keys_options
from gossamer_agent.errors import AgentError
from gossamer_crypto.envelope import Envelope, Kind
from gossamer_crypto.identity import peer_id_text

if TYPE_CHECKING:
    from gossamer_agent.cli.bodies import Opener

KINDS: Final = tuple(kind.name.lower() for kind in Kind)

HELP = """List the entries of the log at PATH without judging them.

What they say is shown where there is a key: a file epoch.key with the swarm's 32-byte secret beside
the log, the keys of the device whose folder it is, or those of another member after --keys. Keys
with a passphrase need --passphrase-file.

\b
Examples:
  gossamer log show garden
  gossamer log show garden --kind merge --last 10
  gossamer log show garden --kind configuration --kind label
  gossamer log show shed.log --keys garden --json
"""


@click.command(help=HELP, short_help="List the entries of a log.")
@path_argument
@click.option(
    "--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Only these; may be repeated."
)
@click.option(
    "--last", type=click.IntRange(min=1), metavar="N", help="Only the newest N of each log."
)
@keys_options
@json_option
def show(
    path: Path,
    *,
    kinds: tuple[str, ...],
    last: int | None,
    keys: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    for file in log_files(path):
        with opened(file) as source:
            opener = _opener(source.path, keys, passphrase_file)
            if not as_json:
                click.echo(f"{'seq':>7}  {'kind':<13}  {'hash':<16}  {'bytes':>9}  contents")
            line = _json_line if as_json else _table_line
            for envelope in _chosen(source.entries(), kinds, last):
                click.echo(line(envelope, opener))


def _chosen(
    entries: Iterable[Envelope], kinds: tuple[str, ...], last: int | None
) -> Iterator[Envelope]:
    wanted = (e for e in entries if not kinds or e.header.kind.name.lower() in kinds)
    yield from wanted if last is None else deque(wanted, last)


def _opener(log: Path, keys: Path | None, passphrase_file: Path | None) -> Opener | None:
    """What opens the entries of a log; None, with a line about it, where its own keys do not."""
    from gossamer_agent.cli.bodies import Opener, opener_beside  # noqa: PLC0415  loads numpy
    from gossamer_agent.cli.log.evidence import secrets_for  # noqa: PLC0415
    from gossamer_agent.device.folder import KEY_NAME  # noqa: PLC0415
    from gossamer_crypto.errors import PeerError  # noqa: PLC0415
    from gossamer_crypto.keyfile import is_encrypted  # noqa: PLC0415

    if keys is not None:
        return Opener(secrets_for(log, keys, passphrase_file))
    beside = opener_beside(log)
    key = log.with_name(KEY_NAME)
    if beside is not None or not key.is_file():
        return beside
    try:
        if is_encrypted(key) and passphrase_file is None:
            click.echo(f"sealed: {key} has a passphrase; give --passphrase-file", err=True)
            return None
        return Opener(secrets_for(log, None, passphrase_file))
    except (AgentError, PeerError, OSError) as error:
        click.echo(f"sealed: {error}", err=True)
        return None


def _table_line(envelope: Envelope, opener: Opener | None) -> str:
    header = envelope.header
    digest = envelope.entry_hash.hex()[:16]
    contents = "sealed" if opener is None else opener.summary(envelope)
    kind = header.kind.name.lower()
    return f"{header.seq:>7}  {kind:<13}  {digest}  {envelope.size:>9}  {contents}"


def _json_line(envelope: Envelope, opener: Opener | None) -> str:
    header = envelope.header
    entry = {
        "seq": header.seq,
        "kind": header.kind.name.lower(),
        "hash": envelope.entry_hash.hex(),
        "prev": header.prev.hex(),
        "author": peer_id_text(header.author),
        "incarnation": header.incarnation,
        "swarm": header.swarm.hex(),
        "epoch": header.epoch,
        "bytes": envelope.size,
    }
    if opener is not None:
        entry["contents"] = opener.summary(envelope)
    return json.dumps(entry)
