"""The words for learners of others, read and made independent of the folder they were typed in.

    flower:[FOLDER/]MODULE:NAME[?KEY=VALUE&...]
    process:COMMAND ARGUMENT ...

Nothing is loaded or started here.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import parse_qsl

from gossamer_agent.errors import ModelError

Scalar: TypeAlias = bool | float | int | str

NO_FILE: Final = "none"
"""`data` in the settings of a device whose learner brings its own."""
FLOWER: Final = "flower:"
PROCESS: Final = "process:"
_FLOWER_FORM: Final = "write flower:[FOLDER/]MODULE:NAME, such as flower:client:client_fn"
_PROCESS_FORM: Final = "write process:COMMAND ARGUMENT ..., such as process:Rscript learner.R"
_DOTTED: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowerReference:
    """folder: where the module is, None for an installed one. attribute: `client_fn` or a class.

    first: a function that gives the first arrays, NAME of the same module or MODULE:NAME, where the
    client does not. name, bound: what the swarm agrees on beside the arrays (`model_digest`,
    `Contract`); config: what else the user wrote behind the question mark, for the client.
    """

    folder: str | None
    module: str
    attribute: str
    name: str | None = None
    bound: float | None = None
    first: str | None = None
    config: Mapping[str, Scalar] = field(default_factory=dict)

    def __str__(self) -> str:
        folder = "" if self.folder is None else f"{self.folder}/"
        return f"{FLOWER}{folder}{self.module}:{self.attribute}"


def is_foreign(reference: str) -> bool:
    """Whether a reference names a learner of others."""
    return reference.startswith((FLOWER, PROCESS))


def parse_flower(reference: str) -> FlowerReference:
    """Raises ModelError that shows the form."""
    body, _, query = reference.removeprefix(FLOWER).partition("?")
    place, colon, attribute = body.rpartition(":")
    folder, slash, module = place.rpartition("/")
    module = module.removesuffix(".py")
    if not (colon and _DOTTED.fullmatch(module) and attribute.isidentifier()):
        raise ModelError(f"model {reference!r:.120} cannot be read; {_FLOWER_FORM}")
    config: dict[str, Scalar] = dict(parse_qsl(query, keep_blank_values=True))
    name, bound, first = (config.pop(key, None) for key in ("name", "bound", "first"))
    if first is not None and not _function(str(first)):
        raise ModelError(f"first={first!r:.60} must be the name of a function, or MODULE:NAME")
    return FlowerReference(
        folder=(folder or "/") if slash else None,
        module=module,
        attribute=attribute,
        name=None if name is None else str(name),
        bound=None if bound is None else _bound(str(bound)),
        first=None if first is None else str(first),
        config={key: _scalar(str(value)) for key, value in config.items()},
    )


def parse_process(reference: str) -> tuple[str, ...]:
    """The command and its arguments, split as a shell would. Raises ModelError."""
    try:
        words = shlex.split(reference.removeprefix(PROCESS))
    except ValueError as error:
        raise ModelError(f"model {reference!r:.120}: {error}; {_PROCESS_FORM}") from None
    if not words:
        raise ModelError(f"model {reference!r} names no program; {_PROCESS_FORM}")
    return tuple(words)


def absolute(reference: str, base: Path) -> str:
    """The same learner, named so that it is found from any working folder.

    Of a process, every word that is a file below `base` becomes an absolute path; a bare command
    is left to the PATH. Of Flower, the folder does, or is put in front of a module that lies in
    `base`. Raises ModelError for what cannot be read.
    """
    if reference.startswith(PROCESS):
        words = parse_process(reference)
        found = (_absolute_word(word, base, first=not at) for at, word in enumerate(words))
        return PROCESS + shlex.join(found)
    parsed = parse_flower(reference)
    rest = reference.removeprefix(FLOWER)
    if parsed.folder is not None:
        return FLOWER + str(base / Path(rest).expanduser()) if rest[:1] != "/" else reference
    top = parsed.module.partition(".")[0]
    if (base / f"{top}.py").is_file() or (base / top).is_dir():
        return f"{FLOWER}{base.absolute()}/{rest}"
    return reference


def _absolute_word(word: str, base: Path, *, first: bool) -> str:
    if word.startswith("-") or (first and "/" not in word):
        return word
    try:
        path = base / Path(word).expanduser()
        return str(path.absolute()) if path.is_file() else word
    except (OSError, ValueError, RuntimeError):  # a word that no file can have as its name
        return word


def _function(text: str) -> bool:
    module, colon, name = text.rpartition(":")
    return name.isidentifier() and (not colon or _DOTTED.fullmatch(module) is not None)


def _bound(text: str) -> float:
    try:
        bound = float(text)
    except ValueError:
        bound = math.nan
    if not (math.isfinite(bound) and bound > 0):
        raise ModelError(f"bound={text!r:.40} must be a finite number above 0")
    return bound


def _scalar(text: str) -> Scalar:
    """As Flower reads its configs: numbers and truth values where a text looks like one."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
