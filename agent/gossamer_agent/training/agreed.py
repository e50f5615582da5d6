"""A learner as the members of a swarm agreed on it: what is personal has no place in its contract.

Layers have names (`models.layers_of`); where none is called "head", that is the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gossamer_agent.errors import ConfigError
from gossamer_agent.layers import Layer
from gossamer_agent.learner import Learner
from gossamer_agent.models import layers_of
from gossamer_agent.training.personal import PersonalLearner
from gossamer_agent.training.split import split_by

HEAD: Final = "head"
NAMES_MAX: Final = 64
NAME_CHARS_MAX: Final = 64


def agreed_learner(
    learner: Learner, reference: str, personal: Sequence[str], *, personal_steps: int = 0
) -> Learner:
    """`learner`, which `reference` names, without the layers that are personal.

    The result has a state where something is personal: one for each device. Raises ConfigError for
    a name that no layer has and where nothing would be shared, ModelError for a model whose layers
    have no names.
    """
    if not personal:
        return learner
    layers = layers_of(reference)
    split = split_by(layers, _names(layers, personal), learner.contract.parameters)
    return PersonalLearner(learner, split, personal_steps=personal_steps)


def parse_names(text: str) -> tuple[str, ...]:
    """The layers of "head,dense1" in alphabetical order, none for "". ConfigError."""
    names = sorted({name.strip() for name in text.split(",")} - {""})
    for name in names:
        if len(name) > NAME_CHARS_MAX or not name.isprintable():
            raise ConfigError(f"personal layer {name[:80]!r}: no layer is called so")
    if len(names) > NAMES_MAX:
        raise ConfigError(f"personal names {len(names)} layers; at most {NAMES_MAX} are possible")
    return tuple(names)


def _names(layers: Sequence[Layer], personal: Sequence[str]) -> list[str]:
    if any(layer.name == HEAD for layer in layers):
        return list(personal)
    return [layers[-1].name if name == HEAD else name for name in personal]
