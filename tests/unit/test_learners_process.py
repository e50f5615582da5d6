"""Programs as learners: good ones, and those that die, hang, or talk nonsense."""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from gossamer_agent.errors import DataError, ModelError
from gossamer_agent.learner import DivergedError, Samples, Training
from gossamer_agent.learners.child import Child
from gossamer_agent.learners.process import RESTARTS_MAX, ProcessLearner
from gossamer_agent.models import load_learner

pytestmark = pytest.mark.slow

LEARNERS = Path(__file__).parents[2] / "examples" / "learners"
SHAPE = ("--inputs", "1", "--classes", "2")
PARAMS = np.array([0.5, -1.0, 0.0, 2.0], np.float32)
DATA = Samples(np.array([[-1.0], [-0.5], [0.5], [1.0]]), np.array([0, 0, 1, 1]))

MOODY = '''
"""Answers as a learner with four parameters does, but for `evaluate`: then it does as its mood."""
import os, struct, sys, time, msgpack
mood, notes = sys.argv[1], sys.argv[2]
def say(*fields):
    packed = msgpack.packb(fields)
    os.write(1, struct.pack(">I", len(packed)) + packed)
def evaluate():
    tries = os.path.getsize(notes) if os.path.exists(notes) else 0
    with open(notes, "a") as file:
        file.write(".")
    if mood == "well" or (mood == "dies once" and tries):
        return say(5, 0.25, 0.5)
    if mood.startswith("dies"):
        print("out of sorts", file=sys.stderr)
        sys.exit(3)
    if mood == "kills itself":
        os.kill(os.getpid(), 9)
    if mood == "hangs":
        time.sleep(60)
    if mood == "chats":
        return os.write(1, b"Loading required package: Matrix")
    if mood == "boasts":
        return os.write(1, struct.pack(">I", 1 << 31))
    if mood == "says twice":
        say(5, 0.25, 0.5)
        return say(5, 0.0, 1.0)
    if mood == "cannot":
        return say(0, "no such package")
if mood == "never starts":
    print("Traceback: \\x1b[31mno msgpack here", file=sys.stderr)
    sys.exit(1)
if mood == "has a child":
    child = os.fork()
    if not child:
        time.sleep(60)
    with open(notes, "w") as file:
        file.write(str(child))
while length := sys.stdin.buffer.read(4):
    kind, *fields = msgpack.unpackb(sys.stdin.buffer.read(struct.unpack(">I", length)[0]))
    if kind == 1:
        say(1, 1, "moody", "classification", 2, 4, 1e4, 1, 1)
    elif kind == 2:
        say(2, bytes(16))
    elif kind == 4:
        say(4, struct.pack("<4f", 0, 0, 0, float("nan") if mood == "diverges" else 2e4), 0.5)
    else:
        evaluate()
'''


@pytest.fixture
def moody(tmp_path: Path) -> Iterator[Callable[[str], ProcessLearner]]:
    """Starts a learner of a mood; `notes` beside it counts its evaluations."""
    script = tmp_path / "moody.py"
    script.write_text(MOODY)
    started = []

    def start(mood: str) -> ProcessLearner:
        learner = ProcessLearner((sys.executable, str(script), mood, str(tmp_path / "notes")))
        started.append(learner)
        return learner

    yield start
    for learner in started:
        learner.close()


def evaluations(tmp_path: Path) -> int:
    return (tmp_path / "notes").stat().st_size


def reference(program: str, script: str) -> str:
    return f"process:{shlex.join((program, str(LEARNERS / script), *SHAPE))}"


@pytest.fixture(params=["logit.py", "glmnet.R"])
def example(request: pytest.FixtureRequest) -> str:
    if request.param == "logit.py":
        return reference(sys.executable, request.param)
    if not has_glmnet():
        pytest.skip("R with glmnet is not installed")
    return reference("Rscript", request.param)


@functools.cache
def has_glmnet() -> bool:
    if shutil.which("Rscript") is None:
        return False
    asked = ["Rscript", "-e", 'quit(status = !nzchar(system.file(package = "glmnet")))']
    return subprocess.run(asked, check=False, capture_output=True).returncode == 0


def test_the_examples_learn(example: str) -> None:
    learner = load_learner(example)
    assert isinstance(learner, ProcessLearner)
    assert learner.contract.parameters == 4
    params, before = learner.init(), learner.evaluate(learner.init(), DATA)
    assert before.loss == pytest.approx(np.log(2))
    for _ in range(5):
        rng = np.random.default_rng(1)
        params = learner.train(params, DATA, Training(), rng).params
    after = learner.evaluate(params, DATA)
    assert after.loss < before.loss
    assert (after.accuracy, after.samples) == (1.0, 4)
    # Rows are classes, intercept first: so both lay out what they share in one way.
    outputs = learner.infer(PARAMS, np.array([[3.0]], np.float32))
    assert outputs.tolist() == [[-2.5, 6.0]]
    with pytest.raises(DataError, match="shape"):
        learner.infer(PARAMS, np.zeros((1, 2), np.float32))
    with pytest.raises(DataError, match="label 2"):
        learner.evaluate(PARAMS, Samples(np.zeros((1, 1)), np.array([2])))
    learner.close()


def test_chance_comes_from_the_agent() -> None:
    learner = load_learner(reference(sys.executable, "logit.py"))
    data = Samples(np.arange(40.0).reshape(40, 1) / 40, np.arange(40) // 20)
    trained = [
        learner.train(PARAMS, data, Training(), np.random.default_rng(seed)).params.tobytes()
        for seed in (1, 1, 2)
    ]
    assert trained[0] == trained[1] != trained[2]


@pytest.mark.parametrize(
    ("mood", "says"),
    [
        ("dies", "ended with exit code 3: out of sorts"),
        ("kills itself", "was ended by signal 9"),
        ("chats", "answered nonsense: an answer of 1282367844 bytes where at most 4096"),
        ("boasts", "answered nonsense: an answer of 2147483648 bytes where at most 4096"),
    ],
)
def test_what_fails_again_and_again_is_one_line(
    moody: Callable[[str], ProcessLearner], tmp_path: Path, mood: str, says: str
) -> None:
    learner = moody(mood)
    with pytest.raises(ModelError) as caught:
        learner.evaluate(PARAMS, DATA)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert evaluations(tmp_path) == 1 + RESTARTS_MAX


def test_what_died_once_is_started_again(
    moody: Callable[[str], ProcessLearner], tmp_path: Path
) -> None:
    assert moody("dies once").evaluate(PARAMS, DATA).loss == 0.25
    assert evaluations(tmp_path) == 2


def test_what_does_not_answer_is_ended(
    moody: Callable[[str], ProcessLearner], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gossamer_agent.learners import process

    learner = moody("hangs")
    monkeypatch.setattr(process, "RESTARTS_MAX", 0)
    begun = time.monotonic()
    with pytest.raises(ModelError, match="gave no answer in 1 s"):  # as it asked for in `contract`
        learner.evaluate(PARAMS, DATA)
    assert time.monotonic() - begun < 10


def test_an_error_is_passed_on_and_nothing_is_started_again(
    moody: Callable[[str], ProcessLearner], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"process:.*moody\.py.*says: no such package"):
        moody("cannot").evaluate(PARAMS, DATA)
    assert evaluations(tmp_path) == 1


def test_more_answers_than_questions_are_noticed(moody: Callable[[str], ProcessLearner]) -> None:
    learner = moody("says twice")
    learner.evaluate(PARAMS, DATA)
    time.sleep(0.05)
    # The second answer to the first question is not taken for one to the second.
    assert learner.evaluate(PARAMS, DATA).loss == 0.25


def test_a_program_that_does_not_start_is_not_tried_again(
    moody: Callable[[str], ProcessLearner], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match=r"exit code 1: Traceback: .*no msgpack here") as caught:
        moody("never starts")
    assert "\x1b" not in str(caught.value)
    shown = capfd.readouterr().err
    assert shown.count("no msgpack here") == 1
    assert "\x1b" not in shown


@pytest.mark.parametrize("mood", ["well", "diverges"])
def test_values_that_nobody_may_publish_are_divergence(
    moody: Callable[[str], ProcessLearner], mood: str
) -> None:
    with pytest.raises(DivergedError, match="left the bound of 10000"):
        moody(mood).train(PARAMS, DATA, Training(), np.random.default_rng(0))


def test_what_it_started_ends_with_it(
    moody: Callable[[str], ProcessLearner], tmp_path: Path
) -> None:
    learner = moody("has a child")
    child = int((tmp_path / "notes").read_text())
    os.kill(child, 0)
    learner.close()
    deadline = time.monotonic() + 10
    while is_running(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_what_may_not_be_killed_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a command that became another user's."""

    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr("gossamer_agent.learners.child.os.killpg", refuse)
    child = Child((sys.executable, "-c", "import time; time.sleep(20)"))
    process, begun = child._process, time.monotonic()
    child.end()
    assert time.monotonic() - begun < 10
    process.kill()
    assert process.wait() == -signal.SIGKILL


def is_running(pid: int) -> bool:
    """Whether it is more than an entry that nobody has read."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_it_ends_with_an_agent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "moody.py").write_text(MOODY)
    command = (sys.executable, str(tmp_path / "moody.py"), "well", str(tmp_path / "notes"))
    program = (
        "import sys, time; from gossamer_agent.learners.process import ProcessLearner\n"
        "learner = ProcessLearner(sys.argv[1:])\n"
        "print(learner._child._process.pid, flush=True); time.sleep(60)"
    )
    agent = subprocess.Popen(
        [sys.executable, "-c", program, *command], stdout=subprocess.PIPE, text=True
    )
    assert agent.stdout is not None
    pid = int(agent.stdout.readline())
    assert is_running(pid)
    agent.send_signal(signal.SIGKILL)
    agent.wait()
    agent.stdout.close()
    deadline = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_program_that_is_not_there_is_one_line() -> None:
    with pytest.raises(ModelError, match="cannot start '/no/such/R': No such file"):
        load_learner("process:/no/such/R learner.R")


def test_no_shell_sees_the_command(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    with pytest.raises(ModelError):
        load_learner(f"process:true ; touch {trap} $(touch {trap}) `touch {trap}`")
    assert not trap.exists()
