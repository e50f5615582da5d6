"""`gossamer log`: verify and show the hash-chained log of a device.

Both commands open the file read-only, need no key, and work on a copy as well as on a live log.
"""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import click

from gossamer_agent.cli.bodies import Opener, opener_beside
from gossamer_agent.exit_codes import ExitCode
from gossamer_agent.store import DamagedStoreError
from gossamer_agent.store.archive import FeedArchive
from gossamer_agent.store.feeds import feed_files
from gossamer_crypto.envelope import Envelope
from gossamer_crypto.feed import ChainReport, verify_chain
from gossamer_crypto.identity import peer_id_text

_PATH = click.argument("path", type=click.Path(path_type=Path))


@click.group()
def log() -> None:
    """Verify and show the log of a device."""


@log.command()
@_PATH
@click.pass_context
def verify(ctx: click.Context, path: Path) -> None:
    """Verify every entry of the log at PATH, a feed.sqlite3 or a device's folder.

    Checks each signature, each link, and that no entry is missing, from the first entry to the
    newest. A device that lost its log or was restored has begun another one: all in the folder are
    verified. Ends with exit code 5 and the first bad entry if a log does not verify.
    """
    files = feed_files(path)
    sound = True
    for file in files:
        if len(files) > 1:
            click.echo(f"log      {file.name}")
        sound = _verify(file) and sound
    if not sound:
        ctx.exit(ExitCode.LOG_BROKEN)


def _verify(file: Path) -> bool:
    """Tell what is found; whether the log is sound."""
    with closing(FeedArchive(file)) as archive:
        counted = _Counted(archive)
        damage = ""
        try:
            report = verify_chain(counted)
            damage = _lost_tail(archive, report)
        except DamagedStoreError as error:
            click.echo(f"broken at entry {counted.next_seq}: {error}")
            return False
    _print_report(report)
    if damage:
        click.echo(f"broken: {damage}")
    elif report.ok:
        click.echo("verified")
    return report.ok and not damage


@log.command()
@_PATH
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def show(path: Path, as_json: bool) -> None:
    """List the entries of the log at PATH without judging them.

    Contents are shown too where a file epoch.key with the swarm's 32-byte secret lies beside the
    log.
    """
    for file in feed_files(path):
        with closing(FeedArchive(file)) as archive:
            opener = opener_beside(archive.path)
            if not as_json:
                click.echo(f"{'seq':>7}  {'kind':<8}  {'hash':<16}  {'bytes':>9}  contents")
            for envelope in archive.entries():
                line = _json_line if as_json else _table_line
                click.echo(line(envelope, opener))


class _Counted:
    """Entries of an archive that remembers how far it came."""

    def __init__(self, archive: FeedArchive) -> None:
        self._entries = archive.entries()
        self.next_seq = 0

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> Envelope:
        envelope = next(self._entries)
        self.next_seq = envelope.header.seq + 1
        return envelope


def _lost_tail(archive: FeedArchive, report: ChainReport) -> str:
    note = archive.head_note()
    if note is None or not report.ok or report.entries > note.seq:
        return ""
    return f"ends after {report.entries} entries, but its head note names entry {note.seq}"


def _print_report(report: ChainReport) -> None:
    if report.author is not None:
        click.echo(f"author   {peer_id_text(report.author)}")
    click.echo(f"entries  {report.entries}")
    if report.head_hash is not None:
        click.echo(f"head     {report.head_hash.hex()}")
    if not report.ok:
        click.echo(f"broken at entry {report.bad_seq}: {report.reason}")


def _table_line(envelope: Envelope, opener: Opener | None) -> str:
    header = envelope.header
    digest = envelope.entry_hash.hex()[:16]
    contents = "sealed" if opener is None else opener.summary(envelope)
    kind = header.kind.name.lower()
    return f"{header.seq:>7}  {kind:<8}  {digest}  {envelope.size:>9}  {contents}"


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
