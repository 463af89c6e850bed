"""TF_CONFIG, and several workers on addresses of the loopback interface."""

import json
import re
import signal
import socket
import threading
import time
from pathlib import Path

import faults
import numpy as np
import pytest
import workers
import yaml
from entry_points import SMALL, command, metrics, run, without_timings

from tests.training.test_replicas import CELLS, strategy_of, trained, trainer_of
from tfrnn import train
from tfrnn.errors import UserError
from tfrnn.runtime import cluster
from tfrnn.runtime.cluster import Cluster

TWO = ["a:1", "b:2"]
FEW = [*SMALL, "--cell=gru", "--num_layers=2", "--dropout=0.3", "--optimizer=adam", "--learning_rate=0.01"]


def given(monkeypatch, value):
    monkeypatch.setenv(cluster.TF_CONFIG, value if isinstance(value, str) else json.dumps(value))


@pytest.mark.parametrize(
    ("roles", "task", "number"),
    [
        ({"worker": TWO}, {"type": "worker", "index": 1}, 1),
        ({"worker": TWO}, {"type": "worker", "index": "0"}, 0),
        ({"chief": ["c:3"], "worker": TWO}, {"type": "chief", "index": 0}, 0),
        ({"chief": ["c:3"], "worker": TWO}, {"type": "worker", "index": 1}, 2),
        ({"chief": ["c:3"]}, {"type": "chief", "index": 0, "trial": "", "cloud": "x"}, 0),
    ],
)
def test_who_the_workers_are(monkeypatch, roles, task, number):
    given(monkeypatch, {"cluster": roles, "task": task, "environment": "cloud", "job": "{}"})
    found = cluster.from_tf_config()
    assert found == Cluster(tuple(roles.get("chief", []) + roles.get("worker", [])), number)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", r"environment variable TF_CONFIG, which is not set; set it for each worker, such as TF_CONFIG='{"),
        ("{", r"TF_CONFIG: expected JSON such as .* got '{'"),
        ("[]", "expected JSON such as"),
        ({"cluster": {"worker": TWO}}, "expected JSON such as"),
        ({"cluster": {"worker": TWO}, "task": {"type": "worker", "index": "x"}}, "expected JSON such as"),
        ({"cluster": {"worker": TWO}, "task": {"type": "worker", "index": 2}}, "one of the 2 tasks.*; got 2;"),
        ({"cluster": {"worker": TWO}, "task": {"type": "worker", "index": -1}}, "one of the 2 tasks"),
        ({"cluster": {"worker": TWO}, "task": {"type": "chief", "index": 0}}, "one of the 0 tasks of type chief"),
        ({"cluster": {"worker": TWO}, "task": {"type": "evaluator", "index": 0}}, "got this task as 'evaluator'"),
        ({"cluster": {"worker": TWO, "ps": ["p:1"]}, "task": {"type": "worker", "index": 0}}, "got ps in the cluster"),
        ({"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}, "one address for each"),
        ({"cluster": {"chief": TWO}, "task": {"type": "chief", "index": 0}}, "one chief at most"),
        ({"cluster": {"worker": ["nowhere"]}, "task": {"type": "worker", "index": 0}}, "addresses host:port"),
        ({"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}, "addresses host:port"),
        ({"cluster": {"worker": [1, 2]}, "task": {"type": "worker", "index": 0}}, "addresses host:port"),
        ({"cluster": {"worker": ["a:0"]}, "task": {"type": "worker", "index": 0}}, "addresses host:port"),
        ({"cluster": {"worker": ["a:99999"]}, "task": {"type": "worker", "index": 0}}, "addresses host:port"),
        ({"cluster": {"worker": TWO}, "task": {"type": [], "index": 0}}, "alone; got this task"),
        ({"cluster": {"worker": TWO}, "task": {"type": "worker", "index": float("inf")}}, "expected JSON such as"),
    ],
)
def test_a_wrong_cluster_is_one_line(monkeypatch, value, message):
    given(monkeypatch, value)
    with pytest.raises(UserError, match=message) as raised:
        cluster.from_tf_config()
    assert "\n" not in str(raised.value)
    assert run(train.main, "--strategy=multi_worker")[0] == 2


def test_what_the_design_says_of_launchers(monkeypatch):
    """The manifest is YAML whose command is one of ours; the examples of TF_CONFIG are clusters."""
    text = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text()
    manifest = yaml.safe_load(text.split("<!-- tfjob -->\n```yaml\n")[1].split("```")[0])
    assert (manifest["apiVersion"], manifest["kind"]) == ("kubeflow.org/v1", "TFJob")
    roles = manifest["spec"]["tfReplicaSpecs"]
    assert {name: role["replicas"] for name, role in roles.items()} == {"Chief": 1, "Worker": 3}
    for role in roles.values():
        assert role["restartPolicy"] == "OnFailure"
        (container,) = role["template"]["spec"]["containers"]
        assert (container["name"], container["command"][:3]) == ("tensorflow", ["python", "-m", "tfrnn.train"])
        config, _, run_dir = train.parse_flags(container["command"][2:])
        assert (config.run.strategy, run_dir) == ("multi_worker", "/runs/big")
    given(monkeypatch, text.split("```json\n")[1].split("```")[0])
    assert cluster.from_tf_config().number == 2


def test_what_the_guide_says_of_two_terminals(monkeypatch):
    guide = (Path(__file__).parents[2] / "docs" / "guide.md").read_text()
    for number, value in enumerate(re.findall("TF_CONFIG='(.*)' ", guide)):
        given(monkeypatch, value)
        assert cluster.from_tf_config() == Cluster(("localhost:2222", "localhost:2223"), number)
    assert number == 1


def met(addresses, numbers, seconds):
    """What becomes of these workers when they wait for all: None, or what is said."""
    said = {}

    def meet(number):
        try:
            said[number] = Cluster(tuple(addresses), number).meet(seconds)
        except UserError as error:
            said[number] = str(error)

    threads = [threading.Thread(target=meet, args=[number]) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [said[number] for number in numbers]


def loopback(count):
    return [f"127.0.0.1:{port}" for port in workers.free_ports(count)]


def test_workers_meet_in_any_order():
    assert met(loopback(3), [2, 0, 1], 30) == [None] * 3
    assert met(loopback(1), [0], 30) == [None]


def test_a_name_that_no_host_can_have_does_not_answer():
    addresses = [f"a..b:{workers.free_ports(1)[0]}", loopback(1)[0]]
    assert "the chief at a..b" in met(addresses, [1], 1)[0]


def test_who_does_not_come_is_named_in_time():
    addresses, start = loopback(3), time.monotonic()
    chief, first = met(addresses, [0, 1], 2)
    assert f"within --worker_timeout=2 seconds, but only 2 have come; missing: {addresses[2]}" in chief
    assert f"but the chief at {addresses[0]} has not answered" in first
    assert f"the chief at {addresses[0]} has not answered" in met(addresses, [1], 1)[0]
    assert time.monotonic() - start < 30


def test_another_list_of_addresses_is_refused():
    addresses, other = loopback(2), loopback(1)
    found = []
    thread = threading.Thread(target=lambda: found.extend(met(addresses, [0], 4)))
    thread.start()
    assert "expected the same addresses in TF_CONFIG as the chief has" in met([addresses[0], *other], [1], 4)[0]
    thread.join(60)
    assert f"missing: {addresses[1]}" in found[0]


def test_a_stranger_does_not_disturb_the_chief():
    addresses = loopback(2)
    found = []
    thread = threading.Thread(target=lambda: found.extend(met(addresses, [0], 30)))
    thread.start()
    host, port = addresses[0].split(":")
    for words in (b"GET / HTTP/1.1\r\n", b'{"number": 1}\n', b"[]\n", b"\xff\n"):
        for _ in range(50):
            try:
                with socket.create_connection((host, int(port)), 5) as stranger:
                    stranger.sendall(words)
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
    assert met(addresses, [1], 30) == [None]
    thread.join(60)
    assert found == [None]


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert "expected a port that is free on this machine, but Address already in use" in met([address], [0], 5)[0]


def weights_of(run_dir):
    with np.load(max((run_dir / "checkpoints").glob("*.npz"))) as arrays:
        return {name: array for name, array in arrays.items() if name.startswith(("weights", "state", "optimizer"))}


def check_close(run_dir, twin):
    """Losses, weights and state are those of the other run but for rounding."""
    for row, other in zip(*(without_timings(metrics(path)) for path in (run_dir, twin)), strict=True):
        np.testing.assert_allclose(list(row.values()), list(other.values()), 1e-4)
    found, expected = weights_of(run_dir), weights_of(twin)
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], 1e-3, 1e-4, err_msg=name)


def test_two_workers_give_what_one_device_does(tmp_path):
    """By the command, as a user starts it; the chief alone speaks, and has the run directory."""
    flags = [flag for flag in FEW if "dropout" not in flag]
    started = workers.start(2, *flags, f"--run_dir={tmp_path}/run", chief=True)
    assert run(train.main, *flags, f"--run_dir={tmp_path}/alone")[0] == 0
    (chief, out, err), (status, *texts) = workers.results(started)
    assert (chief, status, texts) == (0, 0, ["", ""]), err
    assert "tokens/sec on 2 x /CPU:0\n" in out
    check_close(tmp_path / "run", tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_workers_give_what_one_device_does(count, tmp_path):
    """Every cell, sequential and random."""
    path = tmp_path / "found.npz"
    started = [
        command("tests.support.workers", str(path), environment={cluster.TF_CONFIG: c}) for c in workers.configs(count)
    ]
    results = workers.results(started)
    assert [status for status, *_ in results] == [0] * count, results
    with np.load(path) as found:
        for cell in CELLS:
            for i, expected in enumerate(trained(trainer_of(strategy_of(1), cell))):
                np.testing.assert_allclose(found[f"{cell}.{i}"], expected, 1e-4, 1e-5, err_msg=f"{cell} {i}")


def until(run_dir, epochs):
    """Waits until so many epochs are done, a minute at most."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if (run_dir / "metrics.jsonl").exists() and len(metrics(run_dir)) >= epochs:
            return
        time.sleep(0.05)
    raise AssertionError("the run does not go on")


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_after_a_kill_all_start_again_and_nothing_is_lost(victim, tmp_path):
    flags = [*FEW, "--epochs=40", "--save_every=0", "--show_every=0"]
    twin = workers.start(2, *flags, f"--run_dir={tmp_path}/twin")
    assert [status for status, *_ in workers.results(twin)] == [0, 0]
    started = workers.start(2, *flags, f"--run_dir={tmp_path}/run")
    until(tmp_path / "run", 3)
    start = time.monotonic()
    started[victim].kill()
    results = workers.results(started)
    assert time.monotonic() - start < 60
    assert (results[victim][0], results[1 - victim][0]) == (-signal.SIGKILL, 2)
    assert "expected all workers to go on, but" in results[1 - victim][2]
    assert "start all of them again by the same command" in results[1 - victim][2]
    again = workers.results(workers.start(2, *flags, f"--run_dir={tmp_path}/run"))
    assert [status for status, *_ in again] == [0, 0], again
    assert "going on after" in again[0][2]
    assert faults.differences(tmp_path / "run", tmp_path / "twin") == []


@pytest.mark.slow
def test_a_signal_to_one_worker_saves_and_ends_all(tmp_path):
    flags = [*FEW, "--epochs=4000", "--show_every=0"]
    started = workers.start(2, *flags, f"--run_dir={tmp_path}/run")
    until(tmp_path / "run", 3)
    started[1].send_signal(signal.SIGTERM)
    (chief, out, err), (status, *texts) = workers.results(started)
    assert (chief, status, texts, out) == (0, 0, ["", ""], ""), err
    assert "saved\nto go on: " in err
    # One device goes on where two stopped, and three after it.
    epochs = len(metrics(tmp_path / "run"))
    more = [*FEW, "--batch_size=4", "--show_every=0", f"--run_dir={tmp_path}/run"]
    status, _, err = run(train.main, *more, f"--epochs={epochs + 2}")
    assert (status, ", 2 replicas before" in err) == (0, True), err
    four = workers.results(workers.start(4, *more, f"--epochs={epochs + 4}"))
    assert [status for status, *_ in four] == [0] * 4, four
    assert [row["epoch"] for row in metrics(tmp_path / "run")] == [*range(1, epochs + 5)]


@pytest.mark.slow
def test_a_worker_that_hangs_is_noticed(tmp_path):
    started = workers.start(2, *FEW, "--epochs=4000", "--show_every=0", f"--run_dir={tmp_path}/run")
    until(tmp_path / "run", 3)
    start = time.monotonic()
    started[1].send_signal(signal.SIGSTOP)
    (result,) = workers.results(started[:1])
    assert time.monotonic() - start < 100
    assert (result[0], "expected all workers to go on, but" in result[2]) == (2, True)
    started[1].kill()
    workers.results(started[1:])


@pytest.mark.slow
def test_training_that_diverges_ends_all_and_the_chief_alone_says_so(tmp_path):
    # Its decay multiplies the weights by minus four million in each step.
    flags = [*SMALL, "--optimizer=adamw", "--learning_rate=1e9", f"--run_dir={tmp_path}/run"]
    (chief, _, err), (status, *texts) = workers.results(workers.start(2, *flags))
    assert (chief, status, texts) == (2, 2, ["", ""]), err
    assert "training diverged" in err


@pytest.mark.slow
def test_workers_with_other_settings_are_refused(tmp_path):
    first, second = workers.configs(2)
    started = workers.start(1, *FEW, f"--run_dir={tmp_path}/run", config=[first])
    started += workers.start(1, *FEW, "--clip_norm=0.5", config=[second])
    for status, _, err in workers.results(started):
        assert (status, "1 of 2 have others than the chief" in err) == (2, True), err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_an_error_of_the_chief_ends_all(tmp_path):
    (tmp_path / "thesis.txt").write_text("all my work")
    (chief, _, err), (status, _, other) = workers.results(workers.start(2, *FEW, f"--run_dir={tmp_path}"))
    assert (chief, status) == (2, 2)
    assert "holds other files" in err
    assert "expected all workers to go on" in other
