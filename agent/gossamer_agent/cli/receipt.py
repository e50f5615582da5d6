"""`gossamer receipt`: check what a device signed about an answer of its model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

INPUT_BYTES_MAX: Final = 64 << 20
_FILE = click.Path(path_type=Path)


@click.group()
def receipt() -> None:
    """Verify receipts of a device's answers.

    A receipt is made by POST /v1/infer?receipt=1 of the local API: the device signs what it
    answered, to which input, with which model, and where its log was.
    """


@receipt.command(short_help="Check a receipt, without a network.")
@click.argument("file", type=_FILE)
@click.option(
    "--input",
    "input_file",
    type=_FILE,
    metavar="FILE",
    help="The input that was asked about: the JSON that was posted, or an .npy array.",
)
@click.option("--device", metavar="PEER", help="Who must have signed: a peer id.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def verify(file: Path, input_file: Path | None, device: str | None, as_json: bool) -> None:
    """Check a receipt, without a network: that the device signed it, and nothing was altered.

    FILE holds a receipt, or the answer of the local API with one, of which only the receipt is
    signed. Without --input it is not checked what was asked; without --device anybody may have
    signed, so compare the peer id that is shown.
    The model is right if its hash and the replica's are those of a merge in the device's log:
    gossamer log show. Ends with exit code 5 if the receipt does not hold.

    \b
    Example:
      gossamer receipt verify answer.json --input question.json --device 12D3KooW...
    """
    import msgspec  # noqa: PLC0415

    from gossamer_agent.receipt import (  # noqa: PLC0415  imports numpy
        ReceiptError,
        parse_receipt,
        verify_receipt,
    )

    try:
        found = parse_receipt(_read(file))
        x = None if input_file is None else _input(input_file)
        verify_receipt(found, x)
    except ReceiptError as error:
        raise ReceiptError(f"{file}: {error}") from None
    if device is not None and found.device != device:
        raise ReceiptError(f"{file}: was signed by {found.device}, not by {device:.80}")
    if as_json:
        click.echo(
            msgspec.json.encode({"valid": True, "input_checked": x is not None} | _kept(found))
        )
        return
    rows = _kept(found)
    click.echo("\n".join(f"{name:<8}  {value}" for name, value in rows.items()))
    click.echo("valid" if x is not None else "valid; what was asked was not checked: --input")


def _kept(found: Any) -> dict[str, object]:
    from datetime import UTC, datetime  # noqa: PLC0415

    try:
        when = datetime.fromtimestamp(found.time_ms / 1000, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        when = f"{found.time_ms} ms"
    head = found.head
    return {
        "device": found.device,
        "swarm": found.swarm,
        "model": found.model,
        "replica": found.replica + (" with a personal part" if found.personal else ""),
        "round": found.round,
        "head": None
        if head is None
        else f"entry {head.seq} of log {head.incarnation}, {head.hash}",
        "time": when,
        "samples": len(found.answer),
    }


def _read(path: Path) -> bytes:
    from gossamer_agent.errors import StoreError  # noqa: PLC0415

    try:
        with path.open("rb") as file:
            raw = file.read(INPUT_BYTES_MAX + 1)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from None
    if len(raw) > INPUT_BYTES_MAX:
        raise StoreError(f"{path}: is larger than {INPUT_BYTES_MAX >> 20} MiB")
    return raw


def _input(path: Path) -> npt.NDArray[np.float32]:
    """float32 [n, ...]. Raises DataError."""
    import io  # noqa: PLC0415

    import msgspec  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    from gossamer_agent.errors import DataError  # noqa: PLC0415

    raw = _read(path)
    try:
        with np.errstate(over="ignore"):
            if raw.startswith(b"\x93NUMPY"):
                loaded: npt.NDArray[np.float32] = np.load(io.BytesIO(raw), allow_pickle=False)
                return loaded.astype(np.float32)
            body = msgspec.json.decode(raw)
            values = body.get("xs", body.get("x")) if isinstance(body, dict) else body
            x = np.array(values, np.float32)
        single = isinstance(body, dict) and "xs" not in body
    except Exception:
        # NumPy raises a dozen types on a damaged file; each means the same here.
        raise DataError(
            f"{path}: is neither the JSON that was posted, {{'x': [...]}} with numbers, nor an .npy"
            " array"
        ) from None
    return x[None] if single else x
