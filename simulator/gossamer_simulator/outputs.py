"""Where the result of a run goes: tables in the terminal, a JSON file, a report, a folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from gossamer_agent.errors import ConfigError
from gossamer_simulator.report import write_report
from gossamer_simulator.summary import print_summary

STDOUT = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What a user asked for. json_file: "-" is the standard output; folder: what to keep there is
    for the command to say.
    """

    json_file: str | None
    report: Path | None
    folder: Path | None
    quiet: bool

    def console(self) -> Console:
        """For people; never where the JSON goes."""
        return Console(stderr=self.json_file == STDOUT, quiet=self.quiet)

    def check(self) -> None:
        """Find before a long run what would keep its result from being written: ConfigError."""
        files = [] if self.json_file in (None, STDOUT) else [self.json_file]
        for path in (Path(file) for file in (*files, self.report) if file is not None):
            folder = path.resolve().parent
            if not folder.is_dir():
                raise ConfigError(f"{path}: the folder {folder} does not exist")
            if path.is_dir():
                raise ConfigError(f"{path}: is a folder; give the name of a file")

    def write(self, result: dict[str, Any], console: Console) -> None:
        """Write `result`, the JSON object of gossamer_simulator.results. AgentError."""
        text = json.dumps(result, indent=1)
        if self.json_file == STDOUT:
            sys.stdout.write(text + "\n")
        elif self.json_file is not None:
            Path(self.json_file).write_text(text + "\n", encoding="utf-8")
        print_summary(result, console)
        if self.report is not None:
            # Last: it alone needs packages that may be missing.
            write_report(result, self.report)
            console.print(Text(f"report: {self.report}"), soft_wrap=True)


def warn(console: Console, warnings: Iterable[str]) -> None:
    """Show lines that the user should read although the run goes on."""
    for line in warnings:
        console.print(Text.assemble(("warning: ", "bold yellow"), line))
