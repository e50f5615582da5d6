"""`gossamer log replay`: the model of a device as if a peer had never voted in its merges."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gossamer_agent.cli.log.opening import incarnation_option, json_option, path_argument
from gossamer_agent.cli.log.where import evidence_options
from gossamer_agent.errors import DataError, LogError, StoreError
from gossamer_agent.store.replacing import create_file
from gossamer_crypto.identity import PeerId, peer_id_text

if TYPE_CHECKING:
    from gossamer_agent.audit.counterfactual import Counterfactual
    from gossamer_agent.cli.log.evidence import Case, Log
    from gossamer_agent.learner import Score, Vector

HELP = """Compute the model that the log at PATH comes to without the votes of a peer.

Every merge is made again without the inputs of PEER, as if it had never voted, and the local steps
that the device took between merges are put on top, as the log has them. The result is the newest
merge, which is what a device answers with.

It is not the model of a device that never met PEER: the local steps were taken elsewhere, on the
way that the model really went, and the other inputs are what their authors published, with whatever
these had taken from PEER in their own merges. How good it is, only data can tell: --data.

Logs hold what devices share. Of a swarm with personal layers the result is the shared ones, which
nothing can judge without the others; of a device with combine = "adam" or "yogi" it is what its
merges come to, not the steps towards them that it answers with, which no log holds.

PEER is a peer's id, a beginning or an end of it as gossamer log blame shows it, or the name of the
folder that its log is in. What is needed is what gossamer log audit needs; steps around merges that
cannot be made again are put on top as they are, and counted.

\b
Examples:
  gossamer log replay logs/peer-03 --without peer-07 --out without.npz
  gossamer log replay garden --without ...tK5pV9 --out without.npz --data test.npz

FILE.npz has the array params, float32; any other name ends in .tflite-weights and gets the bare
values in the order of the model's parameters, little-endian.
"""

SUFFIXES: Final = (".npz", ".tflite-weights")


def _model_file(_: click.Context, __: click.Parameter, value: Path) -> Path:
    if value.suffix not in SUFFIXES:
        raise click.BadParameter(f"{str(value)!r:.80} ends in none of {', '.join(SUFFIXES)}")
    return value


@click.command(help=HELP, short_help="Compute the model without the votes of a peer.")
@path_argument
@click.option(
    "--without", metavar="PEER", multiple=True, required=True, help="May be given repeatedly."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    callback=_model_file,
    required=True,
    metavar="FILE",
    help="Where to write the model; nothing is overwritten.",
)
@click.option(
    "--data",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Judge both models on this .npz: its is_test rows, or all if it has no such column.",
)
@incarnation_option
@evidence_options
@json_option
def replay(
    path: Path,
    *,
    without: tuple[str, ...],
    out: Path,
    data: Path | None,
    incarnation: int | None,
    as_json: bool,
    **where: Any,
) -> None:
    from gossamer_agent.audit.counterfactual import counterfactual  # noqa: PLC0415  loads numpy
    from gossamer_agent.cli.log.evidence import gathered  # noqa: PLC0415

    if out.exists():
        raise StoreError(f"{out}: is there already; choose another name")
    with gathered(path, **where) as case:
        personal = case.terms.policy.personal
        if personal and data is not None:
            raise DataError(
                f"{path}: its layers {', '.join(personal)} never left the device, and without them"
                " no data can judge the model: leave --data out"
            )
        log = _log(case, incarnation)
        left_out = [_named(case, log, said) for said in without]
        told = counterfactual(case.events(log), case.replicas, case.terms, left_out)
        scores = None if data is None else _scores(case, told, data)
    if told.round == 0:
        raise LogError(f"{log.source.path}: no merge was committed, so there is nothing to replay")
    create_file(out, _packed(told.served.would, out.suffix))
    if as_json:
        click.echo(_json(log, left_out, told, scores, out, personal=personal))
    else:
        click.echo(_text(log, left_out, told, scores, out, personal=personal))


def _log(case: Case, incarnation: int | None) -> Log:
    if incarnation is None:
        return case.logs[-1]
    found = [log for log in case.logs if log.incarnation == incarnation]
    if not found:
        raise StoreError(f"{case.logs[0].source.path}: has no incarnation {incarnation}")
    return found[0]


def _named(case: Case, log: Log, said: str) -> PeerId:
    """The one peer that a user means. Raises click.BadParameter."""
    if said in case.names:
        found = {case.names[said]}
    else:
        part = said.strip().strip(".…")
        texts = {peer: peer_id_text(peer) for peer in case.contributors}
        found = {p for p, text in texts.items() if part and text.startswith(part)}
        found |= {p for p, text in texts.items() if part and text.endswith(part)}
    if len(found) != 1:
        fits = f"fits {len(found)} contributors" if found else "is no contributor of this log"
        raise click.BadParameter(
            f"{said!r:.80} {fits}; see gossamer log blame", param_hint="--without"
        )
    (peer,) = found
    if peer == log.author:
        raise click.BadParameter(
            "the own votes cannot be left out: the way is the author's own", param_hint="--without"
        )
    return peer


def _scores(case: Case, told: Counterfactual, data: Path) -> tuple[Score, Score]:
    """What the data think of the model as it was and as it would have been."""
    from gossamer_agent.data import load_device_data  # noqa: PLC0415

    loaded = load_device_data(data)
    samples = loaded.training if loaded.test is None else loaded.test
    samples.check(case.terms.contract)
    learner, served = case.terms.learner, told.served
    return learner.evaluate(served.was, samples), learner.evaluate(served.would, samples)


def _packed(vector: Vector, suffix: str) -> bytes:
    import numpy as np  # noqa: PLC0415

    if suffix != ".npz":
        return vector.astype("<f4").tobytes()
    file = io.BytesIO()
    np.savez(file, params=vector)
    return file.getvalue()


def _text(
    log: Log,
    left_out: list[PeerId],
    told: Counterfactual,
    scores: tuple[Score, Score] | None,
    out: Path,
    *,
    personal: tuple[str, ...],
) -> str:
    lines = [f"log      {log.source.path}"]
    lines += [f"without  {peer_id_text(peer)}" for peer in left_out]
    lines.append(
        f"merges   {told.merges}, {told.without_votes} with its votes,"
        f" {told.changed} come out otherwise"
    )
    if told.alone:
        lines.append(f"         {told.alone} would have had no quorum: the own replica went on")
    if told.lost:
        lines.append(
            f"         {told.lost} cannot be made again and were put on top as they are:"
            " gossamer log audit says what is missing"
        )
    if log.incarnation:
        lines.append(
            f"         this is log {log.incarnation} of the device: what it had learnt before is"
            " in its first step, votes of all peers included"
        )
    lines.append(f"moved    {_distance(told):.4g} from the model as it was")
    if scores is not None:
        was, would = scores
        lines.append(f"before   {_judged(was)}")
        lines.append(f"after    {_judged(would)}, the same {would.samples} samples")
    lines += [
        f"written  {out}, the merge of round {told.round}",
        "note     the local steps were taken elsewhere, on the way that the model really went, and",
        "         the other inputs are as published, with what their authors had from the peer",
    ]
    if personal:
        lines.append(f"         it is without the personal layers, {', '.join(personal)}")
    elif scores is None:
        lines.append("         how good the result is, only data can tell: --data FILE")
    return "\n".join(lines)


def _json(
    log: Log,
    left_out: list[PeerId],
    told: Counterfactual,
    scores: tuple[Score, Score] | None,
    out: Path,
    *,
    personal: tuple[str, ...],
) -> str:
    judged = [{"loss": each.loss, "accuracy": each.accuracy} for each in scores or ()]
    return json.dumps(
        {
            "log": str(log.source.path),
            "author": peer_id_text(log.author),
            "incarnation": log.incarnation,
            "without": [peer_id_text(peer) for peer in left_out],
            "merges": told.merges,
            "with_its_votes": told.without_votes,
            "changed": told.changed,
            "no_quorum": told.alone,
            "kept": told.lost,
            "round": told.round,
            "moved": _distance(told),
            "before": judged[0] if judged else None,
            "after": judged[1] if judged else None,
            "file": str(out),
            "steps_taken_elsewhere": True,
            "without_layers": list(personal),
        }
    )


def _distance(told: Counterfactual) -> float:
    import numpy as np  # noqa: PLC0415

    return float(np.linalg.norm(told.served.would.astype(np.float64) - told.served.was))


def _judged(score: Score) -> str:
    return f"accuracy {100 * score.accuracy:.1f} %, loss {score.loss:.4f}"
