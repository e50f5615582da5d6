"""`gossamer log`: the hash-chained log of a device, for its owner and for whoever doubts it.

All commands but `checkpoint` and `label` open files read-only. `audit`, `blame` and `replay` need
the keys of the swarm, the others none. They work on the folder of a device whose agent runs or not,
on a copied feed file, and on an exported log; on any computer.
"""

from __future__ import annotations

import click

from gossamer_agent.cli.log.audit import audit
from gossamer_agent.cli.log.blame import blame
from gossamer_agent.cli.log.checkpoint import checkpoint
from gossamer_agent.cli.log.checkproof import check_proof
from gossamer_agent.cli.log.exporting import export
from gossamer_agent.cli.log.importing import import_
from gossamer_agent.cli.log.label import label
from gossamer_agent.cli.log.prove import prove
from gossamer_agent.cli.log.replay import replay
from gossamer_agent.cli.log.show import show
from gossamer_agent.cli.log.verify import verify

HELP = """Verify, audit, carry away and prove the log of a device.

A log is a chain: each entry holds the hash of the one before it and is signed. So no entry below
the newest can be altered, dropped or inserted unnoticed. What a chain cannot show by itself, that
its end was cut off or its author signed another one, shows beside what others remember: peers that
cosign a checkpoint of it now and then, or a hash that you noted. Whether what it says is true shows
when its merges are made again from what others signed: audit. Who moved the model: blame.

\b
Examples:
  gossamer log verify shed
  gossamer log verify shed --against greenhouse
  gossamer log audit shed
  gossamer log export shed -o shed.log
  gossamer log prove shed 17 -o entry-17.proof
"""


@click.group(help=HELP, short_help="Verify, audit, export and prove the log of a device.")
def log() -> None:
    pass


for _command in (
    audit,
    blame,
    checkpoint,
    check_proof,
    export,
    import_,
    label,
    prove,
    replay,
    show,
    verify,
):
    log.add_command(_command)
