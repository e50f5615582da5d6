"""From the Free Spoken Digit Dataset to an .npz file: `python make_data.py recordings fsdd.npz`.

FOLDER holds files such as `7_jackson_32.wav`: the digit, the speaker, the take; 8 kHz, 16 bits,
mono. Each becomes a log-mel spectrogram of 24 moments and 24 bands: Hann windows of 256 samples
every 80, bands from 80 to 3900 Hz, brought to 24 moments by interpolation, mean 0 and deviation 1
for each clip. `device` is the speaker; takes 0 to 4 are for testing, as the data set's authors do.
"""

import argparse
import re
import wave
from pathlib import Path

import numpy as np

NAME = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")
RATE, WINDOW, HOP = 8000, 256, 80
BANDS, MOMENTS, LOWEST, HIGHEST = 24, 24, 80.0, 3900.0
TEST_TAKES = 5


def read_wave(path):
    """The samples of a clip, float64 in [-1, 1); ValueError for another format."""
    with wave.open(str(path), "rb") as file:
        form = (file.getframerate(), file.getsampwidth(), file.getnchannels())
        if form != (RATE, 2, 1):
            raise ValueError(f"{path}: is not {RATE} Hz, 16 bits, mono, but {form}")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768.0


def mel_bands():
    """Triangles over the bins of the transform, [bands, bins]."""

    def mel(hertz):
        return 2595 * np.log10(1 + np.asarray(hertz) / 700)

    edges = np.linspace(mel(LOWEST), mel(HIGHEST), BANDS + 2)[:, None]
    bins = mel(np.fft.rfftfreq(WINDOW, 1 / RATE))
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.clip(np.minimum(rising, falling), 0, None)


def spectrogram(samples):
    """A clip of any length as float16 [moments, bands]."""
    samples = np.pad(samples, (0, max(0, WINDOW - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW), axis=1)) ** 2
    logs = np.log(power @ mel_bands().T + 1e-6)
    moments = np.linspace(0, len(logs) - 1, MOMENTS)
    even = np.stack([np.interp(moments, np.arange(len(logs)), band) for band in logs.T], axis=1)
    return ((even - even.mean()) / (even.std() + 1e-6)).astype(np.float16)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path, help="the folder with the recordings")
    parser.add_argument("out", type=Path, help="the .npz file to make")
    chosen = parser.parse_args()
    clips = [(path, NAME.fullmatch(path.name)) for path in sorted(chosen.raw.glob("*.wav"))]
    clips = [(path, found.groups()) for path, found in clips if found]
    if not clips:
        raise SystemExit(f"{chosen.raw}: holds no file such as 7_jackson_32.wav")
    np.savez_compressed(
        chosen.out,
        x=np.stack([spectrogram(read_wave(path)) for path, _ in clips]),
        y=np.array([int(digit) for _, (digit, _, _) in clips], np.uint8),
        device=np.array([speaker for _, (_, speaker, _) in clips]),
        is_test=np.array([int(take) < TEST_TAKES for _, (_, _, take) in clips]),
    )
    print(f"{chosen.out}: {len(clips)} clips of {len({s for _, (_, s, _) in clips})} speakers")


if __name__ == "__main__":
    main()
