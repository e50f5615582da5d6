"""From the Occupancy Detection files to an .npz file: `python make_data.py FOLDER occupancy.npz`.

FOLDER holds datatraining.txt, datatest.txt and datatest2.txt. Each reading becomes eight numbers:
temperature, humidity, light, CO2 and humidity ratio, brought to about 0..1 by fixed factors, the
hour as sine and cosine, and 1 on a weekend. The factors are fixed because no device of a swarm
knows the others' averages. `device` is the calendar day, `is_test` the two test files.
"""

import argparse
import csv
import math
from datetime import datetime
from pathlib import Path

import numpy as np

FILES = ("datatraining.txt", "datatest.txt", "datatest2.txt")
OFFSETS = np.array([20.0, 25.0, 0.0, 0.0, 0.0])
SCALES = np.array([5.0, 10.0, 1000.0, 1000.0, 0.01])


def features(when, values):
    """Eight numbers of one reading. values: the five that the sensors gave."""
    angle = 2 * math.pi * (when.hour + when.minute / 60) / 24
    scaled = (np.array(values) - OFFSETS) / SCALES
    return [*scaled, math.sin(angle), math.cos(angle), float(when.weekday() >= 5)]


def read_file(path):
    """(times, rows of eight, labels); ValueError names a line that cannot be read."""
    times, rows, labels = [], [], []
    with path.open(newline="", encoding="ascii") as file:
        lines = csv.reader(file)
        next(lines)
        for line in lines:
            try:
                # The first field, a number, is missing in the header: count from the end.
                when = datetime.fromisoformat(line[-7])
                values, label = [float(field) for field in line[-6:-1]], int(line[-1])
            except (ValueError, IndexError):
                where = f"{path}: line {lines.line_num}"
                raise ValueError(f"{where}: date, five numbers and 0 or 1 expected") from None
            times.append(when)
            rows.append(features(when, values))
            labels.append(label)
    return times, rows, labels


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path, help="the folder with the three files")
    parser.add_argument("out", type=Path, help="the .npz file to make")
    chosen = parser.parse_args()
    times, rows, labels, is_test = [], [], [], []
    for name in FILES:
        read = read_file(chosen.raw / name)
        times += read[0]
        rows += read[1]
        labels += read[2]
        is_test += [name != FILES[0]] * len(read[0])
    days = sorted({when.date() for when in times})
    device = [days.index(when.date()) for when in times]
    np.savez_compressed(
        chosen.out,
        x=np.array(rows, np.float32),
        y=np.array(labels, np.uint8),
        device=np.array(device, np.uint8),
        is_test=np.array(is_test),
    )
    print(f"{chosen.out}: {len(labels)} readings of {len(days)} days, {sum(labels)} occupied")


if __name__ == "__main__":
    main()
