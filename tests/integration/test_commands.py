"""The commands as a user runs them: their output, the run directory, and what is resumed.

The logic of resuming is tested with a trainer of numpy in tests/training/test_training_run.py.
"""

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
from unittest import mock

import faults
import keras
import numpy as np
import pytest
from entry_points import SMALL, last_of_each, metrics, quiet_environment, run

import tfrnn
from tfrnn import evaluate, sample, train
from tfrnn.cli import program
from tfrnn.data import run_text as text_lib
from tfrnn.errors import UserError
from tfrnn.runtime import durable


@pytest.fixture(scope="module")
def trained(small_run):
    """A finished run, and what its command prints when it is called again."""
    status, out, err = run(train.main, *SMALL, f"--run_dir={small_run}")
    assert status == 0, err
    assert "this run is finished after 3 epochs" in err
    return small_run, out, err


def test_the_last_lines_are_those_of_the_book(trained):
    _, out, err = trained
    lines = out.splitlines()
    assert re.fullmatch(r"perplexity \d+\.\d, \d+\.\d tokens/sec on /CPU:0", lines[0])
    assert all(line.startswith(prefix) for line, prefix in zip(lines[1:], ("well digger", "digger"), strict=True))
    assert [len(line) for line in lines[1:]] == [61, 56]
    assert "run directory: " in err


def test_the_files_of_a_run_directory(trained):
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


def test_a_loaded_model_and_the_sample_command_predict_what_training_printed(trained):
    run_dir, out, _ = trained
    model, vocabulary, config = tfrnn.load_run(run_dir, "last")
    predicted = [tfrnn.generate(model, vocabulary, prefix) for prefix in config.run.prefix]
    assert predicted == out.splitlines()[1:]
    status, sampled, _ = run(sample.main, f"--run_dir={run_dir}", "--temperature=0", "--checkpoint=last")
    assert (status, sampled.splitlines()) == (0, predicted)


@pytest.mark.slow
def test_the_best_weights_are_those_with_the_lowest_validation_perplexity(tmp_path):
    arguments = [*SMALL, "--units=64", "--optimizer=adam", "--learning_rate=0.01", "--max_tokens=200", "--epochs=40"]
    status, _, err = run(train.main, *arguments, f"--run_dir={tmp_path}/run")
    assert status == 0, err
    perplexities = [row["val_perplexity"] for row in metrics(tmp_path / "run")]
    assert min(perplexities) < 0.9 * perplexities[-1]  # it memorises 200 characters
    ids = text_lib.read(tfrnn.Config().replace(max_tokens=200, validation_tokens=200)).validation
    batches = tfrnn.sequential_batches(ids, 4, 8, random_offset=False)
    model, _, _ = tfrnn.load_run(tmp_path / "run", "best")
    trainer = tfrnn.Trainer(model, keras.optimizers.SGD())
    # A loss is the mean of 192 float32 terms of order 1, summed in another order here: 1e-5 is 192 roundings.
    assert trainer.evaluate(batches)["perplexity"] == pytest.approx(min(perplexities), rel=1e-5)
    model.set_weights(tfrnn.load_run(tmp_path / "run", "last")[0].get_weights())
    assert trainer.evaluate(batches)["perplexity"] == pytest.approx(perplexities[-1], rel=1e-5)


def test_samples_differ_and_a_streamed_sample_is_the_same(trained):
    run_dir, _, _ = trained
    flags = (f"--run_dir={run_dir}", "--prefix=the well ", "--prefix=A", "--length=20")
    status, out, _ = run(sample.main, *flags, "--num_samples=2", "--seed=1")
    assert status == 0
    assert [len(line) for line in out.splitlines()] == [29, 29, 21, 21]
    assert len(set(out.splitlines())) == 4
    sampler = ["--top_k=5", "--top_p=0.9", "--temperature=0.8", "--seed=2"]
    whole = run(sample.main, *flags, *sampler)[1]
    assert run(sample.main, *flags, *sampler, "--stream")[1] == whole
    assert whole.splitlines()[0] not in out.splitlines()


@pytest.mark.slow
def test_a_larger_number_of_epochs_continues_a_finished_run(trained, tmp_path):
    shutil.copytree(trained[0], tmp_path / "run")
    for run_dir in ("run", "at_once"):
        assert run(train.main, *SMALL, "--epochs=5", f"--run_dir={tmp_path}/{run_dir}")[0] == 0
    assert faults.differences(tmp_path / "run", tmp_path / "at_once") == []


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


def test_settings_that_may_change_on_resume_may(trained, tmp_path):
    run_dir, _, _ = trained
    shutil.copytree(run_dir, tmp_path / "run")
    flags = ["--device=cpu", "--prefix=water", "--show_every=0"]
    status, out, _ = run(train.main, *SMALL, f"--run_dir={tmp_path}/run", *flags)
    assert status == 0
    assert out.splitlines()[1].startswith("water")


def test_validation_tokens_follow_the_training_tokens():
    config = tfrnn.Config()
    text = tfrnn.load_corpus("sample")
    for max_tokens, held_out, training, validation in (
        (10_000, 5_000, text[:10_000], text[10_000:15_000]),
        (19_000, 5_000, text[:19_000], text[19_000:]),
        (0, 300, text[:-300], text[-300:]),
    ):
        ids = text_lib.read(config.replace(max_tokens=max_tokens, validation_tokens=held_out))
        assert ids.vocabulary.decode(ids.training) == training
        assert ids.vocabulary.decode(ids.validation) == validation


def test_a_vocabulary_of_the_training_tokens_reads_others_as_unknown(tmp_path):
    (tmp_path / "text").write_text("abcab" * 20 + "xyz")
    config = tfrnn.Config().replace(corpus=str(tmp_path / "text"), max_tokens=100)
    text = text_lib.read(config.replace(vocabulary="training"))
    assert (len(text.vocabulary), list(text.validation)) == (4, [0, 0, 0])
    assert text.notes == ("3 of 3 validation tokens are not in the vocabulary: read as <unk>",)
    assert len(text_lib.read(config).vocabulary) == 7


def test_the_speed_in_the_last_lines_is_that_of_the_epochs(trained):
    run_dir, out, _ = trained
    speeds = [row["tokens_per_sec"] for row in metrics(run_dir)]
    shown = float(re.search(r", ([\d.]+) tokens/sec", out).group(1))
    assert min(speeds) <= shown <= max(speeds)
    for row in metrics(run_dir)[1:]:  # an epoch is all of it, tokens_per_sec its training alone
        assert row["tokens_per_sec"] >= 17 * 32 / row["seconds"]


@pytest.mark.slow
def test_checkpoints_are_saved_while_training(tmp_path):
    with (
        mock.patch("tfrnn.training.loops.CALL_SECONDS", 0),
        mock.patch("tfrnn.runtime.durable.write", wraps=durable.write) as write,
    ):
        assert run(train.main, *SMALL, f"--run_dir={tmp_path}/run", "--save_every=0")[0] == 0
    written = [call.args[0].name for call in write.call_args_list]
    assert sum(name.endswith(".npz") for name in written) > 30
    assert sorted(os.listdir(tmp_path / "run/checkpoints")) == ["00000002-00000018.npz", "00000003-00000000.npz"]


def in_a_terminal(*arguments, cwd):
    """A command whose stderr is a terminal of 120 columns, and the other end of that terminal."""
    terminal, stderr = pty.openpty()
    fcntl.ioctl(stderr, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))

    def take_terminal():
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        fcntl.ioctl(2, termios.TIOCSCTTY, 0)  # so that Ctrl-C typed there interrupts the command

    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdout=-1, stderr=stderr, cwd=cwd, start_new_session=True, preexec_fn=take_terminal, env=quiet_environment(),
    )  # fmt: skip
    os.close(stderr)
    return process, terminal


@pytest.mark.slow
def test_a_terminal_shows_a_bar_and_ctrl_c_there_saves_and_shows_the_command_that_resumes(tmp_path):
    """A process of its own, with its default run directory."""
    flags = last_of_each([*SMALL, "--epochs=100000"])
    process, terminal = in_a_terminal("tfrnn.train", *flags, cwd=tmp_path)
    shown, typed = b"", False
    watchdog = threading.Timer(120, process.kill)  # the terminal is read until the command ends
    watchdog.start()
    with contextlib.suppress(OSError):  # which is how a terminal ends
        while piece := os.read(terminal, 1000):
            shown += piece
            if not typed and re.search(rb"epoch ([3-9]|\d\d+)\.", shown):  # a bar drawn now and then may skip 3 to 9
                typed = bool(os.write(terminal, b"\x03"))
    watchdog.cancel()
    os.close(terminal)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b""), shown
    bar = rb"0%\|.*\| epoch \d+\.\d/100000, .* left, perplexity \d+\.\d\d, \d+ tokens/sec *\r"
    assert re.search(bar, shown)
    err = shown.decode().replace("\r\n", "\n")
    assert re.search(r"interrupted after \d+ epochs( and \d+ batches)?; saved\nto resume: ", err)
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"rnn-sample-\d{8}-\d{6}", run_dir.name)
    arguments = shlex.split(err.split("to resume: ")[1])
    assert arguments[1:] == ["-m", "tfrnn.train", *flags, f"--run_dir=runs/{run_dir.name}"]
    epochs = len(metrics(run_dir)) + 1
    assert run(train.main, *flags, f"--run_dir={run_dir}", f"--epochs={epochs}")[0] == 0
    assert [row["epoch"] for row in metrics(run_dir)] == list(range(1, epochs + 1))


def test_sampling_from_damaged_checkpoints_is_an_error(trained, tmp_path):
    shutil.copytree(trained[0], tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        os.truncate(path, 1000)
    status, out, err = run(sample.main, f"--run_dir={tmp_path}/run")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "cannot be used (its checksum is not that of its content)" in err


def test_a_prefix_without_a_token_is_refused_before_training(tmp_path):
    status, out, err = run(
        train.main, *SMALL, "--tokens=word", "--text_rule=raw", "--prefix= ", f"--run_dir={tmp_path}/r"
    )
    assert (status, out, "at least one known word" in err) == (2, "", True)


@pytest.mark.slow
def test_a_corpus_of_any_name_and_script_is_sampled_to_any_terminal(tmp_path, monkeypatch):
    path = tmp_path / "a$b_{$c.txt"  # which would be mathematics to matplotlib
    path.write_text("日本語のテキスト。" * 40)
    flags = [f"--corpus={path}", "--batch_size=2", "--num_steps=4", "--units=4", "--epochs=1", "--max_tokens=200"]
    status, _, err = run(train.main, *flags, f"--run_dir={tmp_path}/run")
    assert status == 0, err
    monkeypatch.setattr(sys, "argv", ["sample", f"--run_dir={tmp_path}/run"])
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding="ascii")) as terminal:
        program.run(sample.main)
    assert terminal.buffer.getvalue().startswith(b"\\u65e5")


WORDS = ["--tokens=word", "--sampling=random", "--validation_tokens=0", "--embedding_dim=5", "--num_layers=2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "prefix"),
    [
        pytest.param([*WORDS, "--dropout=0.1"], "Zwölf Boxkämpfer jagen ", id="words"),
        pytest.param(
            ["--max_tokens=0", "--validation_tokens=100", "--preset=rnn_scratch"],
            "Zwölf Boxkäm", id="all characters", marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_a_file_is_trained_on_by_its_path(flags, prefix, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.\n" * 30)
    small = ["--units=8", "--batch_size=2", "--num_steps=5", "--epochs=1", "--max_tokens=150", *flags]
    status, out, err = run(train.main, f"--corpus={text}", *small, f"--run_dir={tmp_path}/run")
    assert status == 0, err
    assert out.splitlines()[1].startswith(prefix)
    assert (metrics(tmp_path / "run")[0]["val_perplexity"] is None) == ("--validation_tokens=0" in flags)


def test_a_run_that_diverges_keeps_the_last_finite_weights(tmp_path):
    with mock.patch(
        "tfrnn.training.optimizers.make_optimizer", return_value=keras.optimizers.SGD(1e38)
    ):  # no flag goes so far
        status, out, err = run(train.main, *SMALL, "--clip_norm=0", f"--run_dir={tmp_path}/run")
    assert (status, out) == (2, "")
    assert re.search(r"tfrnn: error: training diverged: .* epoch 1, batch \d+.*--learning_rate", err)
    model, _, _ = tfrnn.load_run(tmp_path / "run")
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_an_error_in_python_is_a_value_error_with_the_same_message():
    with pytest.raises(ValueError, match="`units` must be a whole number at least 1 and at most 16384; got 0"):
        tfrnn.Config().replace(units=0)
    assert issubclass(UserError, ValueError)


@pytest.mark.parametrize("flag", ["--help", "--hep", "--units=x"])
def test_help_and_wrong_flags_are_answered_before_tensorflow_loads(flag):
    code = "import sys, tfrnn.train as t, tfrnn.cli.program as c\n"
    code += "try: c.run(t.main)\nfinally: print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, flag], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "False"
    assert (done.returncode, done.stderr.count("\n")) == ((0, 0) if flag == "--help" else (2, 1))


@pytest.mark.parametrize(
    ("command", "flags", "expected"),
    [
        ("train", ["--max_tokens=100"], "text too short: 100 tokens"),
        ("train", ["--corpus={}/config.json", "--run_dir={}"], "the run was begun with --corpus=sample"),
        ("train", ["--run_dir={}/.."], "but it holds other files"),
        ("train", ["--run_dir=~/runs/first"], "expected a folder, but a shell leaves ~ as it is after =: write $HOME"),
        ("train", ["--corpus=~/my_book.txt"], "'~/my_book.txt'; a shell leaves ~ as it is after =: write $HOME"),
        ("sample", ["--run_dir={}", "--prefix=42"], "leaves nothing of it"),
        ("evaluate", ["--run_dir={}", "--text_file={}/nothing"], "does not exist"),
        ("evaluate", ["--run_dir={}", "--text_file={}/short"], "at least two characters"),
    ],
)
def test_a_wrong_text_is_told_before_tensorflow_loads(command, flags, expected, small_run, tmp_path):
    run_dir = shutil.copytree(small_run, tmp_path / "run")
    (run_dir / "short").write_text("a")
    code = f"import sys, tfrnn.{command} as command, tfrnn.cli.program as c\n"
    code += "try: c.run(command.main)\nfinally: print('tensorflow' in sys.modules)"
    arguments = [flag.replace("{}", str(run_dir)) for flag in flags]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "False\n", 1), done.stderr
    assert expected in done.stderr


@pytest.mark.slow
def test_a_run_that_is_older_than_a_rule_of_texts_keeps_its_own(tmp_path):
    path, run_dir = tmp_path / "text", tmp_path / "run"
    path.write_bytes(b"So it goes, and so!\r\n" * 99)
    flags = [*SMALL, f"--corpus={path}", "--tokens=word", "--max_tokens=200", f"--run_dir={run_dir}"]
    assert run(train.main, *flags, "--epochs=1", "--text_rule=raw", "--word_rule=spaces")[0] == 0
    config = json.loads((run_dir / "config.json").read_text())
    del config["data"]["encoding"], config["data"]["word_rule"]  # as version 0.1 wrote it
    (run_dir / "config.json").write_text(json.dumps(config))
    status, out, err = run(train.main, *flags, "--epochs=2")
    assert (status, out.startswith("perplexity"), "resuming after 1 epochs" in err) == (0, True, True), err
    assert "goes," in json.loads((run_dir / "vocabulary.json").read_text())
    status, _, err = run(train.main, *flags, "--word_rule=marks")
    assert (status, "was begun with --word_rule=spaces, now it is marks" in err) == (2, True)


@pytest.mark.slow
def test_held_out_tokens_that_are_asked_for_are_held_out(tmp_path):
    (tmp_path / "text").write_text("so it goes " * 30)
    flags = [f"--corpus={tmp_path}/text", "--batch_size=2", "--num_steps=8", "--units=4", "--epochs=1"]
    status, _, err = run(train.main, *flags, "--validation_tokens=30", f"--run_dir={tmp_path}/run")
    assert (status, "held out: 30 characters, the last" in err) == (0, True), err
    assert metrics(tmp_path / "run")[-1]["val_perplexity"] > 1
    assert "over 29 characters" in run(evaluate.main, f"--run_dir={tmp_path}/run")[1]
    status, _, err = run(train.main, *flags, "--validation_tokens=330")
    assert (status, "leaves nothing to train on" in err) == (2, True)
