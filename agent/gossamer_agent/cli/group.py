"""A click group that imports a command when it is called, not when the program starts."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from gossamer_agent.errors import ConfigError

ENTRY_POINTS = "gossamer.commands"


class LazyGroup(click.Group):
    """Own commands from a table of (where, one line of help), others from entry points.

    A table entry wins over an entry point of the same name. Other distributions add a command by
    an entry point in the group "gossamer.commands" that names a click command; its module should
    import little, because `--help` of the group loads it for its line.
    """

    def __init__(self, *, commands_by_name: Mapping[str, tuple[str, str]], **settings: Any) -> None:
        super().__init__(**settings)
        self._table = dict(commands_by_name)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted({*self._table, *entry_points(group=ENTRY_POINTS).names})

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002
        cmd_name: str,
    ) -> click.Command | None:
        if cmd_name in self._table:
            return _load(EntryPoint(cmd_name, self._table[cmd_name][0], ENTRY_POINTS))
        found = [*entry_points(group=ENTRY_POINTS, name=cmd_name)]
        return _load(found[0]) if found else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, self._help_of(ctx, name)) for name in self.list_commands(ctx)]
            )

    def _help_of(self, ctx: click.Context, name: str) -> str:
        if name in self._table:
            return self._table[name][1]
        try:
            command = self.get_command(ctx, name)
        except ConfigError as error:
            return f"({error})"
        return command.get_short_help_str(limit=70) if command else ""


def _load(entry_point: EntryPoint) -> click.Command:
    """Import a command. Raises ConfigError when another distribution's command is broken."""
    try:
        command = entry_point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the command {entry_point.name} cannot be loaded: {error}") from error
    if not isinstance(command, click.Command):
        raise ConfigError(f"the command {entry_point.name} cannot be loaded: not a click command")
    return command
