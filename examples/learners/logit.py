"""A learner for Gossamer in Python: multinomial logistic regression, by steps of gradient descent.

    gossamer init garden --swarm greenhouse --data mine.npz \
        --model "process:python3 logit.py --inputs 64 --classes 10"

Needs numpy and msgpack, nothing of Gossamer. The protocol is docs/spec/process-learner.md. The
parameters are one row for each class: the intercept, then one coefficient for each input. The
learner glmnet.R declares the same model, so peers with one and peers with the other share a swarm.
"""

import argparse
import struct
import sys

import msgpack
import numpy as np

CONTRACT, INIT, INFER, TRAIN, EVALUATE = range(1, 6)


class Logit:
    def __init__(self, inputs, classes):
        self.inputs, self.classes = inputs, classes

    def contract(self, version):
        if version != 1:
            raise ValueError(f"this learner speaks version 1, not {version}")
        size = self.classes * (self.inputs + 1)
        name = "multinomial-logit"
        return [1, name, "classification", self.classes, size, 1e4, 300, self.inputs]

    def init(self):
        return [bytes(4 * self.classes * (self.inputs + 1))]

    def infer(self, params, count, x):
        logits = self.logits(params, count, x)
        return [logits.astype("<f4").tobytes()]

    def train(self, params, count, x, y, seed, *settings):
        chosen = dict(zip(settings[::2], settings[1::2]))
        rows, labels = self.rows(x, count), np.frombuffer(y, "<i4")
        start = self.rows(params, self.classes, 1).astype(np.float64)
        weights, velocity = start.copy(), np.zeros_like(start)
        rng, losses = np.random.default_rng(seed), []
        for _ in range(chosen["steps"]):
            batch = rng.integers(count, size=min(chosen["batch"], count))
            with_one = np.column_stack([np.ones(len(batch)), rows[batch]])
            shares = softmax(with_one @ weights.T)
            losses.append(loss_of(shares, labels[batch]))
            shares[np.arange(len(batch)), labels[batch]] -= 1
            step = shares.T @ with_one / len(batch)
            step += chosen.get("proximal", 0) * (weights - start)
            velocity = chosen.get("momentum", 0) * velocity + step
            weights -= chosen["learning_rate"] * velocity
        return [weights.astype("<f4").tobytes(), float(np.mean(losses))]

    def evaluate(self, params, count, x, y):
        labels = np.frombuffer(y, "<i4")
        shares = softmax(self.logits(params, count, x))
        return [loss_of(shares, labels), float(np.mean(shares.argmax(axis=1) == labels))]

    def logits(self, params, count, x):
        weights = self.rows(params, self.classes, 1)
        return weights[:, 0] + self.rows(x, count) @ weights[:, 1:].T

    def rows(self, raw, count, more=0):
        return np.frombuffer(raw, "<f4").reshape(count, self.inputs + more)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def loss_of(shares, labels):
    return float(-np.log(np.maximum(shares[np.arange(len(labels)), labels], 1e-12)).mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, required=True)
    parser.add_argument("--classes", type=int, required=True)
    learner = Logit(**vars(parser.parse_args()))
    frames_in, frames_out, sys.stdout = sys.stdin.buffer, sys.stdout.buffer, sys.stderr
    calls = {
        CONTRACT: learner.contract,
        INIT: learner.init,
        INFER: learner.infer,
        TRAIN: learner.train,
        EVALUATE: learner.evaluate,
    }
    while len(length := frames_in.read(4)) == 4:
        kind, *fields = msgpack.unpackb(frames_in.read(struct.unpack(">I", length)[0]))
        try:
            answer = [kind, *calls[kind](*fields)]
        except Exception as error:
            answer = [0, f"{type(error).__name__}: {error}"]
        packed = msgpack.packb(answer)
        frames_out.write(struct.pack(">I", len(packed)) + packed)
        frames_out.flush()


if __name__ == "__main__":
    main()
