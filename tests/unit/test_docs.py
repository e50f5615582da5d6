"""What docs/ names is there: tests, files, links, and a section for each benchmark."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted((ROOT / "docs").rglob("*.md"))
TOP_FOLDERS = "agent|benchmarks|crypto|docs|firmware-profiles|scripts|simulator|tests|transport"


def names_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


@pytest.fixture(params=DOCUMENTS, ids=names_of)
def document(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def functions_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def functions_in_tests(file: str) -> set[str]:
    """Those of all files of this name: a few are in two folders."""
    return set().union(*map(functions_in, (ROOT / "tests").rglob(file)))


def test_every_test_that_is_named_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for file, function in re.findall(r"(test_\w+\.py)::(test_\w+)", text):
        assert function in functions_in_tests(file), f"{file}::{function}"


def test_every_file_that_is_named_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for path in re.findall(rf"`((?:{TOP_FOLDERS})/[\w./-]*)", text):
        assert (ROOT / path).exists(), path


def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), target


def test_the_threat_model_names_tests() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    assert len(set(re.findall(r"test_\w+\.py::test_\w+", text))) >= 20


def test_every_benchmark_has_a_section() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for program in sorted((ROOT / "benchmarks").glob("*.py")):
        assert f"    python benchmarks/{program.name}\n" in text, program.name
