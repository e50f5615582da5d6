"""A client as one writes it for Flower: logistic regression on one part of a data set.

Nothing in this file knows of Gossamer. `flwr run` starts it as a ClientApp; a Gossamer peer takes
it as it is, see README.md.
"""

from pathlib import Path

import numpy as np
from flwr.client import ClientApp, NumPyClient
from flwr.common import Context


class DigitsClient(NumPyClient):
    def __init__(self, x_train, y_train, x_test, y_test, *, epochs, learning_rate):
        self.x_train, self.y_train = x_train, y_train
        self.x_test, self.y_test = x_test, y_test
        self.epochs, self.learning_rate = epochs, learning_rate
        self.coef = np.zeros((x_train.shape[1], 10))
        self.intercept = np.zeros(10)

    def get_parameters(self, config):  # noqa: ARG002
        return [self.coef, self.intercept]

    def set_parameters(self, parameters):
        self.coef, self.intercept = parameters

    def fit(self, parameters, config):  # noqa: ARG002
        self.set_parameters(parameters)
        for _ in range(self.epochs):
            errors = self.predict(self.x_train)
            errors[np.arange(len(self.y_train)), self.y_train] -= 1
            self.coef -= self.learning_rate * self.x_train.T @ errors / len(errors)
            self.intercept -= self.learning_rate * errors.mean(axis=0)
        return self.get_parameters(config={}), len(self.x_train), {}

    def evaluate(self, parameters, config):  # noqa: ARG002
        self.set_parameters(parameters)
        shares = self.predict(self.x_test)
        loss = -np.log(shares[np.arange(len(shares)), self.y_test] + 1e-12).mean()
        accuracy = (shares.argmax(axis=1) == self.y_test).mean()
        return float(loss), len(self.x_test), {"accuracy": float(accuracy)}

    def predict(self, x):
        logits = x @ self.coef + self.intercept
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)


def client_fn(context: Context):
    part, parts = context.node_config["partition-id"], context.node_config["num-partitions"]
    with np.load(Path(context.run_config["data"])) as data:
        x, y = data["x"].reshape(len(data["x"]), -1).astype(float), data["y"].astype(int)
    x, y = x[part::parts], y[part::parts]
    test = np.arange(len(x)) % 5 == 0
    epochs = context.run_config.get("local-epochs", 5)
    rate = context.run_config.get("learning-rate", 0.5)
    parts = x[~test], y[~test], x[test], y[test]
    return DigitsClient(*parts, epochs=epochs, learning_rate=rate).to_client()


app = ClientApp(client_fn=client_fn)
