"""Writes docs/benchmarks.md: `python scripts/make_benchmarks_doc.py [NAME ...]`.

Runs every program in benchmarks/, or only those named, and puts its docstring, its command and what
it printed into one section. The sections of programs that were not run stay as they are.
"""

from __future__ import annotations

import ast
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ROOT / "benchmarks"
DOCUMENT = ROOT / "docs" / "benchmarks.md"

INTRODUCTION = """# Benchmarks

Written by `make bench`; do not edit. Each section names the command that gives its figures and the
kind of machine it ran on. Compare ratios: both sides of one were measured in the same run, so they
survive a busy machine. Times are CPU time of one process. Nothing here was measured on a Raspberry
Pi.
"""


def machine() -> str:
    """The kind of machine, and what else it was doing when the program began."""
    cores, load = os.cpu_count() or 1, os.getloadavg()[0]
    state = "loaded" if load >= 0.5 else "idle"
    kind = platform.machine().replace("_", "-")
    return f"{cores}-core {kind}, {state} (load average {load:.1f})"


def title_and_text(program: Path) -> tuple[str, str]:
    """The docstring: what stands before the colon of its first line, and the paragraphs below."""
    docstring = ast.get_docstring(ast.parse(program.read_text(encoding="utf-8")))
    assert docstring is not None, f"{program} has no docstring"
    first, _, rest = docstring.partition("\n")
    return first.partition(":")[0].rstrip("."), rest.strip()


def section(program: Path) -> str:
    title, text = title_and_text(program)
    where = machine()
    ran = subprocess.run(
        [sys.executable, program], check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    command = f"    python {program.relative_to(ROOT)}"
    return f"## {title}\n\n{command}\n\nOn: {where}.\n\n{text}\n\n{ran.stdout.strip()}\n"


def sections_before() -> dict[str, str]:
    """The sections of the document as it is, by title."""
    if not DOCUMENT.exists():
        return {}
    parts = re.split(r"^(?=## )", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0].removeprefix("## "): part.rstrip() + "\n" for part in parts}


def main() -> None:
    programs = sorted(PROGRAMS.glob("*.py"))
    names = sys.argv[1:] or [program.stem for program in programs]
    if unknown := set(names) - {program.stem for program in programs}:
        sys.exit(f"no such benchmark: {', '.join(sorted(unknown))}")
    kept, sections = sections_before(), []
    for program in programs:
        title, _ = title_and_text(program)
        if program.stem in names:
            print(f"== {program.relative_to(ROOT)}", file=sys.stderr, flush=True)
            sections.append(section(program))
        elif title in kept:
            sections.append(kept[title])
    DOCUMENT.write_text("\n".join([INTRODUCTION, *sections]), encoding="utf-8")


if __name__ == "__main__":
    main()
