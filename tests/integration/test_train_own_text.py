"""Training on a text of one's own by the command alone."""

import json
import shutil
from unittest import mock

import numpy as np
import pytest
from entry_points import SMALL, metrics, run, without_timings

import tfrnn
from tfrnn import sample, train
from tfrnn.config import own_text
from tfrnn.config.config import Config
from tfrnn.data import run_text
from tfrnn.data.run_text import Text
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.runs.run_dir import RunDir
from tfrnn.runtime import host
from tfrnn.training import time_plan

NAMES = ["Ana", "Bea", "Cleo", "Dora", "Eva", "Ida", "Lea", "Mia", "Nora", "Ute"]


@pytest.fixture(scope="module")
def own_run(tmp_path_factory):
    """A run of a few seconds on a text of names, a line each."""
    folder = tmp_path_factory.mktemp("own")
    text = "".join(f"{name}\n" for name in np.random.default_rng(0).choice(NAMES, 800))
    (folder / "names.txt").write_text(text)
    flags = [f"--corpus={folder}/names.txt", "--minutes=0.1", "--units=16", "--num_layers=1", f"--run_dir={folder}/run"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time_plan, "MEASURED_SECONDS", 0.3)
        status, out, err = run(train.main, *flags)
    assert status == 0, err
    return folder, flags, out, err


@pytest.mark.slow
def test_the_settings_that_were_chosen_are_those_of_the_run(own_run):
    folder, _, _, err = own_run
    config = tfrnn.load_run(folder / "run")[2]
    assert f"{train._describe_plan(config)}, in about" in err
    assert (config.training.minutes, config.model.units, config.data.validation_fraction) == (0.1, 16, 0.1)
    assert len(metrics(folder / "run")) == config.training.epochs
    assert {"val_perplexity"} <= metrics(folder / "run")[0].keys()


@pytest.mark.parametrize(
    ("epochs", "per_pass", "shown"),
    [(24, 2, "12.0 passes"), (5, 5, "1.0 passes"), (5, 12, "41.7% of a pass"), (3, 1000, "0.3% of a pass")],
)
def test_a_plan_tells_how_often_a_text_is_read(epochs, per_pass, shown):
    config = Config.from_preset("own_text", epochs=epochs, epochs_per_pass=per_pass, units=9, dropout=0.2)
    assert train._describe_plan(config) == f"plan: gru 1 x 9, dropout 0.2; {shown} over what is trained on"


@pytest.mark.slow
def test_the_text_shown_at_the_end_is_drawn_at_the_temperature_with_the_seed(own_run):
    folder, flags, out, _ = own_run
    model, vocabulary, config = tfrnn.load_run(folder / "run", "last")
    for temperature, more in ((config.run.temperature, []), (0.0, ["--temperature=0"])):
        status, out, _ = run(train.main, *flags, *more)
        sampler = tfrnn.Sampler(temperature=temperature)
        shown = [tfrnn.generate(model, vocabulary, prefix, 50, sampler) for prefix in config.run.prefix]
        assert (status, out.partition("\n")[2]) == (0, "\n".join(shown) + "\n")
    assert config.run.temperature > 0


@pytest.mark.slow
def test_the_same_settings_by_flags_train_the_same_weights(own_run, tmp_path):
    folder, _, _, _ = own_run
    given = tfrnn.load_run(folder / "run")[2].flat()
    names = (*own_text.BY_TEXT, *own_text.BY_TIME)
    flags = [f"--{name}={given[name]}" for name in names]
    status, _, err = run(train.main, f"--corpus={folder}/names.txt", *flags, f"--run_dir={tmp_path}/again")
    assert status == 0, err
    weights, expected = (tfrnn.load_run(path, "last")[0].get_weights() for path in (tmp_path / "again", folder / "run"))
    for weight, expected_weight in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(weight, expected_weight)


@pytest.mark.slow
def test_the_same_command_finds_the_run_finished_and_measures_nothing(own_run):
    folder, flags, out, _ = own_run
    before = (folder / "run" / "config.json").read_text()
    status, again, err = run(train.main, *flags)
    assert (status, again) == (0, out)
    assert "this run is finished" in err
    assert "measuring" not in err
    assert (folder / "run" / "config.json").read_text() == before
    status, _, err = run(train.main, *flags, "--minutes=5")
    assert status == 2
    assert "the epochs of this run were fixed for --minutes=0.1; got 5; give --epochs to train it longer" in err


@pytest.mark.slow
def test_names_end_at_their_lines_and_are_counted(own_run):
    folder, _, _, _ = own_run
    flags = [f"--run_dir={folder}/run", r"--stop=\n", "--prefix=", "--num_samples=8", "--length=30", "--report_new"]
    status, out, err = run(sample.main, *flags)
    assert status == 0, err
    lines = out.splitlines()
    assert len(lines) == 8
    records = [line for line in lines if line and len(line) < 30]
    known = sum(line in NAMES for line in records)
    assert f"8 samples: {known} are in the training text, {len(records) - known} are new" in err
    status, out, _ = run(sample.main, f"--run_dir={folder}/run", r"--stop=\n", "--prefix=", "--length=30", "--stream")
    assert (status, out.splitlines()) == (0, lines[:1])


@pytest.mark.slow
def test_a_stop_that_cannot_come_is_refused(own_run):
    folder, _, _, _ = own_run
    status, _, err = run(sample.main, f"--run_dir={folder}/run", "--stop=~")
    assert status == 2
    assert "--stop must be of characters that the run knows, or no text ends; got '~'" in err
    status, _, err = run(sample.main, f"--run_dir={folder}/run", "--report_new")
    assert status == 2
    assert "give that too" in err


@pytest.mark.slow
def test_what_was_read_is_said_before_the_speed_is_measured(own_run):
    folder, flags, _, err = own_run
    places = [err.index(line) for line in (f"text: {folder}/names.txt\n", "measuring the speed", "run directory: ")]
    assert places == sorted(places)
    assert err.count("held out: ") == 1
    _, _, again = run(train.main, *flags)  # the run is finished
    assert again.count("held out: ") == 1


@pytest.mark.slow
def test_a_run_that_is_resumed_measures_the_same_held_out_text(own_run, tmp_path):
    folder, _, _, _ = own_run
    flags = [f"--corpus={folder}/names.txt", "--units=16", "--num_layers=1", "--schedule=constant", "--warmup_steps=0"]
    flags += ["--dropout=0", "--weight_decay=0", "--max_tokens=3000"]
    for name, epochs in (("resumed", 1), ("resumed", 2), ("whole", 2)):
        status, _, err = run(train.main, *flags, f"--epochs={epochs}", f"--run_dir={tmp_path}/{name}")
        assert status == 0, err
    resumed, whole = ([row["val_perplexity"] for row in metrics(tmp_path / name)] for name in ("resumed", "whole"))
    assert resumed == whole


@pytest.mark.parametrize("held_out", [200, 4096, 50_000])
def test_nearly_all_of_a_fraction_is_measured_and_the_books_batches_are_as_they_were(held_out):
    text = Text(Vocabulary.from_text("ab"), np.zeros(10 * held_out, int), np.zeros(held_out, int), "", "plain", ())
    config = own_text.choose_batches(Config.from_preset("own_text"), own_text.BY_TEXT, 10 * held_out)
    data = config.data
    for replicas in (1, 2):
        training, validation = train.make_batches(config, text, replicas)
        assert (training.batch_size, training.num_steps) == (data.batch_size, data.num_steps)
        measured = validation.num_batches(0) * validation.batch_size * validation.num_steps
        assert measured >= 0.95 * held_out
        assert validation.batch_size % replicas == 0
    book = config.replace(validation_fraction=0.0, validation_tokens=held_out)
    _, validation = train.make_batches(book, text)
    rows = min(data.batch_size, held_out // 2)
    assert (validation.batch_size, validation.num_steps) == (rows, min(data.num_steps, held_out // rows - 1))


BEGIN_WITH = ["--preset=own_text", "--epochs=2", "--max_tokens=600", "--num_steps=8", "--batch_size=4", "--dropout=0"]


@pytest.fixture(scope="module")
def other_text(tmp_path_factory):
    """The path of a text with characters that the names do not have, and lacks some of theirs."""
    path = tmp_path_factory.mktemp("other") / "other.txt"
    path.write_text("A qualm, a quip; 42 quails!\n" * 60)
    return path


@pytest.mark.slow
def test_a_run_begins_at_the_loss_that_the_other_ended_with(own_run, tmp_path):
    folder, _, _, _ = own_run
    flags = [f"--init_from={folder}/run", f"--corpus={folder}/names.txt", "--learning_rate=1e-20"]
    given = tfrnn.load_run(folder / "run")[2].flat()
    flags += [f"--{name}={given[name]}" for name in ("batch_size", "num_steps", "epochs_per_pass")]
    status, _, err = run(train.main, *flags, "--epochs=1", f"--run_dir={tmp_path}/run")
    assert status == 0, err
    (row,) = metrics(tmp_path / "run")
    # The same sums in the same order, by weights that a learning rate of 1e-20 does not change.
    assert row["val_perplexity"] == min(row["val_perplexity"] for row in metrics(folder / "run"))


@pytest.mark.slow
def test_vocabularies_are_united_and_known_rows_kept(own_run, other_text, tmp_path):
    folder, _, _, _ = own_run
    flags = [f"--init_from={folder}/run", f"--corpus={other_text}", "--freeze=rnn.0", *BEGIN_WITH]
    flags += [f"--run_dir={tmp_path}/run"]
    status, _, err = run(train.main, *flags)
    assert status == 0, err
    model, vocabulary, _ = tfrnn.load_run(tmp_path / "run", "last")
    other_model, other_vocabulary, _ = tfrnn.load_run(folder / "run")
    num_new = len(vocabulary) - len(other_vocabulary)
    assert f"knows {len(other_vocabulary) - 1} different characters; {num_new} of this text are new to it" in err
    assert vocabulary.id_to_token[: len(other_vocabulary)] == other_vocabulary.id_to_token
    assert {"q", "4", "!"} <= {*vocabulary.id_to_token[len(other_vocabulary) :]}
    for name, weight in model.named_weights.items():
        known = other_model.named_weights[name].numpy()
        same = np.array_equal(weight.numpy()[tuple(map(slice, known.shape))], known)
        assert same == name.startswith("rnn.0"), name
    status, _out, err = run(train.main, *flags)  # it is finished, and does not need the other run any more
    assert (status, "this run is finished" in err) == (0, True), err


@pytest.mark.slow
def test_what_does_not_fit_the_other_run_is_refused(own_run, other_text, tmp_path):
    folder, _, _, _ = own_run
    given = [f"--init_from={folder}/run", f"--corpus={other_text}", *BEGIN_WITH, f"--run_dir={tmp_path}/run"]
    status, _, err = run(train.main, *given, "--units=99")
    assert status == 2
    assert "that run has --units=16; got 99; leave the flag out" in err
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def small_names_run(tmp_path_factory):
    """A run of a second on a text of names, and its folder."""
    folder = tmp_path_factory.mktemp("names")
    (folder / "names.txt").write_text("".join(f"{name}\n" for name in np.random.default_rng(0).choice(NAMES, 300)))
    status, _, err = run(train.main, *SMALL, f"--corpus={folder}/names.txt", f"--run_dir={folder}/run")
    assert status == 0, err
    return folder


def test_new_names_are_counted_against_the_text_as_it_was_trained_on(small_names_run, tmp_path, monkeypatch):
    folder = shutil.copytree(small_names_run, tmp_path / "names")
    config = json.loads((folder / "run" / "config.json").read_text())
    flags = [f"--run_dir={folder}/run", r"--stop=\n", "--prefix=", "--num_samples=9", "--length=6", "--report_new"]
    status, out, err = run(sample.main, f"--run_dir={small_names_run}/run", *flags[1:])
    cut = [line for line in out.splitlines() if len(line) == 6]
    assert (status, f"; {len(cut)} cut at --length=6, not counted" in err) == (0, bool(cut)), err
    # Neither is told after TensorFlow has loaded.
    monkeypatch.setattr(host, "import_tensorflow_quietly", None)
    path = folder / "names.txt"
    config["data"]["corpus"] = str(path)
    (folder / "run" / "config.json").write_text(json.dumps(config))
    for spoil in (lambda: path.write_text(path.read_text().replace("Ana", "Ane")), path.unlink):
        spoil()
        status, _, err = run(sample.main, *flags)
        assert (status, err.count("\n")) == (2, 1)
        assert ("has changed since" in err) == path.exists()
        assert "or leave --report_new out" in err


def test_samples_of_several_lines_are_parted_by_a_blank_one(small_names_run):
    run_dir = small_names_run / "run"
    flags = [f"--run_dir={run_dir}", r"--stop=\n\n", "--prefix=", "--prefix=Ana", "--num_samples=2", "--length=30"]
    model, vocabulary, _ = tfrnn.load_run(run_dir)
    expected = tfrnn.generate_many(model, vocabulary, ["", "Ana"], 30, 2, tfrnn.Sampler(), stop="\n\n")
    out = "\n\n".join(text for of_prefix in expected for text in of_prefix) + "\n"
    for more in ([], ["--stream"]):
        assert run(sample.main, *flags, *more)[:2] == (0, out)


def test_layers_that_there_are_not_are_told_before_the_text_is_read(small_names_run, tmp_path, monkeypatch):
    monkeypatch.setattr(run_text, "read", None)
    there_are = "rnn.0, embedding, dense"
    for frozen, message in (
        (["rnn.7"], f"--freeze must be one of {there_are}; got 'rnn.7'"),
        (there_are.split(", "), f"--freeze leaves nothing to train; the layers are {there_are}; leave one of them out"),
    ):
        status, out, err = begin_with(small_names_run, tmp_path / "run", *(f"--freeze={name}" for name in frozen))
        assert (status, out, err.count("\n"), message in err) == (2, "", 1, True), err
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_begun_without_another_cannot_begin_with_it_later(small_names_run, tmp_path, monkeypatch):
    monkeypatch.setattr(run_text, "read", None)
    begun = shutil.copytree(small_names_run / "run", tmp_path / "run")
    for spoil in (lambda: None, lambda: shutil.rmtree(begun / "checkpoints"), lambda: (begun / "checkpoints").mkdir()):
        spoil()  # killed before its first checkpoint, it would begin again
        for other in (small_names_run / "run", tmp_path / "none"):
            status, out, err = run(train.main, f"--run_dir={begun}", f"--init_from={other}")
            assert (status, out, err.count("\n")) == (2, "", 1)
            assert f"--run_dir={begun}: the run was begun without --init_from, now it is {other}; leave it out" in err


def test_an_unknown_character_of_a_prefix_is_told_by_the_flag(small_names_run, tmp_path, monkeypatch):
    monkeypatch.setattr(host, "import_tensorflow_quietly", None)
    folder, expected = small_names_run, "unknown characters 'Z', 'ë' in --prefix 'Zoë': expected only those of the voc"
    for main, flags, end in (
        (train.main, [*SMALL, f"--corpus={folder}/names.txt", f"--run_dir={tmp_path}/run"], "; leave them out\n"),
        (sample.main, [f"--run_dir={folder}/run"], "; leave them out, or give --unknown=skip\n"),
    ):
        status, out, err = run(main, *flags, "--prefix=Ana", "--prefix=Zoë")
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert expected in err
        assert err.endswith(end)
    assert not (tmp_path / "run").exists()


def begin_with(folder, run_dir, *flags):
    given = [*SMALL, f"--init_from={folder}/run", f"--corpus={folder}/names.txt", f"--run_dir={run_dir}"]
    del given[given.index("--units=16")]
    return run(train.main, *given, *flags)


def test_a_run_that_is_killed_before_its_first_checkpoint_begins_again_with_the_others_weights(
    small_names_run, tmp_path, monkeypatch
):
    assert begin_with(small_names_run, tmp_path / "at_once")[0] == 0
    other = shutil.copytree(small_names_run, tmp_path / "other")
    with monkeypatch.context() as patch:
        patch.setattr(RunDir, "save", mock.Mock(side_effect=KeyboardInterrupt))
        assert begin_with(other, tmp_path / "killed")[0] == 130
    assert (tmp_path / "killed" / "config.json").exists()
    assert not list((tmp_path / "killed" / "checkpoints").iterdir())
    shutil.move(other / "run", tmp_path / "away")
    status, out, err = begin_with(other, tmp_path / "killed")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"cannot begin again: --init_from={other}/run: expected the folder of a run" in err
    shutil.move(tmp_path / "away", other / "run")
    status, _, err = run(train.main, f"--run_dir={tmp_path}/killed")
    assert status == 0, err
    known = f"which knows {len({*''.join(NAMES)}) + 1} different characters; 0 of this text are new to it"
    assert f"weights: the best of {other}/run, {known}" in err
    assert without_timings(metrics(tmp_path / "killed")) == without_timings(metrics(tmp_path / "at_once"))
    weights = [tfrnn.load_run(tmp_path / name, "last")[0].get_weights() for name in ("killed", "at_once")]
    for weight, expected in zip(*weights, strict=True):
        np.testing.assert_array_equal(weight, expected)
    shutil.rmtree(other / "run")
    assert begin_with(other, tmp_path / "killed")[0] == 0  # it has a checkpoint now


def test_another_run_of_that_name_is_not_begun_with(small_names_run, tmp_path, monkeypatch):
    other = shutil.copytree(small_names_run, tmp_path / "other")
    with monkeypatch.context() as patch:
        patch.setattr(RunDir, "save", mock.Mock(side_effect=KeyboardInterrupt))
        assert begin_with(other, tmp_path / "killed")[0] == 130
    shutil.rmtree(other / "run")
    assert run(train.main, *SMALL, "--units=8", f"--corpus={other}/names.txt", f"--run_dir={other}/run")[0] == 0
    status, _, err = begin_with(other, tmp_path / "killed")
    assert (status, err.count("\n")) == (2, 1)
    assert "expected the run whose weights this one began with, but it has other settings or tokens now" in err


@pytest.mark.slow
def test_the_text_of_a_run_is_that_of_one_that_begins_with_it(small_names_run, tmp_path):
    flags = [f"--init_from={small_names_run}/run", "--epochs=1", "--learning_rate=0.001"]
    for name, corpus in (("taken", []), ("given", [f"--corpus={small_names_run}/names.txt"])):
        status, _, err = run(train.main, *flags, *corpus, f"--run_dir={tmp_path}/{name}")
        assert status == 0, err
        assert f"text: {small_names_run}/names.txt" in err
    taken, given = (tfrnn.load_run(tmp_path / name)[2] for name in ("taken", "given"))
    assert taken == given
    assert (taken.data.validation_fraction, taken.training.optimizer) == (0.1, "adamw")
    config = (tmp_path / "taken" / "config.json").read_bytes()
    for more in ([], ["--preset=own_text"]):
        status, _, err = run(train.main, *flags, *more, f"--run_dir={tmp_path}/taken")
        assert "this run is finished" in err
    assert (tmp_path / "taken" / "config.json").read_bytes() == config


def test_a_text_that_is_not_there_any_more_is_told(small_names_run, tmp_path):
    folder = shutil.copytree(small_names_run, tmp_path / "names")
    config = (folder / "run" / "config.json").read_text()
    (folder / "run" / "config.json").write_text(config.replace(str(small_names_run), str(folder)))
    (folder / "names.txt").unlink()
    status, _, err = run(train.main, f"--init_from={folder}/run", f"--run_dir={tmp_path}/run")
    assert (status, err.count("\n")) == (2, 1)
    assert f"there is no file '{folder}/names.txt'" in err


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "expected the folder of a run that train has begun, but there is no such folder"),
        (lambda run_dir: (run_dir / "config.json").unlink(), "it has no config.json"),
        (lambda run_dir: (run_dir / "vocabulary.json").unlink(), "it has no vocabulary.json"),
        (lambda run_dir: shutil.rmtree(run_dir / "checkpoints"), "the run has no checkpoint yet"),
    ],
)
def test_what_is_wrong_with_the_run_to_begin_with_is_told_by_its_flag(spoil, message, small_names_run, tmp_path):
    other = shutil.copytree(small_names_run / "run", tmp_path / "other")
    spoil(other)
    status, out, err = run(train.main, f"--init_from={other}", f"--run_dir={tmp_path}/run")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"tfrnn: error: --init_from={other}: ")
    assert message in err
    assert "--run_dir" not in err


def test_a_run_to_begin_with_must_exist_and_frozen_layers_need_one(tmp_path):
    status, _, err = run(train.main, f"--init_from={tmp_path}/none", f"--run_dir={tmp_path}/run")
    assert status == 2
    assert "none" in err
    status, _, err = run(train.main, "--freeze=dense")
    assert status == 2
    assert "--freeze keeps the weights that --init_from gives" in err
