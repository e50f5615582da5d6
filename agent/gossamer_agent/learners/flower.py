"""A Flower `NumPyClient` as a learner, with no change to it: `flower:my_module:client_fn`.

Theory of operation. A Flower client brings its own data, so the `data` that this learner is given
are not looked at: `fit` is the local training, and `evaluate`, on whatever test data the client
has, is what the gate judges by. The client's arrays and our flat vector are translated by
`Layout`. Flower itself is not needed; the client's own module imports it.

All peers must start from the same parameters, and most clients draw theirs at random: what two
fresh clients agree on is kept, and the rest is drawn with a fixed seed (`Layout.agreed`). Clients
of newer Flower projects have no `get_parameters`, because there the server begins; then the user
names the function that the server calls for its first arrays.
"""

from __future__ import annotations

import importlib
import inspect
import math
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from gossamer_agent.contract import Contract
from gossamer_agent.errors import ModelError
from gossamer_agent.learner import Samples, Score, Trained, Training, Vector, check_params
from gossamer_agent.learners.arrays import Layout
from gossamer_agent.learners.identity import check_trained, model_digest
from gossamer_agent.learners.reference import FlowerReference, Scalar

DEFAULT_NAME: Final = "flower"
_NODE_KEYS: Final = ("partition-id", "num-partitions")
_ACCURACIES: Final = ("accuracy", "acc")


@dataclass
class LocalContext:
    """What `client_fn` is given where Flower's own `Context` cannot be had."""

    node_config: dict[str, Scalar]
    run_config: dict[str, Scalar]
    run_id: int = 0
    node_id: int = 0
    state: dict[str, Any] = field(default_factory=dict)


class FlowerLearner:
    """The learner protocol over a `NumPyClient`. Raises ModelError, one line, for what it does.

    The contract's classes and input shape say nothing: what goes into a client is its own affair.
    A traceback of the client's own code goes to the standard error.
    """

    brings_data: Final = True

    def __init__(self, reference: FlowerReference) -> None:
        self._reference = reference
        self._lock = threading.Lock()
        self._begin = self._named_beginning()
        self._make = self._factory()
        self._client = self._make()
        first, second = self._first(self._client), self._first(self._make())
        try:
            self._layout = Layout(first)
            initial = self._layout.agreed(first, second)
            bound = {} if reference.bound is None else {"bound": reference.bound}
            self._contract = Contract("classification", 2, (1,), self._layout.parameters, **bound)
            name = reference.name or DEFAULT_NAME
            self._model_sha256 = model_digest(name, self._contract, initial)
        except ModelError as error:
            raise self._wrong(str(error)) from None
        self._initial = initial
        self._blind: float | None = None

    @property
    def contract(self) -> Contract:
        return self._contract

    @property
    def model_sha256(self) -> bytes:
        """See `model_digest`: of name, number and values of the first parameters, not of code."""
        return self._model_sha256

    def init(self) -> Vector:
        """The same for all peers, float32 [P]."""
        return self._initial.copy()

    def infer(self, params: Vector, x: Vector) -> Vector:  # noqa: ARG002  the protocol's
        """Always a ModelError: a NumPyClient has no function for it."""
        raise self._wrong("a NumPyClient can be trained and evaluated, but not asked for answers")

    def train(
        self,
        params: Vector,
        data: Samples,  # noqa: ARG002  the client has its own
        settings: Training,
        rng: np.random.Generator,
    ) -> Trained:
        """One `fit`. settings reach the client in its `config`, and it may ignore them.

        The loss is what the client reports as "loss" or "train_loss", NaN where it reports none.
        Raises DivergedError too.
        """
        check_params(self._contract, params)
        config = _config(settings)
        config |= {"seed": int(rng.integers(1 << 31)), **self._reference.config}
        with self._lock:
            returned = self._call("fit", self._layout.arrays(params), config)
        arrays, _, metrics = self._three("fit", returned)
        try:
            vector = self._layout.flat(arrays)
        except ModelError as error:
            raise self._wrong(f"fit: {error}") from None
        check_trained(vector, self._contract.bound)
        loss = _reported(metrics, ("loss", "train_loss"))
        return Trained(vector, math.nan if loss is None else loss)

    def evaluate(self, params: Vector, data: Samples) -> Score:  # noqa: ARG002  as in `train`
        """The client's own `evaluate`. accuracy: NaN where it reports none.

        What counts as blind guessing is the loss of the first parameters: nothing is known of
        what the client's loss means.
        """
        check_params(self._contract, params)
        if self._blind is None:
            self._blind = self._evaluate(self._initial)[0]
        loss, samples, accuracy = self._evaluate(params)
        # Without a sensible first loss the gate has no measure: it refuses what is not finite.
        blind = self._blind if math.isfinite(self._blind) and self._blind > 0 else math.inf
        return Score(loss, accuracy, samples, blind=blind)

    # The client ----------------------------------------------------------------------------------

    def _named_beginning(self) -> Callable[..., Any] | None:
        """What gives the first arrays in place of the client."""
        if self._reference.first is None:
            return None
        module, _, attribute = self._reference.first.rpartition(":")
        return _load(self._reference, module or self._reference.module, attribute, self._wrong)

    def _factory(self) -> Callable[[], Any]:
        reference = self._reference
        named = _load(reference, reference.module, reference.attribute, self._wrong)
        needed = () if self._begin is not None else ("get_parameters",)
        methods = (*needed, "fit", "evaluate")

        def make() -> Any:
            arguments = _arguments(named, reference.config)
            made = self._guarded(f"{reference.attribute}()", named, *arguments)
            client = getattr(made, "numpy_client", made)  # `to_client()` wraps it
            for method in methods:
                if not callable(getattr(client, method, None)):
                    raise self._wrong(
                        f"{reference.attribute} gives a {type(made).__name__} without {method}, "
                        "not a NumPyClient"
                    )
            return client

        return make

    def _first(self, client: Any) -> Any:
        if self._begin is not None:
            arguments = _arguments(self._begin, self._reference.config)
            return self._guarded(str(self._reference.first), self._begin, *arguments)
        found = self._guarded("get_parameters", client.get_parameters, config={})
        if isinstance(found, list | tuple) and not found:  # as Flower's own does it
            raise self._wrong(
                "get_parameters gives no arrays; name the function that gives the first ones, with"
                " ?first=MODULE:FUNCTION"
            )
        return found

    def _evaluate(self, params: Vector) -> tuple[float, int, float]:
        config: dict[str, Scalar] = dict(self._reference.config)
        with self._lock:
            returned = self._call("evaluate", self._layout.arrays(params), config)
        loss, samples, metrics = self._three("evaluate", returned)
        accuracy = _reported(metrics, _ACCURACIES)
        try:
            # An evaluation that failed must not look like a good one.
            value, count = float(loss), int(samples)
        except (TypeError, ValueError, OverflowError):
            raise self._wrong(f"evaluate gives the loss {loss!r:.40} of {samples!r:.40}") from None
        if accuracy is not None and not 0 <= accuracy <= 1:
            raise self._wrong(f"evaluate gives an accuracy of {accuracy:g}; it must be 0 to 1")
        return value, count, math.nan if accuracy is None else accuracy

    def _call(self, method: str, *arguments: Any) -> Any:
        return self._guarded(method, getattr(self._client, method), *arguments)

    def _guarded(self, what: str, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Call the owner's code; whatever it raises is its own fault and told in one line."""
        try:
            return call(*args, **named)
        except (Exception, SystemExit) as error:  # sys.exit() would end the agent without a word
            traceback.print_exc()
            raise self._wrong(f"{what} raised {type(error).__name__}: {error}") from error

    def _three(self, method: str, returned: Any) -> tuple[Any, Any, Mapping[str, Any]]:
        if not (isinstance(returned, tuple | list) and len(returned) == 3):
            raise self._wrong(f"{method} must give three things, not {returned!r:.60}")
        if not isinstance(returned[2], Mapping):
            raise self._wrong(f"{method} must give a dict of metrics, not {returned[2]!r:.60}")
        return returned[0], returned[1], returned[2]

    def _wrong(self, what: str) -> ModelError:
        return ModelError(f"learner {self._reference}: {' '.join(what.split())}")


def _load(
    reference: FlowerReference, module: str, attribute: str, wrong: Callable[[str], ModelError]
) -> Callable[..., Any]:
    """A function or class, in the folder that the reference names."""
    if reference.folder is not None:
        folder = str(Path(reference.folder).absolute())
        if folder not in sys.path:
            # For good: clients import more of their own when they are called.
            sys.path.insert(0, folder)
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and module.startswith(error.name):
            where = reference.folder or "the Python path"
            raise wrong(f"there is no module {error.name} in {where}") from None
        raise wrong(f"its module needs {error.name}, which is not installed here") from None
    except (Exception, SystemExit) as error:  # of a script, too, that parses a command line
        traceback.print_exc()
        raise wrong(f"importing it raised {type(error).__name__}: {error}") from error
    named = getattr(loaded, attribute, None)
    if not callable(named):
        raise wrong(f"{module} has no function or class {attribute}")
    found: Callable[..., Any] = named
    return found


def _arguments(named: Callable[..., Any], config: Mapping[str, Scalar]) -> tuple[Any, ...]:
    """What a class or a `client_fn` takes: nothing, the old API's cid, or a context."""
    try:
        parameters = list(inspect.signature(named).parameters.values())
    except (TypeError, ValueError):  # builtins and C types tell no signature
        return ()
    needed = [one for one in parameters if one.default is one.empty and one.kind not in (2, 4)]
    if not needed:
        return ()
    if needed[0].name == "cid" or needed[0].annotation in (str, "str"):
        return (str(config.get("partition-id", 0)),)
    return (_context(config),)


def _context(config: Mapping[str, Scalar]) -> Any:
    node = {key: value for key, value in config.items() if key in _NODE_KEYS}
    run = {key: value for key, value in config.items() if key not in _NODE_KEYS}
    if "flwr" not in sys.modules:
        return LocalContext(node, run)
    try:
        common: Any = importlib.import_module("flwr.common")
        state = getattr(common, "RecordDict", None) or common.RecordSet
        return common.Context(run_id=0, node_id=0, node_config=node, state=state(), run_config=run)
    except (ImportError, AttributeError, TypeError):  # another version of Flower
        return LocalContext(node, run)


def _config(settings: Training) -> dict[str, Scalar]:
    """Plain numbers and texts, as Flower's configs are."""
    values = {spec.name: getattr(settings, spec.name) for spec in fields(settings)}
    return {name: value for name, value in values.items() if isinstance(value, int | float | str)}


def _reported(metrics: Mapping[str, Any], names: tuple[str, ...]) -> float | None:
    for name in names:
        value = metrics.get(name)
        if isinstance(value, int | float | np.number):
            return float(value)
    return None
