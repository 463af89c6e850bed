"""The commands as a user runs them: the journey, the errors, the run directory."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from entry_points import SMALL, command, metrics, run, without_timings

import tfrnn
from tfrnn import sample, train
from tfrnn.data import run_text as text_lib
from tfrnn.errors import UserError
from tfrnn.runtime import durable
from tfrnn.training import step


@pytest.fixture(scope="module")
def trained():
    with tempfile.TemporaryDirectory() as folder:
        status, out, err = run(train.main, *SMALL, f"--run_dir={folder}/run", "--show_every=1")
        assert status == 0, err
        yield Path(folder) / "run", out, err


def test_the_closing_lines_are_the_books(trained):
    _, out, err = trained
    lines = out.splitlines()
    assert re.fullmatch(r"perplexity \d+\.\d, \d+\.\d tokens/sec on /CPU:0", lines[0])
    assert all(line.startswith(prefix) for line, prefix in zip(lines[1:], ("well digger", "digger"), strict=True))
    assert [len(line) for line in lines[1:]] == [61, 56]
    assert "run directory: " in err
    assert "epoch 3/3: perplexity" in err


def test_what_a_run_directory_holds(trained):
    run_dir, _, _ = trained
    assert {path.name for path in run_dir.iterdir()} == {
        "config.json",
        "vocabulary.json",
        "metrics.jsonl",
        "checkpoints",
        "perplexity.png",
    }
    rows = metrics(run_dir)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert list(rows[0]) == [
        "epoch",
        "perplexity",
        "bits_per_char",
        "val_perplexity",
        "val_bits_per_char",
        "tokens_per_sec",
        "learning_rate",
        "seconds",
    ]
    assert rows[-1]["bits_per_char"] == pytest.approx(np.log2(rows[-1]["perplexity"]))
    config = json.loads((run_dir / "config.json").read_text())
    assert (config["data"]["text_rule"], config["run"]["prefix"]) == ("book", ["well digger", "digger"])
    assert json.loads((run_dir / "vocabulary.json").read_text())[:2] == ["<unk>", " "]
    assert (run_dir / "perplexity.png").read_bytes().startswith(b"\x89PNG")


def test_the_saved_and_loaded_model_predicts_the_same(trained):
    run_dir, out, _ = trained
    model, vocabulary, config = tfrnn.load_run(run_dir, "last")
    predicted = [tfrnn.generate(model, vocabulary, prefix) for prefix in config.run.prefix]
    assert predicted == out.splitlines()[1:]
    status, sampled, _ = run(sample.main, f"--run_dir={run_dir}", "--temperature=0", "--checkpoint=last")
    assert (status, sampled.splitlines()) == (0, predicted)


def test_the_best_weights_are_those_of_the_lowest_validation_perplexity(tmp_path):
    arguments = [*SMALL, "--units=64", "--optimizer=adam", "--learning_rate=0.01", "--max_tokens=200", "--epochs=60"]
    status, _, err = run(train.main, *arguments, f"--run_dir={tmp_path}/run")
    assert status == 0, err
    perplexities = [row["val_perplexity"] for row in metrics(tmp_path / "run")]
    assert min(perplexities) < 0.9 * perplexities[-1]  # it learns 200 characters by heart
    ids = text_lib.read(tfrnn.Config().replace(max_tokens=200, validation_tokens=200))[1].validation
    batches = tfrnn.sequential_batches(ids, 4, 8, random_offset=False)
    for which, expected in (("best", min(perplexities)), ("last", perplexities[-1])):
        model, _, _ = tfrnn.load_run(tmp_path / "run", which)
        found = tfrnn.Trainer(model, __import__("keras").optimizers.SGD()).evaluate(batches)["perplexity"]
        assert found == pytest.approx(expected, rel=1e-5)


def test_sampling_flags(trained):
    run_dir, _, _ = trained
    flags = (f"--run_dir={run_dir}", "--prefix=the well ", "--prefix=A", "--length=20")
    status, out, _ = run(sample.main, *flags, "--num_samples=2")
    assert status == 0
    assert [len(line) for line in out.splitlines()] == [29, 29, 21, 21]
    assert len(set(out.splitlines())) == 4
    streamed = run(sample.main, *flags, "--stream", "--top_k=5", "--top_p=0.9", "--temperature=0.8")[1]
    assert streamed == run(sample.main, *flags, "--top_k=5", "--top_p=0.9", "--temperature=0.8")[1]
    assert run(sample.main, *flags, "--seed=1")[1] != run(sample.main, *flags, "--seed=2")[1]


def test_a_finished_run_only_prints_its_last_lines_and_a_larger_number_of_epochs_goes_on(trained, tmp_path):
    run_dir, out, _ = trained
    shutil.copytree(run_dir, tmp_path / "run")
    flags = [*SMALL, f"--run_dir={tmp_path}/run"]
    status, again, err = run(train.main, *flags)
    assert (status, again) == (0, out)
    assert "finished" in err
    status, _, err = run(train.main, *flags, "--epochs=5")
    assert (status, len(metrics(tmp_path / "run"))) == (0, 5)
    status, _, _ = run(train.main, *SMALL, "--epochs=5", f"--run_dir={tmp_path}/whole")
    assert without_timings(metrics(tmp_path / "run")) == without_timings(metrics(tmp_path / "whole"))


def test_rows_after_the_checkpoint_come_again(trained, tmp_path):
    run_dir, _, _ = trained
    shutil.copytree(run_dir, tmp_path / "run")
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:  # as if killed before the next save
        file.write(json.dumps({**metrics(run_dir)[-1], "epoch": 4}) + "\n")
    run(train.main, *SMALL, "--epochs=4", f"--run_dir={tmp_path}/run")
    assert [row["epoch"] for row in metrics(tmp_path / "run")] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("flag", "named"),
    [("--units=17", "--units=16, now it is 17"), ("--seed=1", "--seed=0"), ("--corpus=time_machine", "corpus")],
)
def test_another_setting_on_resume_is_refused_by_name(trained, flag, named):
    run_dir, _, _ = trained
    if "time_machine" in flag and "TFRNN_DATA_DIR" not in os.environ:
        pytest.skip("needs the file of time_machine in TFRNN_DATA_DIR")
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    status, out, err = run(train.main, *SMALL, f"--run_dir={run_dir}", flag)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert named in err
    assert before == {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}


def test_what_may_change_on_resume_may(trained, tmp_path):
    run_dir, _, _ = trained
    shutil.copytree(run_dir, tmp_path / "run")
    flags = ["--device=cpu", "--prefix=water", "--show_every=0"]
    status, out, _ = run(train.main, *SMALL, f"--run_dir={tmp_path}/run", *flags)
    assert status == 0
    assert out.splitlines()[1].startswith("water")


def test_validation_tokens_are_right_behind_the_training_tokens():
    config = tfrnn.Config()
    text = tfrnn.load_corpus("sample")
    for max_tokens, held_out, training, validation in (
        (10_000, 5_000, text[:10_000], text[10_000:15_000]),
        (19_000, 5_000, text[:19_000], text[19_000:]),
        (0, 300, text[:-300], text[-300:]),
    ):
        _, ids = text_lib.read(config.replace(max_tokens=max_tokens, validation_tokens=held_out))
        assert ids.vocabulary.decode(ids.training) == training
        assert ids.vocabulary.decode(ids.validation) == validation


def test_a_vocabulary_of_the_training_tokens_reads_others_as_unknown(tmp_path):
    (tmp_path / "text").write_text("abcab" * 20 + "xyz")
    config = tfrnn.Config().replace(corpus=str(tmp_path / "text"), max_tokens=100)
    _, text = text_lib.read(config.replace(vocabulary="training"))
    assert (len(text.vocabulary), list(text.validation)) == (4, [0, 0, 0])
    assert text.notes == ("3 of 3 validation tokens are not in the vocabulary: read as <unk>",)
    assert len(text_lib.read(config)[1].vocabulary) == 7


def test_the_closing_speed_is_that_of_the_epochs(trained):
    run_dir, out, _ = trained
    speeds = [row["tokens_per_sec"] for row in metrics(run_dir)]
    shown = float(re.search(r", ([\d.]+) tokens/sec", out).group(1))
    assert min(speeds) <= shown <= max(speeds)
    for row in metrics(run_dir)[1:]:  # an epoch is all of it, tokens_per_sec its training alone
        assert row["tokens_per_sec"] >= 17 * 32 / row["seconds"]


def test_a_loss_on_held_out_text_that_overflows_is_no_number_in_the_metrics(tmp_path):
    infinite = step.Sums(*map(tf.constant, (np.inf, 100.0)))
    with mock.patch("tfrnn.training.trainer.Trainer._evaluate", return_value=infinite):
        assert run(train.main, *SMALL, f"--run_dir={tmp_path}/run")[0] == 0
    assert [row["val_bits_per_char"] for row in metrics(tmp_path / "run")] == [None] * 3
    assert run(train.main, *SMALL, "--epochs=4", f"--run_dir={tmp_path}/run")[0] == 0
    assert [row["epoch"] for row in metrics(tmp_path / "run")] == [1, 2, 3, 4]


def test_checkpoints_are_saved_on_the_way(tmp_path):
    with (
        mock.patch("tfrnn.training.trainer.CALL_SECONDS", 0),
        mock.patch("tfrnn.runtime.durable.write", wraps=durable.write) as write,
    ):
        assert run(train.main, *SMALL, f"--run_dir={tmp_path}/run", "--save_every=0")[0] == 0
    written = [call.args[0].name for call in write.call_args_list]
    assert sum(name.endswith(".npz") for name in written) > 30
    assert sorted(os.listdir(tmp_path / "run/checkpoints")) == ["00000002-00000018.npz", "00000003-00000000.npz"]


def test_a_terminal_gets_a_bar(tmp_path):
    import fcntl
    import pty
    import struct
    import termios

    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    command = [sys.executable, "-m", "tfrnn.train", *SMALL, "--epochs=40", f"--run_dir={tmp_path}/run"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=its)
    os.close(its)
    shown = b""
    with contextlib.suppress(OSError):  # so a terminal ends
        while piece := os.read(mine, 1000):
            shown += piece
    os.close(mine)
    assert process.wait(60) == 0
    assert re.search(rb"100%\|.*\| epoch 40.0/40, .*perplexity \d+\.\d\d, \d+ tokens/sec *\r?\n", shown)


def test_a_torn_last_line_of_the_metrics_heals_and_lost_checkpoints_are_told(trained, tmp_path):
    run_dir, _, _ = trained
    shutil.copytree(run_dir, tmp_path / "run")
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "perpl')
    flags = [*SMALL, "--epochs=5", f"--run_dir={tmp_path}/run"]
    assert run(train.main, *flags)[0] == 0
    assert [row["epoch"] for row in metrics(tmp_path / "run")] == [1, 2, 3, 4, 5]
    status, _, err = run(train.main, *flags, "--epochs=2")
    assert (status, "finished" in err) == (0, True)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["training"]["epochs"] == 5
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    for main, more in ((train.main, flags), (sample.main, [f"--run_dir={tmp_path}/run"])):
        status, out, err = run(main, *more)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "cannot be used (its checksum is not that of its content)" in err
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    status, _, err = run(train.main, *flags)
    assert (status, "5 finished epochs" in err) == (2, True)
    assert len(metrics(tmp_path / "run")) == 5


def test_a_run_that_is_killed_early_goes_on(tmp_path):
    process = command("tfrnn.train", *SMALL, "--epochs=9000", f"--run_dir={tmp_path}/run", "--show_every=1")
    for line in process.stderr:
        if line.startswith("epoch 2/"):
            break
    process.kill()
    process.communicate()
    assert run(train.main, *SMALL, f"--run_dir={tmp_path}/run")[0] == 0
    assert [row["epoch"] for row in metrics(tmp_path / "run")] == [1, 2, 3]
    (tmp_path / "run" / "metrics.jsonl").write_text('{"epoch": 1}\n3\n')  # rows that are none
    assert "expected the row of epoch 3" in run(train.main, *SMALL, f"--run_dir={tmp_path}/run")[2]


def test_a_run_that_was_cut_off_as_it_began_begins_again(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "vocabulary.json").write_text("[")
    assert run(train.main, *SMALL, f"--run_dir={tmp_path}/run")[0] == 0


def test_a_prefix_without_a_token_is_refused_before_training(tmp_path):
    status, out, err = run(
        train.main, *SMALL, "--tokens=word", "--text_rule=raw", "--prefix= ", f"--run_dir={tmp_path}/r"
    )
    assert (status, out, "a known word at least" in err) == (2, "", True)


def test_names_and_terminals_of_other_kinds(tmp_path, monkeypatch):
    path = tmp_path / "a$b_{$c.txt"
    path.write_text("日本語のテキスト。" * 40)
    flags = [f"--corpus={path}", "--batch_size=2", "--num_steps=4", "--units=4", "--epochs=1", "--max_tokens=200"]
    status, out, err = run(train.main, *flags, f"--run_dir={tmp_path}/run")
    assert status == 0, err
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    out = subprocess.check_output(
        [sys.executable, "-m", "tfrnn.sample", f"--run_dir={tmp_path}/run"], text=True, env=environment, stderr=-1
    )
    assert out.startswith("\\u65e5")


def test_a_file_by_its_path_and_words_and_random_batches(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.\n" * 30)
    for flags, prefix in (
        (["--tokens=word", "--sampling=random"], "Zwölf Boxkämpfer jagen "),
        (["--max_tokens=0", "--validation_tokens=100", "--preset=rnn_scratch"], "Zwölf Boxkäm"),
        (["--validation_tokens=0", "--embedding_dim=5", "--num_layers=2", "--dropout=0.1"], "Zwölf Boxkäm"),
    ):
        small = ["--units=8", "--batch_size=2", "--num_steps=5", "--epochs=1", "--max_tokens=150", *flags]
        status, out, err = run(train.main, f"--corpus={text}", *small, f"--run_dir={tmp_path}/{flags[0]}")
        assert status == 0, err
        assert out.splitlines()[1].startswith(prefix)
    assert metrics(tmp_path / flags[0])[0]["val_perplexity"] is None


def test_a_run_that_diverges_keeps_the_last_good_weights(tmp_path):
    import keras

    with mock.patch(
        "tfrnn.training.optimizers.make_optimizer", return_value=keras.optimizers.SGD(1e38)
    ):  # no flag goes so far
        status, out, err = run(train.main, *SMALL, "--clip_norm=0", f"--run_dir={tmp_path}/run")
    assert (status, out) == (2, "")
    assert re.search(r"tfrnn: error: training diverged: .* epoch 1, batch \d+.*--learning_rate", err)
    model, _, _ = tfrnn.load_run(tmp_path / "run")
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_an_error_in_python_is_a_value_error_with_the_same_text():
    with pytest.raises(ValueError, match="--units must be a whole number at least 1 and at most 16384; got 0"):
        tfrnn.Config().replace(units=0)
    assert issubclass(UserError, ValueError)


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path):
    """In a process of its own, with its default run directory: interrupted, resumed, and as if never interrupted."""
    flags = [flag for flag in SMALL if "epochs" not in flag] + ["--epochs=600", "--show_every=1"]
    process = command("tfrnn.train", *flags, cwd=tmp_path)
    for line in process.stderr:  # wait until it trains
        if line.startswith("epoch 3/"):
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "-m tfrnn.train" in err.split("to resume: ")[1]
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"rnn-sample-\d{8}-\d{6}", run_dir.name)
    done = len(metrics(run_dir))
    assert 3 <= done < 600
    again = err.split("to resume: ")[1].split()
    epochs = str(done + 4)
    for arguments in ([*again[3:], f"--epochs={epochs}"], [*flags, f"--epochs={epochs}", "--run_dir=whole"]):
        process = command("tfrnn.train", *arguments, "--show_every=0", cwd=tmp_path)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.startswith("perplexity ")
    assert without_timings(metrics(run_dir)) == without_timings(metrics(tmp_path / "whole"))


def test_help_and_wrong_flags_answer_before_tensorflow_loads():
    start = time.monotonic()
    out, err = command("tfrnn.train", "--hep").communicate(timeout=60)
    assert (out, err.count("\n")) == ("", 1)
    code = "import sys, tfrnn.train as t, tfrnn.cli.program as c\n"
    code += "try: c.run(t.main)\nfinally: print('tensorflow' in sys.modules)"
    for flag in ("--help", "--units=x"):
        lines = subprocess.run([sys.executable, "-c", code, flag], capture_output=True, text=True).stdout.splitlines()
        assert lines[-1] == "False"
    assert time.monotonic() - start < 60
