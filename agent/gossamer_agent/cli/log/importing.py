"""`gossamer log import`: an exported log as a feed file again."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import click

from gossamer_agent.cli.log.opening import json_option
from gossamer_agent.errors import LogError
from gossamer_agent.store.exported import ExportedLog
from gossamer_agent.store.imported import import_log
from gossamer_crypto.identity import peer_id_text

HELP = """Verify the exported log FILE and make the folder DIR with a feed file of it.

All commands for logs work on DIR. It is not a device: there is no identity in it, and no agent can
go on with that log. Every entry is verified while it is read; a log that does not verify ends with
exit code 5 and leaves nothing behind. DIR must not be there yet, or be empty.

\b
Example:
  gossamer log import shed.log -o shed-copy
"""


@click.command("import", help=HELP, short_help="Make a feed file of an exported log.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Where."
)
@json_option
def import_(file: Path, output: Path, as_json: bool) -> None:
    with closing(ExportedLog(file)) as source:
        try:
            report, path = import_log(source.entries(), source.checkpoint, output)
        except LogError as error:
            raise LogError(f"{file}: {error}") from None
    author = None if report.author is None else peer_id_text(report.author)
    if as_json:
        click.echo(json.dumps({"log": str(path), "author": author, "entries": report.entries}))
    else:
        click.echo(f"{report.entries} entries verified and written to {path}")
