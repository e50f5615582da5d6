"""How numbers are written for people, alike in the live display, the summary and the report."""

from __future__ import annotations

from collections.abc import Sequence

_BYTE_UNITS = ("bytes", "kB", "MB", "GB", "TB")
_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII_BLOCKS = "_.-=+*%#"


def percent(share: float) -> str:
    """A share of one as "94.1%". Only exactly 0 and 1 are written "0%" and "100%"."""
    if share in (0.0, 1.0):
        return f"{share:.0%}"
    text = f"{share:.1%}"
    return {"0.0%": "<0.1%", "100.0%": ">99.9%"}.get(text, text)


def byte_size(size: float) -> str:
    """Bytes in decimal units with three digits: "812 bytes", "12.4 kB", "1.05 GB"."""
    if size < 999.5:
        return f"{size:.0f} {_BYTE_UNITS[0]}"
    power = 0
    while size >= 999.5 and power < len(_BYTE_UNITS) - 1:
        size /= 1000
        power += 1
    digits = 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{size:,.{digits}f} {_BYTE_UNITS[power]}"


def duration(seconds: float) -> str:
    """Seconds as "3.2 s" below a minute, then "4:05" and "1:02:03"."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    clock = f"{minutes:02d}:{whole % 60:02d}"
    return f"{hours}:{clock}" if hours else clock.removeprefix("0")


def counted(number: int, singular: str, plural: str = "") -> str:
    """ "1 peer", "1,204 peers"."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def listed(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def sparkline(shares: Sequence[float], width: int, encoding: str = "utf-8") -> str:
    """Shares of one as block characters on the fixed scale 0 to 1; the last `width` means.

    More values than `width` are averaged in runs, so that the line always spans the whole run.
    """
    blocks = _BLOCKS if encoding.lower().startswith("utf") else _ASCII_BLOCKS
    if not shares or width < 1:
        return ""
    columns = min(width, len(shares))
    line = []
    for column in range(columns):
        run = shares[column * len(shares) // columns : (column + 1) * len(shares) // columns]
        level = sum(run) / len(run) * len(blocks)
        line.append(blocks[min(max(int(level), 0), len(blocks) - 1)])
    return "".join(line)
