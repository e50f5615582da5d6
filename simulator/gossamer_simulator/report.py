"""The report of a simulation: one HTML file that needs nothing else, neither network nor script."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gossamer_agent.errors import AgentError
from gossamer_simulator.results import parse_result


def write_report(result: Mapping[str, object], path: Path | str) -> None:
    """Write the report of `result`, the JSON object of gossamer_simulator.results, to `path`.

    The same result gives the same bytes. Raises DataError if the object is malformed and
    AgentError, one line, if the plotting packages are missing or the file cannot be written.
    """
    parsed = parse_result(result)
    try:
        # Matplotlib and Jinja2 are extras, and slow to import: only a report needs them.
        from gossamer_simulator.page import render_page  # noqa: PLC0415
    except ImportError as error:
        raise AgentError(
            f"the report needs {error.name}; install it with: pip install 'gossamer[sim]'"
        ) from None
    page = render_page(parsed)
    try:
        Path(path).write_text(page, encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AgentError(f"the report cannot be written to {str(path)!r}: {reason}") from None
