"""Flat msgpack arrays of ints and bins: the only shape that crosses the wire.

Limits on lengths alone do not stop a msgpack bomb: arrays of eight arrays of eight arrays turn one
megabyte into a million objects within every length limit. So the outer header is read by itself
and its fields are decoded with a limit of zero on arrays, maps, strings and extensions: whatever
nests is refused at its first byte, and a frame of n fields never makes more than n objects.

https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from __future__ import annotations

from collections.abc import Sequence

import msgpack

INT_MAX = 2**63 - 1  # what a signed 64-bit column of a database holds


def pack(fields: Sequence[int | bytes]) -> bytes:
    """Return `fields` as one msgpack array."""
    packed: bytes = msgpack.packb(fields, use_bin_type=True)
    return packed


def unpack(raw: bytes, *, fields_max: int, bin_bytes_max: int) -> list[int | bytes]:
    """Return the fields of one msgpack array of ints (0 to `INT_MAX`) and bins.

    The caller has checked the length of `raw`.

    Raises:
        ValueError: `raw` is anything else, or bytes follow the array.
    """
    unpacker = msgpack.Unpacker(
        None,
        raw=False,  # a str is not a bin, not even an empty one
        use_list=True,
        strict_map_key=True,
        max_buffer_size=max(1, len(raw)),
        max_bin_len=bin_bytes_max,
        max_str_len=0,
        max_array_len=0,
        max_map_len=0,
        max_ext_len=0,
    )
    try:
        unpacker.feed(raw)
        count = unpacker.read_array_header()
        if count > fields_max:
            raise ValueError("too many fields")
        fields = [unpacker.unpack() for _ in range(count)]
    except (msgpack.UnpackException, RecursionError) as error:
        raise ValueError(str(error) or type(error).__name__) from None
    if unpacker.tell() != len(raw):
        raise ValueError("bytes after the array")
    for field in fields:
        if type(field) is int:
            if not 0 <= field <= INT_MAX:
                raise ValueError("integer out of range")
        elif type(field) is not bytes:
            raise ValueError(f"field of type {type(field).__name__}")
    return fields
