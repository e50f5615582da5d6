"""Every bound on what a peer can make us hold or do, in one place, units in the names."""

from __future__ import annotations

from dataclasses import dataclass

# An envelope and its framing add up to 285 bytes to a plaintext; a START body
# (genesis) takes up to 4.5 kB whatever the model. 8 KiB covers both.
_ENTRY_OVERHEAD_BYTES = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one peer. The defaults suit models of up to about one million parameters.

    Raises:
        ValueError: a bound is not positive, or the receive queue cannot hold the largest frame.
    """

    frame_bytes_max: int = 8 * 1024 * 1024  # larger frames are refused before they are decoded
    plaintext_bytes_max: int = 8 * 1024 * 1024 - _ENTRY_OVERHEAD_BYTES  # body of one entry
    inline_bytes_max: int = 256 * 1024  # entries up to this size are pushed, larger ones pulled
    pending_deltas_max: int = 8  # deltas of one peer that wait for a gap to be filled
    followers_max: int = 64  # peers that we serve
    receive_frames_max: int = 1024  # queue between the network and the agent; drops the oldest
    receive_bytes_max: int = 64 * 1024 * 1024  # the same queue, whichever is reached first

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive")
        if self.receive_bytes_max < self.frame_bytes_max:
            raise ValueError("receive_bytes_max must be at least frame_bytes_max")

    @classmethod
    def for_model(cls, parameters: int) -> Limits:
        """Return limits whose largest frame is a float32 keyframe of `parameters` values."""
        plaintext = 4 * parameters + _ENTRY_OVERHEAD_BYTES
        frame = plaintext + _ENTRY_OVERHEAD_BYTES
        return cls(
            frame_bytes_max=frame,
            plaintext_bytes_max=plaintext,
            receive_bytes_max=max(16 * frame, 1024 * 1024),
        )
