"""One simulation from its scenario to its result."""

from __future__ import annotations

import resource
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from gossamer_agent.errors import DataError, ModelError
from gossamer_agent.learner import Learner, Samples
from gossamer_agent.learners.own_data import brings_data
from gossamer_agent.models import SYNTHETIC, load_learner
from gossamer_agent.synthetic import make_samples
from gossamer_crypto.errors import GossamerError
from gossamer_crypto.feed import verify_chain
from gossamer_simulator.baselines import central, local_only
from gossamer_simulator.datasets import load_dataset
from gossamer_simulator.engine import Engine, Progress
from gossamer_simulator.metrics import quarantine_rates, share, verdicts
from gossamer_simulator.own_data import OwnTest, own_tests
from gossamer_simulator.partitions import partition
from gossamer_simulator.peers import SimulatedSwarm, build_swarm, stream
from gossamer_simulator.scenario import Scenario

BASELINE_RULE = "mean"
SYNTHETIC_ROWS = 32  # of each peer, and of the test set


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a scenario needs before it can run: a model and everybody's data.

    own: what each peer's accuracy on its own kind of data is measured on; empty: not measured.
    """

    learner: Learner
    slices: list[Samples]
    test: Samples
    warnings: tuple[str, ...]
    own: list[OwnTest | None] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Run:
    """A finished simulation and its peers."""

    engine: Engine
    simulated: SimulatedSwarm

    @property
    def failures(self) -> list[GossamerError]:
        """Why honest agents ended before the swarm did."""
        return [peer.failure for peer in self.engine.honest() if peer.failure is not None]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of the run."""
        if not self.failures:
            return ()
        honest = len(list(self.engine.honest()))
        return (f"{len(self.failures)} of {honest} honest agents ended early: {self.failures[0]}",)

    def check(self) -> None:
        """Raise the first failure if all agents failed and nobody attacked: the settings did it."""
        if len(self.failures) == len(self.engine.peers):
            raise self.failures[0]


def prepare(scenario: Scenario) -> Setup:
    """Check the scenario, load model and data, deal the data out. AgentError for bad input."""
    scenario.check()
    learner = load_learner(scenario.model)
    if scenario.model == SYNTHETIC:
        return _synthetic_setup(scenario, learner)
    if brings_data(learner):
        raise ModelError(
            f"model {scenario.model!r} brings its own data, which cannot be dealt out to peers; "
            "start one device for each client (gossamer init, gossamer join)"
        )
    data = load_dataset(scenario.data, stream(scenario.seed, "test split"))
    training, test = Samples(data.x, data.y), Samples(data.test.x, data.test.y)
    for samples in (training, test):
        _check_fit(scenario, learner, samples)
    parts = partition(
        scenario.partition, data.y, data.device, scenario.peers, stream(scenario.seed, "partition")
    )
    return Setup(
        learner=learner,
        slices=[training.take(rows) for rows in parts],
        test=test,
        warnings=(*scenario.warnings, *data.warnings),
        own=own_tests(scenario.partition, data, parts),
    )


def _check_fit(scenario: Scenario, learner: Learner, samples: Samples) -> None:
    try:
        samples.check(learner.contract)
    except DataError as error:
        raise DataError(
            f"data set {scenario.data!r} does not fit model {scenario.model!r}: {error}; "
            "change the file, or give a .tflite that is made for it with --model"
        ) from None


def _synthetic_setup(scenario: Scenario, learner: Learner) -> Setup:
    """The synthetic model brings its own data; `data` and `partition` do not apply."""
    chance = stream(scenario.seed, "synthetic data")
    size = learner.contract.parameters
    slices = [make_samples(size, SYNTHETIC_ROWS, chance) for _ in range(scenario.peers)]
    test = make_samples(size, SYNTHETIC_ROWS, chance)
    return Setup(learner=learner, slices=slices, test=test, warnings=scenario.warnings)


def run(scenario: Scenario, setup: Setup, progress: Progress) -> Run:
    """Simulate the swarm to the end of its rounds."""
    simulated = build_swarm(scenario, setup.learner, setup.slices)
    engine = Engine(scenario, setup.learner, simulated, setup.test)
    engine.run(progress)
    return Run(engine, simulated)


def add_baselines(
    result: dict[str, Any], scenario: Scenario, setup: Setup, finished: Run, progress: Progress
) -> None:
    """Put what the swarm is held against into the result: alone, central, the plain mean."""
    honest = list(finished.engine.honest())
    alone = local_only(scenario, setup.learner, honest, setup.test, _own_tests(setup, finished))
    baselines: dict[str, Any] = {
        "local_only": fmean(one.accuracy for one in alone),
        "local_only_own": _own_of([one.own for one in alone]),
        "central": central(scenario, setup.learner, honest, setup.test),
    }
    if scenario.rule != BASELINE_RULE:
        mean = run(scenario.with_rule(BASELINE_RULE), setup, progress)
        series = [fmean(sample.accuracies) for sample in mean.engine.metrics.samples]
        baselines["mean_rule"] = {"mean": series[-1], "per_round": series}
    result["baselines"] = baselines
    result |= _cost()


def result_of(scenario: Scenario, setup: Setup, finished: Run) -> dict[str, Any]:
    """The JSON object of a simulation (gossamer_simulator.results), without baselines."""
    engine = finished.engine
    metrics, samples = engine.metrics, engine.metrics.samples
    honest = len(list(engine.honest()))
    last = samples[-1].accuracies
    sent = [sample.bytes_sent for sample in samples]
    return {
        "config": asdict(scenario),
        "accuracy": {
            "mean": fmean(last),
            "min": min(last),
            "max": max(last),
            "per_round": [fmean(sample.accuracies) for sample in samples],
            "per_round_min": [min(sample.accuracies) for sample in samples],
            "per_round_max": [max(sample.accuracies) for sample in samples],
            "per_peer_last": list(last),
        },
        "own_data": _own_data(setup, finished),
        "baselines": {},
        "bytes": {
            "per_peer_round": metrics.bytes_sent / (honest * scenario.rounds),
            "total": metrics.bytes_sent,
            "per_round": [b - a for a, b in zip([0, *sent], sent, strict=False)],
        },
        "messages": metrics.messages,
        "refused": {str(reason): metrics.refused[reason] for reason in sorted(metrics.refused)},
        "gate": {"merges": metrics.merges, "refused": metrics.gate_refusals},
        "rested": _rested(scenario, engine),
        "quarantine": _quarantine(engine),
        "backdoor": {"success_rate": _backdoor(setup, finished)},
        "victim": _victim(finished),
        "reputation": {
            "peers": [{"name": peer.name, "attack": peer.attack} for peer in engine.peers],
            "per_round": [list(sample.reputation) for sample in samples],
        },
        "ledger": _ledger(finished.simulated),
        **_cost(),
        "trace_hash": engine.trace.hexdigest(),
        "warnings": [*setup.warnings, *finished.warnings],
    }


def _own_tests(setup: Setup, finished: Run) -> list[OwnTest | None]:
    """Of the honest peers, in their order."""
    if not setup.own:
        return [None for _ in finished.engine.honest()]
    peers = zip(finished.engine.peers, setup.own, strict=False)  # spare identities come last
    return [own for peer, own in peers if peer.attack is None]


def _own_data(setup: Setup, finished: Run) -> dict[str, Any] | None:
    """How good honest peers are on their own kind of data, at the end."""
    tests = _own_tests(setup, finished)
    return _own_of(
        [
            None if own is None else own.accuracy(peer.learning.learner, peer.agent.served)
            for peer, own in zip(finished.engine.honest(), tests, strict=True)
            if peer.agent is not None
        ]
    )


def _own_of(per_peer: list[float | None]) -> dict[str, Any] | None:
    measured = [accuracy for accuracy in per_peer if accuracy is not None]
    if not measured:
        return None
    return {"mean": fmean(measured), "min": min(measured), "per_peer_last": per_peer}


def _cost() -> dict[str, float]:
    """What this process has used so far."""
    return {
        "cpu_seconds": time.process_time(),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _ledger(simulated: SimulatedSwarm) -> dict[str, Any]:
    """Every feed from its first entry to its last: signatures, links, one author."""
    reports = [
        verify_chain(peer.store.entries(), simulated.swarm.swarm_id) for peer in simulated.peers
    ]
    return {
        "entries": sum(report.entries for report in reports),
        "verified": all(report.ok for report in reports),
    }


def _rested(scenario: Scenario, engine: Engine) -> dict[str, float]:
    """Shares of the rounds of all honest peers, by kind of pause; "outage" is one of them."""
    ticks: Counter[str] = Counter()
    resting = [peer for peer in engine.honest() if peer.resting is not None]
    for peer in resting:
        assert peer.resting is not None, "chosen so"
        ticks.update(peer.resting.rested)
        ticks["outage"] += peer.resting.rounds_off
    due = len(resting) * scenario.rounds
    return {str(kind): count / due for kind, count in sorted(ticks.items()) if count}


def _quarantine(engine: Engine) -> dict[str, Any]:
    """Shares of the (honest observer, judged peer) pairs that ended in quarantine."""
    judged = verdicts(engine.peers)
    attacks = sorted({peer.attack for peer in engine.peers if peer.attack is not None})
    honest_rate, byzantine_rate = quarantine_rates(engine.peers)
    rates = [sample.quarantine for sample in engine.metrics.samples]
    return {
        "honest_rate": honest_rate,
        "byzantine_rate": byzantine_rate,
        "by_attack": {
            attack: {
                "peers": sum(peer.attack == attack for peer in engine.peers),
                "rate": share(judged.get(attack, [])),
            }
            for attack in attacks
        },
        "per_round": {
            "honest_rate": [honest for honest, _ in rates],
            "byzantine_rate": [byzantine for _, byzantine in rates],
        },
    }


def _backdoor(setup: Setup, finished: Run) -> float | None:
    """How often the trigger works on what honest peers serve; None without a backdoor."""
    trigger = finished.simulated.trigger
    if trigger is None:
        return None
    served = [
        (peer.learning.learner, peer.agent.served)
        for peer in finished.engine.honest()
        if peer.agent is not None
    ]
    rates = [trigger.success_rate(learner, params, setup.test) for learner, params in served]
    known = [rate for rate in rates if rate is not None]
    return fmean(known) if known else None


def _victim(finished: Run) -> dict[str, Any] | None:
    """How the one peer that attackers were after came out of it; None if they were after all."""
    index = finished.simulated.victim
    if index is None:
        return None
    last = finished.engine.metrics.samples[-1]
    victim = finished.engine.peers[index]
    tables = [peer.agent.reputation for peer in finished.engine.honest() if peer.agent is not None]
    judged = [table for table in tables if victim.core.peer_id in table]
    assert victim.row is not None, "victims are honest"
    return {
        "name": victim.name,
        "accuracy": last.accuracies[victim.row],
        "score": last.reputation[index],
        "quarantined": share(table.is_quarantined(victim.core.peer_id) for table in judged),
    }
