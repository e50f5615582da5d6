"""What an agent computes with its model and data: the answers to `Merge`, `Evaluate`, `Train`.

Both shells use it; on a device it runs in a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import numpy as np

from gossamer_agent.events import Evaluate, EvaluateDone, Event, Merge, MergeDone, Train, TrainDone
from gossamer_agent.gate import one_sidedness
from gossamer_agent.learner import Carried, Learner, Samples, Trained, Training, Vector
from gossamer_agent.merge.result import Merged
from gossamer_agent.merge.rules import get_rule, merge
from gossamer_agent.training.combining import REPLACE, Adaptive, AdaptiveState, adaptive_step
from gossamer_agent.training.local import personal_part, put_back, train_steps
from gossamer_agent.training.memory import LearningMemory
from gossamer_agent.training.nova import effective_steps, normalised
from gossamer_agent.training.options import KEEP, USEFUL, LocalOptions
from gossamer_agent.training.state import LearningState
from gossamer_crypto.identity import PeerId

Computation: TypeAlias = Merge | Evaluate | Train
Keeper: TypeAlias = Callable[[LearningState, int], None]
"""(what to keep over a restart, round). May decide to write less often. Raises StoreError."""

TRIED_PER_ROUND: Final = 3
"""Of how many peers the usefulness is measured in a round: each costs a pass over the hold-out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalLearning:
    """What this device learns with: the model, its own data, and how.

    rng: of the local steps; nobody else may draw from it, it is used in a thread. memory: of this
    device alone. keeper: stores what is to survive a restart, after each training. present: gives
    the training and hold-out samples of now at each computation, instead of the two here.
    """

    learner: Learner
    training: Samples
    holdout: Samples
    settings: Training
    rng: np.random.Generator
    options: LocalOptions = field(default_factory=LocalOptions)
    memory: LearningMemory = field(default_factory=LearningMemory)
    keeper: Keeper | None = None
    present: Callable[[], tuple[Samples, Samples]] | None = None

    def compute(self, asked: Computation) -> Event:
        """Make one computation for real. Raises DivergedError when training does not converge."""
        if self.present is not None:
            training, holdout = self.present()
            now = replace(self, training=training, holdout=holdout, present=None)
            return now.compute(asked)
        match asked:
            case Merge():
                merged = self._merge(asked)
                return MergeDone(
                    merged=merged,
                    candidate=self._candidate(asked, merged),
                    gains=self._gains(asked),
                )
            case Evaluate(current=current, candidate=candidate):
                before = self.learner.evaluate(current, self.holdout)
                after = self.learner.evaluate(candidate, self.holdout)
                classes = self.learner.contract.classes
                one_sided = one_sidedness(self.holdout.y, classes)
                return EvaluateDone(current=before, candidate=after, one_sided=one_sided)
            case Train():
                self.memory.settle(committed=asked.committed)
                trained = self._train(asked)
                if self.keeper is not None:
                    self.keeper(self.state(), asked.round)
                return TrainDone(params=trained.params, loss=trained.loss)

    # Over a restart ------------------------------------------------------------------------------

    def state(self) -> LearningState:
        """What must not be lost: it is nowhere else, not even with others."""
        kept = self.options.moments == KEEP
        return LearningState(
            personal=personal_part(self.learner),
            moments=self.memory.moments if kept else None,
            adaptive=self.memory.adaptive if self.options.combine != REPLACE else None,
        )

    def restore(self, state: LearningState) -> None:
        """Go on from `state`. Raises ModelError if the personal part does not fit the model.

        What the settings do not ask for any more, and vectors of another length, are left out.
        """
        put_back(self.learner, state.personal)
        size = self.learner.contract.parameters
        if self.options.moments == KEEP:
            self.memory.moments = state.moments
        adaptive = state.adaptive
        if self.options.combine != REPLACE and adaptive is not None and adaptive.u.shape == (size,):
            self.memory.adaptive = adaptive

    # Merging -------------------------------------------------------------------------------------

    def _merge(self, asked: Merge) -> Merged:
        return merge(
            asked.rule,
            asked.inputs,
            asked.own,
            bound=self.learner.contract.bound,
            round_=asked.round,
            initial=asked.initial,
            loss_of=self._loss_of if get_rule(asked.rule).uses_losses else None,
        )

    def _loss_of(self, params: Vector) -> float:
        return self.learner.evaluate(params, self.holdout).loss

    def _candidate(self, asked: Merge, merged: Merged) -> Vector | None:
        """What this device would commit, None for the merge itself."""
        options = self.options
        if options.combine == REPLACE:
            return None
        how = Adaptive(kind=options.combine, rate=options.combine_rate, t=options.combine_t)
        base = self.memory.base
        if base is None:  # nothing was committed yet, or not since the last start
            base = next(row.vector for row in asked.inputs if row.peer == asked.own)
        state = self.memory.adaptive or AdaptiveState.at_rest(base.size)
        candidate, after = adaptive_step(base, merged.vector, state, how)
        bound = np.float32(self.learner.contract.bound)
        np.clip(candidate, -bound, bound, out=candidate)
        self.memory.proposed = candidate, after
        return candidate

    def _gains(self, asked: Merge) -> tuple[tuple[PeerId, float], ...]:
        """By how much some peers' replicas, half and half with the own, lower the hold-out loss."""
        if self.options.follow != USEFUL:
            return ()
        own = next(row.vector for row in asked.inputs if row.peer == asked.own)
        others = [row for row in asked.inputs if row.peer != asked.own]
        if not others:
            return ()
        before, half = self._loss_of(own), np.float32(0.5)
        first = asked.round * TRIED_PER_ROUND
        numbers = {(first + k) % len(others) for k in range(TRIED_PER_ROUND)}
        tried = [others[number] for number in sorted(numbers)]
        return tuple((row.peer, before - self._loss_of((own + row.vector) * half)) for row in tried)

    # Training ------------------------------------------------------------------------------------

    def _train(self, asked: Train) -> Trained:
        settings, options = self.settings.in_round(asked.round), self.options
        if options.moments == KEEP:
            settings = replace(settings, carried=Carried(moments=self.memory.moments))
        stepped = train_steps(
            self.learner,
            asked.params,
            self.training,
            self.holdout,
            settings,
            checks=options.early_stop,
            rng=self.rng,
        )
        if options.moments == KEEP and stepped.steps:
            self.memory.moments = stepped.trained.moments
        if options.nominal_steps == 0 or stepped.steps == 0:
            return stepped.trained
        tau = effective_steps(stepped.steps, settings.heavy_ball)
        nominal = effective_steps(options.nominal_steps, settings.heavy_ball)
        scaled = normalised(asked.params, stepped.trained.params, tau, nominal)
        # Never beyond what peers may publish: then the steps stay as they were.
        if float(np.abs(scaled).max()) > self.learner.contract.bound:
            return stepped.trained
        return replace(stepped.trained, params=scaled)
