"""From the SMS Spam Collection to an .npz: `python make_data.py SMSSpamCollection sms_spam.npz`.

Each line of the file is `ham` or `spam`, a tab, and the message. A message becomes a row of 0 and
1, one for each of 1024 buckets of its words and word pairs; the text itself is not kept. Every
fifth message is for testing (`is_test`).
"""

import argparse
from pathlib import Path

import numpy as np

from gossamer_agent.features.ngrams import hashed_texts

LABELS = {"ham": 0, "spam": 1}


def read_messages(path):
    """(labels 0 or 1, texts), one of each per line; ValueError names a line that is neither."""
    labels, texts = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        label, tab, text = line.partition("\t")
        if not tab or label not in LABELS:
            raise ValueError(f"{path}: line {number} does not begin with ham or spam and a tab")
        labels.append(LABELS[label])
        texts.append(text)
    return labels, texts


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path, help="the file SMSSpamCollection")
    parser.add_argument("out", type=Path, help="the .npz file to make")
    chosen = parser.parse_args()
    labels, texts = read_messages(chosen.raw)
    x = hashed_texts(texts).astype(np.uint8)
    is_test = np.arange(len(labels)) % 5 == 0
    np.savez_compressed(chosen.out, x=x, y=np.array(labels, np.uint8), is_test=is_test)
    print(f"{chosen.out}: {len(labels)} messages, {sum(labels)} of them spam")


if __name__ == "__main__":
    main()
