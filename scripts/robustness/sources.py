"""Which source files determine a cell, and their digest.

Theory of operation. What a module imports, at its top or inside a function, is read from its
source, and so on from there: the simulation and everything below it. The table of merge rules
imports every rule; it counts itself, but what it imports is not followed. A rule adds the module
that its function is written in, with what that imports. So a change in one rule throws away the
cells of that rule, and a change of the command line or of the network throws away none.

A rule written in the table itself, or a function made by one (`nnm+median`), is followed by the
names that its code uses. Names are looked up in the running program, so the digest is that of the
code that would run now. Comments and docstrings do not count.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Final

from gossamer_agent.merge.rules import get_rule

ROOT: Final = Path(__file__).resolve().parents[2]
_PACKAGES: Final = {
    f"gossamer_{name}": ROOT / name / f"gossamer_{name}"
    for name in ("crypto", "transport", "agent", "simulator")
}
_SIMULATION: Final = "gossamer_simulator.simulation"
_MERGE: Final = "gossamer_agent.merge"
_TABLE: Final = "gossamer_agent.merge.rules"
_EMBEDDED: Final = "gossamer_agent"  # has whole agents, for whoever asks for `Agent`
_DATA: Final = (
    "firmware-profiles/*.toml",
    "firmware-profiles/models/*",
    "simulator/gossamer_simulator/data/*.npz",
    "scripts/robustness/cells.py",
)
_COMPUTES: Final = ("numpy", "tflite-runtime", "ai-edge-litert")


@cache
def code_digest(rule: str) -> str:
    """Of all sources and versions that a cell of this rule depends on."""
    digest = hashlib.sha256(f"Python {sys.version_info[:2]}\n".encode())
    for name in _COMPUTES:
        digest.update(f"{name} {_version(name)}\n".encode())
    modules = imported(_SIMULATION) | modules_of_rule(rule)
    files = {path for module in modules if (path := file_of(module)) is not None}
    files |= {path for pattern in _DATA for path in ROOT.glob(pattern) if path.is_file()}
    for path in sorted(files):
        digest.update(f"{path.relative_to(ROOT)} {_meaning(path)}\n".encode())
    return digest.hexdigest()[:12]


@cache
def _meaning(path: Path) -> str:
    """A digest of a file; of a source without its comments, docstrings and layout."""
    if path.suffix != ".py":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(getattr(node, "body", None), list):
            node.body = [line for line in node.body if not _is_text(line)]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_text(node: ast.AST) -> bool:
    """A docstring, or a text below a constant."""
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def modules_of_rule(rule: str) -> frozenset[str]:
    """The modules of the merge that this rule runs, beside the table."""
    modules: set[str] = set()
    # Of nnm+median, also median, however the table puts the two together.
    for name in {rule, *rule.split("+")[1:]}:
        for module in _modules_of(get_rule(name).merge, set()):
            modules |= imported(module)
    return frozenset(modules)


@cache
def imported(module: str) -> frozenset[str]:
    """The module and all modules of this project that it imports, directly or not."""
    found: set[str] = set()
    open_ = [module]
    while open_:
        name = open_.pop()
        path = file_of(name)
        if path is None or name in found:
            continue
        found.add(name)
        open_ += _parents(name)
        if name not in (_TABLE, _EMBEDDED):
            open_ += _imports(path.read_text(encoding="utf-8"))
    return frozenset(found)


def file_of(module: str) -> Path | None:
    """The source of a module of this project; None for any other name."""
    top, _, rest = module.partition(".")
    if top not in _PACKAGES:
        return None
    path = _PACKAGES[top].joinpath(*rest.split(".")) if rest else _PACKAGES[top]
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


def _parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _imports(source: str) -> Iterator[str]:
    """Names that a source imports from this project: modules, and what may be one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _modules_of(value: Any, seen: set[int]) -> set[str]:
    """Modules of the merge that a function, or whatever it is made of, is written in."""
    if id(value) in seen:
        return set()
    seen.add(id(value))
    if isinstance(value, partial):
        return _modules_of_all([value.func, *value.args, *value.keywords.values()], seen)
    if isinstance(value, tuple | list):
        return _modules_of_all(value, seen)
    value = getattr(value, "__func__", value)
    module = getattr(value, "__module__", None) or ""
    if not module.startswith(_MERGE):
        return set()
    if not isinstance(value, FunctionType):
        return {module} | (
            set() if isinstance(value, type) else _modules_of_all(_state(value), seen)
        )
    cells = [cell.cell_contents for cell in value.__closure__ or () if _is_set(cell)]
    used = [*cells, *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
    if module == _TABLE:
        used += [value.__globals__[n] for n in _names(value.__code__) if n in value.__globals__]
    return {module} | _modules_of_all(used, seen)


def _modules_of_all(values: Iterable[Any], seen: set[int]) -> set[str]:
    return set().union(*(_modules_of(value, seen) for value in values))


def _state(value: object) -> list[Any]:
    slots = getattr(type(value), "__slots__", ())
    return [*getattr(value, "__dict__", {}).values(), *(getattr(value, s, None) for s in slots)]


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_set(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - reading it is the test
    except ValueError:
        return False
    return True


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "-"
