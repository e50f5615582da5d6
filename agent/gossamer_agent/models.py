"""Model references: from the word a user types to a learner.

A reference is "synthetic", the name of a shipped model, the path of a .tflite file, or a learner
that somebody else made: "flower:MODULE:NAME" or "process:COMMAND ARGUMENT ...". A shipped file must
have the SHA-256 that the package records; any other file is first tried in a process of its own,
because a damaged one can crash the runtime.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.resources
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from gossamer_agent.errors import ModelError
from gossamer_agent.layers import Layer, parse_layers, read_layers
from gossamer_agent.learner import Learner
from gossamer_agent.learners import reference as foreign

SYNTHETIC: Final = "synthetic"
_FORMAT: Final = 1


def model_names() -> tuple[str, ...]:
    """Every reference that is not a path, shipped models first."""
    return (*_shipped(), SYNTHETIC)


def model_by_sha256(digest: bytes) -> str | None:
    """The name of the model that comes with gossamer and has this hash; None if none has."""
    from gossamer_agent.synthetic import SyntheticLearner  # noqa: PLC0415

    if digest == SyntheticLearner().model_sha256:
        return SYNTHETIC
    named = {bytes.fromhex(entry["sha256"]): name for name, entry in _shipped().items()}
    return named.get(digest)


def load_learner(reference: str) -> Learner:
    """The learner that a reference names. Raises ModelError with one line."""
    # Imported when needed: listing names must not cost loading a runtime.
    if reference == SYNTHETIC:
        from gossamer_agent.synthetic import SyntheticLearner  # noqa: PLC0415

        return SyntheticLearner()
    if foreign.is_foreign(reference):
        return _load_of_others(reference)
    shipped = _shipped()
    if reference in shipped:
        return _load_shipped(reference, shipped[reference])
    if _looks_like_path(reference):
        return _load_foreign(Path(reference))
    known = ", ".join((*shipped, SYNTHETIC))
    raise ModelError(
        f"model {reference!r} is unknown; use one of {known}, a path to a .tflite,"
        " flower:MODULE:NAME or process:COMMAND"
    )


def shipped_models() -> dict[str, dict[str, Any]]:
    """Name -> what models.json says of each model that comes with gossamer."""
    return _shipped()


@contextlib.contextmanager
def shipped_path(name: str) -> Iterator[Path | None]:
    """The file of a shipped model while the block runs; None if no model has this name."""
    entry = _shipped().get(name)
    if entry is None:
        yield None
        return
    with importlib.resources.as_file(_folder() / entry["file"]) as path:
        yield path


def model_content(reference: str) -> bytes:
    """The bytes of a .tflite model that this device can use: a shipped one, or a file that was
    tried in a process of its own. Raises ModelError.
    """
    from gossamer_agent.probe import check_model  # noqa: PLC0415
    from gossamer_agent.tflite import read_model  # noqa: PLC0415

    with shipped_path(reference) as path:
        if path is not None:
            content = read_model(path)
            tried = bytes.fromhex(_shipped()[reference]["sha256"])
        elif reference == SYNTHETIC or foreign.is_foreign(reference):
            raise ModelError(f"model {reference!r} is no .tflite file")
        else:
            report = check_model(Path(reference))
            if not report.usable:
                raise ModelError(f"{reference}: {report.problem}")
            content, tried = read_model(Path(reference)), report.sha256
    if hashlib.sha256(content).digest() != tried:
        raise ModelError(f"{reference}: the file was altered meanwhile")
    return content


def layers_of(reference: str) -> tuple[Layer, ...]:
    """The layers of a model's flat vector, in order, together all of it.

    Shipped models and files that `gossamer model author` and `convert` make have them. Raises
    ModelError with one line for models that have none; nothing is run.
    """
    from gossamer_agent.tflite import read_model  # noqa: PLC0415  loads numpy

    shipped = _shipped()
    if reference in shipped:
        return parse_layers(shipped[reference].get("layers"))
    if reference in model_names() or foreign.is_foreign(reference):
        raise ModelError(f"model {reference!r} has no layers; only .tflite models have")
    try:
        content = read_model(Path(reference))
        name = model_by_sha256(hashlib.sha256(content).digest())
        if name is not None:  # a copy of a shipped file, which may be older than its layer table
            return parse_layers(shipped[name].get("layers"))
        return read_layers(content)
    except ModelError as error:
        raise ModelError(f"{reference}: {str(error).removeprefix(f'{reference}: ')}") from None


def absolute_model(reference: str, base: Path) -> str:
    """The same model, named so that it is found from any working folder.

    base: the folder that the paths in `reference` are relative to. Raises ModelError for a
    reference to a learner of others that cannot be read.
    """
    if reference in model_names():
        return reference
    if foreign.is_foreign(reference):
        return foreign.absolute(reference, base.absolute())
    return str(base.absolute() / Path(reference).expanduser())


def _load_shipped(name: str, entry: dict[str, Any]) -> Learner:
    from gossamer_agent.tflite import TfliteLearner  # noqa: PLC0415

    with importlib.resources.as_file(_folder() / entry["file"]) as path:
        learner = TfliteLearner(path, expected_sha256=bytes.fromhex(entry["sha256"]))
    if learner.contract.parameters != entry["parameters"]:
        raise ModelError(f"model {name}: the installed package is damaged; install it again")
    return learner


def _load_foreign(path: Path) -> Learner:
    from gossamer_agent.probe import check_model  # noqa: PLC0415
    from gossamer_agent.tflite import TfliteLearner  # noqa: PLC0415

    report = check_model(path)
    if not report.usable:
        raise ModelError(f"{path}: {report.problem}")
    # Pinned to what was tried: the file may have been replaced since.
    return TfliteLearner(path, expected_sha256=report.sha256)


def _load_of_others(reference: str) -> Learner:
    if reference.startswith(foreign.FLOWER):
        from gossamer_agent.learners.flower import FlowerLearner  # noqa: PLC0415

        # A module beside the user is found although it is on no path of a program's.
        placed = foreign.absolute(reference, Path.cwd())
        return FlowerLearner(foreign.parse_flower(placed))
    from gossamer_agent.learners.process import ProcessLearner  # noqa: PLC0415

    return ProcessLearner(foreign.parse_process(reference))


def _looks_like_path(reference: str) -> bool:
    return "/" in reference or reference.endswith(".tflite") or Path(reference).is_file()


def _folder() -> importlib.resources.abc.Traversable:
    return importlib.resources.files("gossamer_profiles") / "models"


def _shipped() -> dict[str, dict[str, Any]]:
    try:
        table = json.loads((_folder() / "models.json").read_text(encoding="utf-8"))
        if table["format"] != _FORMAT:
            raise ModelError("models.json has an unknown format; install the package again")
        models: dict[str, dict[str, Any]] = table["models"]
    except (OSError, ValueError, KeyError, TypeError, ModuleNotFoundError):
        raise ModelError("the shipped models are missing; install the package again") from None
    return models
