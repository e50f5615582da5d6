"""Writes docs/openapi.json, the description of the local API: `python scripts/make_openapi.py`."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from gossamer_agent.api.openapi import document

FILE = Path(__file__).resolve().parents[1] / "docs" / "openapi.json"

if __name__ == "__main__":
    whole = json.loads(msgspec.json.encode(document()))
    FILE.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
