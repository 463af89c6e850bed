"""Clusters: TF_CONFIG, workers that wait for each other, and training on several of them by the loopback interface."""

import json
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faults
import numpy as np
import pytest
import workers
import yaml
from entry_points import SMALL, metrics, run, without_timings

from tfrnn import train
from tfrnn.errors import UserError
from tfrnn.runtime import cluster, devices
from tfrnn.runtime.cluster import Cluster

DOCS = Path(__file__).parents[2] / "docs"
TWO = ["a:1", "b:2"]
DEEP = [*SMALL, "--cell=gru", "--num_layers=2", "--dropout=0.3", "--optimizer=adam", "--learning_rate=0.01"]
# Workers add up a batch's gradients in another order than one device. A sum of B T H = 512 terms rounds to eps * 512 =
# 6e-5 of their size at most; training, which is clipped to a norm of 1, adds the differences of its steps up.
ROUNDING = {"rtol": 1e-3, "atol": 1e-4}


def set_tf_config(monkeypatch, value):
    monkeypatch.setenv(cluster.TF_CONFIG, value if isinstance(value, str) else json.dumps(value))


# TF_CONFIG


@pytest.mark.parametrize(
    ("roles", "task", "rank"),
    [
        ({"worker": TWO}, {"type": "worker", "index": 1}, 1),
        ({"worker": TWO}, {"type": "worker", "index": "0"}, 0),
        ({"chief": ["c:3"], "worker": TWO}, {"type": "chief", "index": 0}, 0),
        ({"chief": ["c:3"], "worker": TWO}, {"type": "worker", "index": 1}, 2),
        ({"chief": ["c:3"]}, {"type": "chief", "index": 0, "trial": "", "cloud": "x"}, 0),
    ],
)
def test_tf_config_lists_the_workers_and_this_ones_rank(monkeypatch, roles, task, rank):
    set_tf_config(monkeypatch, {"cluster": roles, "task": task, "environment": "cloud", "job": "{}"})
    assert cluster.from_tf_config() == Cluster(tuple(roles.get("chief", []) + roles.get("worker", [])), rank)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", r"environment variable TF_CONFIG, which is not set; set it for each worker, e.g. TF_CONFIG='{"),
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
        ({"cluster": {"chief": TWO}, "task": {"type": "chief", "index": 0}}, "at most one chief"),
        ({"cluster": {"worker": ["nowhere"]}, "task": {"type": "worker", "index": 0}}, "addresses host:port"),
        ({"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}, "addresses host:port"),
        ({"cluster": {"worker": [1, 2]}, "task": {"type": "worker", "index": 0}}, "addresses host:port"),
        ({"cluster": {"worker": ["a:0"]}, "task": {"type": "worker", "index": 0}}, "addresses host:port"),
        ({"cluster": {"worker": ["a:99999"]}, "task": {"type": "worker", "index": 0}}, "addresses host:port"),
        ({"cluster": {"worker": TWO}, "task": {"type": [], "index": 0}}, r"only tasks of type .*; got this task"),
        ({"cluster": {"worker": TWO}, "task": {"type": "worker", "index": float("inf")}}, "expected JSON such as"),
    ],
)
def test_a_wrong_tf_config_is_a_one_line_error(monkeypatch, value, message):
    set_tf_config(monkeypatch, value)
    with pytest.raises(UserError, match=message) as raised:
        cluster.from_tf_config()
    assert "\n" not in str(raised.value)
    assert run(train.main, "--strategy=multi_worker")[0] == 2


def test_the_kubernetes_manifest_of_the_docs_is_valid(monkeypatch):
    """The manifest is YAML whose command is one of ours, and the example of TF_CONFIG is a cluster."""
    text = (DOCS / "cluster.md").read_text()
    manifest = yaml.safe_load(text.split("<!-- tfjob -->\n```yaml\n")[1].split("```")[0])
    assert (manifest["apiVersion"], manifest["kind"]) == ("kubeflow.org/v1", "TFJob")
    roles = manifest["spec"]["tfReplicaSpecs"]
    assert {name: role["replicas"] for name, role in roles.items()} == {"Chief": 1, "Worker": 3}
    for role in roles.values():
        assert role["restartPolicy"] == "OnFailure"
        (container,) = role["template"]["spec"]["containers"]
        assert (container["name"], container["command"][:3]) == ("tensorflow", ["python", "-m", "tfrnn.train"])
        given, _, run_dir = train.parse_flags(container["command"][2:])
        assert (given.config.run.strategy, run_dir) == ("multi_worker", "/runs/big")
        assert not given.free  # a worker cannot measure for the others
    set_tf_config(monkeypatch, text.split("```json\n")[1].split("```")[0])
    assert cluster.from_tf_config().rank == 2


def test_the_guides_two_terminals_are_a_cluster_of_two(monkeypatch):
    values = re.findall("TF_CONFIG='(.*)' ", (DOCS / "guide.md").read_text())
    assert len(values) == 2
    for rank, value in enumerate(values):
        set_tf_config(monkeypatch, value)
        assert cluster.from_tf_config() == Cluster(("localhost:2222", "localhost:2223"), rank)


# Waiting for all workers, in threads of this process


def wait_for_all(addresses, rank, seconds):
    """Waits as the worker of this rank; returns None, or the message of the error."""
    try:
        return Cluster(tuple(addresses), rank).wait_for_all(seconds)
    except UserError as error:
        return str(error)


def wait_in_threads(addresses, ranks, seconds):
    with ThreadPoolExecutor(len(ranks)) as pool:
        return list(pool.map(lambda rank: wait_for_all(addresses, rank, seconds), ranks))


@pytest.mark.parametrize("ranks", [[2, 0, 1], [1, 2, 0], [0]], ids=str)
def test_workers_find_each_other_in_any_order(ranks):
    assert wait_in_threads(workers.loopback_addresses(len(ranks)), ranks, 30) == [None] * len(ranks)


def test_a_chief_with_an_impossible_host_name_is_named():
    addresses = [f"a..b:{workers.free_ports(1)[0]}", *workers.loopback_addresses(1)]
    assert "the chief at a..b" in wait_for_all(addresses, 1, 0.3)


def test_missing_workers_are_named_after_the_timeout():
    addresses = workers.loopback_addresses(3)
    chief, worker = wait_in_threads(addresses, [0, 1], 1.5)
    assert f"within `worker_timeout=1.5` seconds, but only 2 have started; missing: {addresses[2]}" in chief
    assert f"but the chief at {addresses[0]} has not answered" in worker
    assert f"the chief at {addresses[0]} has not answered" in wait_for_all(addresses, 1, 0.3)


def test_a_worker_with_other_addresses_is_refused():
    addresses, other = workers.loopback_addresses(2), workers.loopback_addresses(1)
    with ThreadPoolExecutor(1) as pool:
        chief = pool.submit(wait_for_all, addresses, 0, 2)
        worker = wait_for_all([addresses[0], *other], 1, 2)
        assert "expected the same addresses in TF_CONFIG as the chief has" in worker
        assert f"missing: {addresses[1]}" in chief.result()


def test_other_programs_that_connect_to_the_chief_are_ignored():
    addresses = workers.loopback_addresses(2)
    host, port = addresses[0].split(":")
    with ThreadPoolExecutor(1) as pool:
        chief = pool.submit(wait_for_all, addresses, 0, 30)
        for greeting in (b"GET / HTTP/1.1\r\n", b'{"rank": 1}\n', b"[]\n", b"\xff\n"):
            for _ in range(50):
                try:
                    with socket.create_connection((host, int(port)), 5) as stranger:
                        stranger.sendall(greeting)
                    break
                except ConnectionRefusedError:
                    time.sleep(0.1)
        assert wait_for_all(addresses, 1, 30) is None
        assert chief.result() is None


def test_a_port_in_use_is_named():
    with socket.create_server(("", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        expected = f"worker 0 ({address}): expected a port that is free on this machine, but Address already in use"
        assert expected in wait_for_all([address], 0, 5)


def test_a_lost_connection_names_the_workers_that_do_not_answer():
    gone, *_ = workers.loopback_addresses(1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        alive = f"127.0.0.1:{server.getsockname()[1]}"
        message = str(Cluster(("127.0.0.1:1", alive, gone), 0).connection_lost(TimeoutError("late")))
        assert f"nobody answers at {gone} any more (TimeoutError); start all of them again" in message
        message = str(Cluster(("127.0.0.1:1", alive), 0).connection_lost(TimeoutError("late")))
        assert "another worker has stopped (TimeoutError)" in message


# Training on several workers, each a process


def differences(run_dir, other):
    """Returns what differs by more than rounding between two runs: losses, weights, optimizer and state."""
    measures = [[list(row.values()) for row in without_timings(metrics(path))] for path in (run_dir, other)]
    arrays, expected = (
        {name: array for name, array in checkpoint.items() if name.startswith(("weights", "state", "optimizer"))}
        for checkpoint in (np.load(max((path / "checkpoints").glob("*.npz"))) for path in (run_dir, other))
    )
    pairs = {"metrics": measures} | {name: (arrays[name], expected[name]) for name in arrays}
    different = [name for name, pair in pairs.items() if not np.allclose(*pair, **ROUNDING)]
    return different + sorted(arrays.keys() ^ expected.keys())


@pytest.mark.slow
def test_two_workers_train_as_one_device_and_only_the_chief_reports(small_run, tmp_path):
    started = workers.start_training(workers.tf_configs(2, chief=True), *SMALL, f"--run_dir={tmp_path}/run")
    (chief, out, err), (status, *texts) = workers.results(started)
    assert (chief, status, texts) == (0, 0, ["", ""]), err
    assert "tokens/sec on 2 x /CPU:0\n" in out
    assert differences(tmp_path / "run", small_run) == []


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_workers_train_every_cell_as_one_device(count, tmp_path):
    path = tmp_path / "arrays.npz"
    results = workers.results(workers.start_training_every_cell(workers.tf_configs(count), path))
    assert [status for status, *_ in results] == [0] * count, results
    expected = workers.train_every_cell(devices.one_device("cpu"))
    with np.load(path) as arrays:
        assert sorted(arrays) == sorted(expected)
        assert [name for name in expected if not np.allclose(arrays[name], expected[name], **ROUNDING)] == []


def wait_for_epochs(run_dir, count):
    """Returns when a run has done this number of epochs."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (run_dir / "metrics.jsonl").exists() and len(metrics(run_dir)) >= count:
            return
        time.sleep(0.05)
    raise AssertionError("the run does not proceed")


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1], ids=["chief", "worker"])
def test_workers_restarted_after_a_kill_equal_an_uninterrupted_run(victim, tmp_path):
    flags = [*DEEP, "--epochs=40", "--save_every=0", "--show_every=0"]
    twin = workers.start_training(workers.tf_configs(2), *flags, f"--run_dir={tmp_path}/twin")
    assert [status for status, *_ in workers.results(twin)] == [0, 0]
    started = workers.start_training(workers.tf_configs(2), *flags, f"--run_dir={tmp_path}/run")
    wait_for_epochs(tmp_path / "run", 3)
    started[victim].kill()
    results = workers.results(started)
    assert (results[victim][0], results[1 - victim][0]) == (-signal.SIGKILL, 2)
    assert "expected all workers to keep running, but" in results[1 - victim][2]
    assert "start all of them again by the same command" in results[1 - victim][2]
    again = workers.results(workers.start_training(workers.tf_configs(2), *flags, f"--run_dir={tmp_path}/run"))
    assert [status for status, *_ in again] == [0, 0], again
    assert re.search(r"after \d+ epochs", again[0][2])
    assert faults.differences(tmp_path / "run", tmp_path / "twin") == []


@pytest.mark.slow
def test_a_signal_to_one_worker_saves_and_ends_all(tmp_path):
    """One device resumes what two workers began, and four workers what one device did."""
    flags = [*DEEP, "--epochs=4000", "--show_every=0"]
    started = workers.start_training(workers.tf_configs(2), *flags, f"--run_dir={tmp_path}/run")
    wait_for_epochs(tmp_path / "run", 3)
    started[1].send_signal(signal.SIGTERM)
    (chief, out, err), (status, *texts) = workers.results(started)
    assert (chief, status, texts, out) == (0, 0, ["", ""], ""), err
    assert "; saved\n" in err
    epochs = len(metrics(tmp_path / "run"))
    flags = [*DEEP, "--batch_size=4", "--show_every=0", f"--run_dir={tmp_path}/run"]
    status, _, err = run(train.main, *flags, f"--epochs={epochs + 2}")
    assert (status, ", 2 replicas before" in err) == (0, True), err
    four = workers.results(workers.start_training(workers.tf_configs(4), *flags, f"--epochs={epochs + 4}"))
    assert [status for status, *_ in four] == [0] * 4, four
    assert [row["epoch"] for row in metrics(tmp_path / "run")] == [*range(1, epochs + 5)]


@pytest.mark.slow
def test_a_worker_that_hangs_ends_the_others(tmp_path):
    flags = [*DEEP, "--epochs=4000", "--show_every=0", f"--run_dir={tmp_path}/run"]
    started = workers.start_training(workers.tf_configs(2), *flags)
    wait_for_epochs(tmp_path / "run", 3)
    started[1].send_signal(signal.SIGSTOP)
    ((status, _, err),) = workers.results(started[:1])
    assert (status, "expected all workers to keep running, but" in err) == (2, True)
    started[1].kill()
    workers.results(started[1:])


@pytest.mark.slow
def test_training_that_diverges_ends_all_and_only_the_chief_says_so(tmp_path):
    # Weight decay multiplies the weights by minus four million in each step.
    flags = [*SMALL, "--optimizer=adamw", "--learning_rate=1e9", f"--run_dir={tmp_path}/run"]
    (chief, _, err), (status, *texts) = workers.results(workers.start_training(workers.tf_configs(2), *flags))
    assert (chief, status, texts) == (2, 2, ["", ""]), err
    assert "training diverged" in err


@pytest.mark.slow
def test_workers_with_other_settings_are_refused(tmp_path):
    first, second = workers.tf_configs(2)
    started = workers.start_training([first], *DEEP, f"--run_dir={tmp_path}/run")
    started += workers.start_training([second], *DEEP, "--clip_norm=0.5")
    for status, _, err in workers.results(started):
        assert status == 2, err
        assert "expected the same settings and text in all workers, but those of 1 of 2 differ" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_an_error_of_the_chief_ends_all(tmp_path):
    (tmp_path / "thesis.txt").write_text("all my work")
    started = workers.start_training(workers.tf_configs(2), *DEEP, f"--run_dir={tmp_path}")
    (chief, _, err), (status, _, other) = workers.results(started)
    assert (chief, status) == (2, 2)
    assert "holds other files" in err
    assert "expected all workers to keep running" in other
