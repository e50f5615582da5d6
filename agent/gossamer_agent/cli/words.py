"""Names of columns and labels on a command line: dry,wet or dry,"wet, cold", as in a CSV file."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterable

import click


def parse_words(said: str) -> tuple[str, ...]:
    """The names in one option, without those that are blank. Raises click.BadParameter."""
    try:
        rows = list(csv.reader([said], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise click.BadParameter(
            f"{said!r:.80}: {error}; write names with commas between, one that holds a comma in"
            " double quotes"
        ) from None
    return tuple(word.strip() for row in rows for word in row if word.strip())


def show_words(words: Iterable[str]) -> str:
    """The names as `parse_words` reads them, quoted for a shell where that is needed."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(words)
    text = line.getvalue()
    # Letters of other alphabets need no quotes in a shell; shlex thinks so.
    return text if text.isprintable() and not set(text) & _SHELL else shlex.quote(text)


_SHELL = frozenset(" \t\n\"'\\`$&|;<>()*?[]#~!{}")
