"""Flower clients as learners: duck-typed ones always, a real one where Flower is installed."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np

from gossamer_agent.data import DeviceData
from gossamer_agent.errors import ModelError
from gossamer_agent.gate import HoldoutGate
from gossamer_agent.learner import DivergedError, Learner, Score, Training
from gossamer_agent.learners.arrays import Layout
from gossamer_agent.learners.own_data import NO_DATA, brings_data
from gossamer_agent.learners.reference import absolute, parse_flower, parse_process
from gossamer_agent.models import absolute_model, load_learner

EXAMPLES = Path(__file__).parents[2] / "examples"
RNG = np.random.default_rng(0)

CLIENT = '''
import sys
import numpy as np

class Context:
    """Stands for Flower's, which need not be installed."""

class Client:
    """Pulls its parameters half of the way to a target in each fit."""

    def __init__(self, part=0, steps=1):
        self.target = np.full((3, 2), 1.0 + part)
        self.steps = steps

    def get_parameters(self, config):
        return [np.zeros((3, 2)), np.ones(4, np.float32), np.array(0)]

    def fit(self, parameters, config):
        self.seen = config
        weights, scale, counter = parameters
        assert weights.dtype == np.float64 and scale.dtype == np.float32 and counter.shape == ()
        for _ in range(self.steps):
            weights += (self.target - weights) / 2
        return [weights, scale, counter + 1], 10, {"train_loss": np.float32(0.5)}

    def evaluate(self, parameters, config):
        errors = parameters[0] - self.target
        return float((errors**2).mean()), 10, {"accuracy": float((abs(errors) < 0.2).mean())}

    def to_client(self):
        wrapper = type("NumPyClientWrapper", (), {})()
        wrapper.numpy_client = self
        return wrapper

def client_fn(context: Context):
    part = context.node_config.get("partition-id", 0)
    return Client(part, context.run_config.get("local-steps", 1)).to_client()

def old_client_fn(cid: str):
    assert isinstance(cid, str)
    return Client(int(cid))

class Random(Client):
    def get_parameters(self, config):
        drawn = np.random.default_rng()
        return [drawn.normal(size=(3, 2)), drawn.normal(size=4).astype(np.float32), np.array(7)]

class Forgetful(Client):
    def fit(self, parameters, config):
        return parameters[:1], 10, {}

class Reshaping(Client):
    def fit(self, parameters, config):
        return [parameters[0].T, *parameters[1:]], 10, {}

class Mute(Client):
    def fit(self, parameters, config):
        return parameters, 10, {}

class Exploding(Client):
    def fit(self, parameters, config):
        return [parameters[0] + np.inf, *parameters[1:]], 10, {}

class Broken(Client):
    def fit(self, parameters, config):
        raise KeyError("no\\nimages")

class Ragged(Client):
    def fit(self, parameters, config):
        return [[[1.0, 2.0], [3.0]], *parameters[1:]], 10, {}

class Quitter(Client):
    def fit(self, parameters, config):
        sys.exit("no images")

class Endless(Client):
    def evaluate(self, parameters, config):
        return 1.5, float("inf"), {}

class Careless(Client):
    def fit(self, parameters, config):
        return parameters, 10

class Labels(Client):
    def get_parameters(self, config):
        return [np.zeros((3, 2)), np.array([1, 2, 3])]

class Empty(Client):
    def get_parameters(self, config):
        return []

class Newer(Client):
    """As newer Flower projects are: the server has the first parameters."""
    get_parameters = None

def begin():
    return Client().get_parameters({})

def begin_with(context: Context):
    weights, scale, counter = begin()
    return [weights + context.run_config["start"], scale, counter]

def nothing():
    return []

class Silent(Client):
    def evaluate(self, parameters, config):
        return 1.5, 3, {}

class Boaster(Client):
    def evaluate(self, parameters, config):
        return 1.5, 3, {"accuracy": 99.0}

class NoClient:
    pass

ANSWER = 42
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The reference of a module that no other test has imported."""
    name = f"client_{abs(hash(tmp_path)):x}"
    (tmp_path / f"{name}.py").write_text(CLIENT)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield f"flower:{tmp_path}/{name}"
    sys.modules.pop(name, None)


@pytest.fixture
def learner(module: str) -> Callable[[str], Learner]:
    return lambda what: load_learner(f"{module}:{what}")


@pytest.mark.parametrize(
    "what",
    ["Client", "client_fn?partition-id=0", "old_client_fn?partition-id=0", "client_fn"],
)
def test_a_client_trains_unchanged(learner: Callable[[str], Learner], what: str) -> None:
    made = learner(what)
    assert brings_data(made)
    assert made.contract.parameters == 10
    assert made.init().tolist() == [0] * 6 + [1] * 4
    trained = made.train(made.init(), NO_DATA, Training(), RNG)
    assert trained.params.tolist() == [0.5] * 6 + [1] * 4
    assert trained.loss == 0.5
    assert made.evaluate(trained.params, NO_DATA) == Score(0.25, 0.0, 10, blind=1.0)


def test_each_peer_names_its_part_and_settings(learner: Callable[[str], Learner]) -> None:
    made = learner("client_fn?partition-id=2&num-partitions=9&local-steps=20")
    trained = made.train(made.init(), NO_DATA, Training(), RNG)
    assert trained.params[:6].round(3).tolist() == [3.0] * 6
    # The part is the peer's own affair: all are the same model.
    assert made.model_sha256 == learner("client_fn").model_sha256


def test_settings_reach_the_client(learner: Callable[[str], Learner]) -> None:
    made = learner("Client?local-epochs=3")
    made.train(made.init(), NO_DATA, Training(learning_rate=0.25), RNG)
    seen: dict[str, Any] = made._client.seen  # type: ignore[attr-defined]
    assert seen["learning_rate"] == 0.25
    assert seen["local-epochs"] == 3
    assert all(isinstance(value, int | float | str) for value in seen.values())


def test_a_vector_that_came_in_is_not_changed(learner: Callable[[str], Learner]) -> None:
    made = learner("Client")
    params = made.init()
    params.flags.writeable = False
    made.train(params, NO_DATA, Training(), RNG)
    assert params.tolist() == [0] * 6 + [1] * 4


def test_peers_whose_clients_draw_at_random_agree(learner: Callable[[str], Learner]) -> None:
    one, other = learner("Random"), learner("Random")
    assert np.array_equal(one.init(), other.init())
    assert one.model_sha256 == other.model_sha256
    assert 0 < np.abs(one.init()[:6]).max() <= math.sqrt(6 / 5)
    assert one.init()[6:].tolist() == [0, 0, 0, 0]


def test_a_client_without_first_parameters_is_given_some(
    learner: Callable[[str], Learner],
) -> None:
    made = learner("Newer?first=begin")
    assert made.model_sha256 == learner("Client").model_sha256
    trained = made.train(made.init(), NO_DATA, Training(), RNG).params
    assert trained[0] == 0.5
    other = learner("Newer?first=begin_with&start=0.25").init()
    assert (other - made.init()).tolist() == [0.25] * 6 + [0.0] * 4


def test_another_name_is_another_model(learner: Callable[[str], Learner]) -> None:
    assert learner("Client").model_sha256 == learner("Client?name=flower").model_sha256
    assert learner("Client").model_sha256 != learner("Client?name=mine").model_sha256


def test_the_gate_measures_by_the_first_parameters(learner: Callable[[str], Learner]) -> None:
    made, gate = learner("Client"), HoldoutGate()
    current = made.evaluate(np.full(10, 0.9, np.float32), NO_DATA)
    bad = made.evaluate(np.full(10, 3.0, np.float32), NO_DATA)  # four times the first loss
    fair = made.evaluate(np.full(10, 0.1, np.float32), NO_DATA)
    assert not gate.decide(current, bad, 2).commit
    assert gate.decide(current, fair, 2).commit


def test_a_client_that_reports_no_accuracy_has_none(learner: Callable[[str], Learner]) -> None:
    made = learner("Silent")
    score = made.evaluate(made.init(), NO_DATA)
    assert (score.loss, score.samples, score.blind) == (1.5, 3, 1.5)
    assert math.isnan(score.accuracy)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("Forgetful", "fit: 1 arrays instead of 3"),
        ("Reshaping", r"fit: array 0 is float64 \(2, 3\), at first it was float64 \(3, 2\)"),
        ("Broken", "fit raised KeyError: 'no.*images'"),
        ("Careless", "fit must give three things"),
        ("Ragged", "fit: array 0 cannot be read"),
        ("Quitter", "fit raised SystemExit: no images"),
    ],
)
def test_a_fit_that_cannot_be_used_is_one_line(
    learner: Callable[[str], Learner], what: str, says: str
) -> None:
    made = learner(what)
    with pytest.raises(ModelError, match=says) as caught:
        made.train(made.init(), NO_DATA, Training(), RNG)
    assert f":{what}: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_endless_number_of_samples_is_one_line(learner: Callable[[str], Learner]) -> None:
    made = learner("Endless")
    with pytest.raises(ModelError, match=r"evaluate gives the loss 1\.5 of inf"):
        made.evaluate(made.init(), NO_DATA)


def test_no_reported_loss_is_not_a_loss_of_zero(learner: Callable[[str], Learner]) -> None:
    made = learner("Mute")
    assert math.isnan(made.train(made.init(), NO_DATA, Training(), RNG).loss)


def test_a_fit_that_explodes_is_divergence(learner: Callable[[str], Learner]) -> None:
    made = learner("Exploding")
    with pytest.raises(DivergedError):
        made.train(made.init(), NO_DATA, Training(), RNG)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("Labels", r"array 1 is int64 \(3,\): only floating arrays"),
        ("Empty", r"get_parameters gives no arrays; .*\?first=MODULE:FUNCTION"),
        ("Empty?first=missing", "has no function or class missing"),
        ("Empty?first=no.module:begin", "there is no module no in"),
        ("Empty?first=nothing", "there are no arrays"),
        ("Empty?first=1", "first='1' must be the name of a function"),
        ("NoClient", "a NoClient without get_parameters, not a NumPyClient"),
        ("ANSWER", "has no function or class ANSWER"),
        ("Missing", "has no function or class Missing"),
        ("Client?bound=-1", "bound='-1' must be"),
        ("Client?bound=0.5", "parameter|bound"),
    ],
)
def test_what_is_no_client_is_refused_when_it_is_named(
    learner: Callable[[str], Learner], what: str, says: str
) -> None:
    if what.endswith("0.5"):
        made = learner(what)  # the first parameters are 1: training must come back within
        with pytest.raises(DivergedError, match=says):
            made.train(made.init(), NO_DATA, Training(), RNG)
        return
    with pytest.raises(ModelError, match=says):
        learner(what)


def test_an_accuracy_in_percent_is_refused(learner: Callable[[str], Learner]) -> None:
    made = learner("Boaster")
    with pytest.raises(ModelError, match="an accuracy of 99; it must be 0 to 1"):
        made.evaluate(made.init(), NO_DATA)


def test_it_cannot_be_asked_for_answers(learner: Callable[[str], Learner]) -> None:
    made = learner("Client")
    with pytest.raises(ModelError, match="not asked for answers"):
        made.infer(made.init(), np.zeros((1, 1), np.float32))


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("flower:no_such_module_here:client_fn", "there is no module no_such_module_here"),
        ("flower:client_fn", "write flower:"),
        ("flower::client_fn", "write flower:"),
        ("flower:os:path.join", "write flower:"),
        ("process:", "write process:"),
        ("process:'unclosed", "No closing quotation"),
    ],
)
def test_a_reference_that_cannot_be_read_shows_the_form(reference: str, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        load_learner(reference)


def test_a_module_that_needs_what_is_missing_says_so(tmp_path: Path) -> None:
    (tmp_path / "needs_torch_here.py").write_text("import no_such_torch")
    with pytest.raises(ModelError, match="needs no_such_torch, which is not installed"):
        load_learner(f"flower:{tmp_path}/needs_torch_here:client_fn")


# References --------------------------------------------------------------------------------------


def test_a_script_that_ends_when_it_is_imported_does_not_end_the_agent(tmp_path: Path) -> None:
    (tmp_path / "script_that_ends.py").write_text("raise SystemExit(0)\n")
    with pytest.raises(ModelError, match="importing it raised SystemExit: 0"):
        load_learner(f"flower:{tmp_path}/script_that_ends:Client")


def test_the_folder_of_a_module_becomes_absolute(tmp_path: Path) -> None:
    (tmp_path / "client.py").touch()
    (tmp_path / "app").mkdir()
    assert absolute("flower:client:f?a=1", tmp_path) == f"flower:{tmp_path}/client:f?a=1"
    assert absolute("flower:app.client:f", tmp_path) == f"flower:{tmp_path}/app.client:f"
    assert absolute("flower:sub/client:f", tmp_path) == f"flower:{tmp_path}/sub/client:f"
    assert absolute("flower:/x/client:f", tmp_path) == "flower:/x/client:f"
    assert absolute("flower:installed.client:f", tmp_path) == "flower:installed.client:f"
    parsed = parse_flower("flower:/x/app.client.py:f?name=n&partition-id=3&lr=0.5&fast=true&d=/a:b")
    assert (parsed.folder, parsed.module, parsed.attribute) == ("/x", "app.client", "f")
    assert parsed.name == "n"
    assert parsed.config == {"partition-id": 3, "lr": 0.5, "fast": True, "d": "/a:b"}


def test_files_of_a_command_become_absolute(tmp_path: Path) -> None:
    (tmp_path / "my learner.R").touch()
    (tmp_path / "64").touch()
    (tmp_path / "Rscript").touch()
    made = absolute("process:Rscript 'my learner.R' --inputs 10", tmp_path)
    # A bare command is looked for in the PATH, whatever lies in the folder.
    assert made == f"process:Rscript '{tmp_path}/my learner.R' --inputs 10"
    assert parse_process(made)[1] == str(tmp_path / "my learner.R")
    assert absolute("process:./Rscript -v", tmp_path) == f"process:{tmp_path}/Rscript -v"
    assert absolute(made, Path("/elsewhere")) == made


def test_other_references_are_names_or_paths(tmp_path: Path) -> None:
    assert absolute_model("mlp", tmp_path) == "mlp"
    assert absolute_model("mine.tflite", tmp_path) == str(tmp_path / "mine.tflite")
    assert absolute_model("/x/mine.tflite", tmp_path) == "/x/mine.tflite"


# Arrays ------------------------------------------------------------------------------------------

ARRAYS = st.lists(
    st_np.arrays(
        st.sampled_from([np.float16, np.float32, np.float64]),
        st_np.array_shapes(min_dims=0, max_dims=3, max_side=4),
        elements=st.floats(-100, 100, width=16),
    ),
    min_size=1,
    max_size=4,
)


@given(ARRAYS)
def test_arrays_come_back_as_they_were(arrays: list[Any]) -> None:
    layout = Layout(arrays)
    vector = layout.flat(arrays)
    assert (vector.dtype, vector.shape) == (np.float32, (layout.parameters,))
    for array, back in zip(arrays, layout.arrays(vector), strict=True):
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        assert np.array_equal(back, array)
        assert back.flags.writeable


# A real one --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_client_written_for_flower_runs_as_a_peer(tmp_path: Path) -> None:
    pytest.importorskip("flwr")
    from gossamer_simulator.datasets import load_dataset

    data = load_dataset("digits", np.random.default_rng(0))
    np.savez(tmp_path / "digits.npz", x=data.x, y=data.y)
    query = f"num-partitions=4&local-epochs=20&data={tmp_path}/digits.npz"
    place = f"flower:{EXAMPLES}/flower/client:client_fn?{query}"
    peers = [load_learner(f"{place}&partition-id={part}") for part in range(4)]
    assert len({peer.model_sha256 for peer in peers}) == 1
    params = peers[0].init()
    for _ in range(5):
        trained = [peer.train(params, NO_DATA, Training(), RNG).params for peer in peers]
        params = np.median(trained, axis=0).astype(np.float32)
    assert min(peer.evaluate(params, NO_DATA).accuracy for peer in peers) > 0.8


# On a device -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_device_founds_a_swarm_with_it(
    gossamer: Callable[..., Any],
    tmp_path: Path,
    module: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from gossamer_agent.cli.settings import NewDevice, check_data
    from gossamer_agent.device.folder import open_device

    monkeypatch.chdir(tmp_path)
    reference = f"flower:{module.rpartition('/')[2]}:client_fn?partition-id=1"
    ran = gossamer(
        *("init", "garden", "--swarm", "s", "--data", "none", "--profile", "x86-64"),
        *("--model", reference),
    )
    assert ran.code == 0, ran.err
    device = open_device(tmp_path / "garden")
    monkeypatch.chdir("/")
    assert load_learner(device.model).model_sha256 == device.genesis.model_sha256
    said = NewDevice(name="", data=Path("mine.npz"), test=None, profile="x86-64", listen=())
    checked = check_data(said, load_learner(device.model))
    assert checked == DeviceData(NO_DATA, None, checked.warnings)
    assert "mine.npz is not read" in checked.warnings[0]
