"""`python -m gossamer_agent` is the program `gossamer`."""

from __future__ import annotations

from gossamer_agent.cli import main

main()
