"""Training on a text of one's own by the command alone."""

import numpy as np
import pytest
from entry_points import metrics, run

import tfrnn
from tfrnn import sample, train
from tfrnn.training import time_plan

NAMES = ["Ana", "Bea", "Cleo", "Dora", "Eva", "Ida", "Lea", "Mia", "Nora", "Ute"]


@pytest.fixture(scope="module")
def own_run(tmp_path_factory):
    """A run of a few seconds on a text of names, a line each."""
    folder = tmp_path_factory.mktemp("own")
    text = "".join(f"{name}\n" for name in np.random.default_rng(0).choice(NAMES, 800))
    (folder / "names.txt").write_text(text)
    flags = [f"--corpus={folder}/names.txt", "--minutes=0.1", "--units=16", f"--run_dir={folder}/run"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time_plan, "MEASURED_SECONDS", 0.3)
        status, out, err = run(train.main, *flags)
    assert status == 0, err
    return folder, flags, out, err


@pytest.mark.slow
def test_the_settings_that_were_chosen_are_those_of_the_run(own_run):
    folder, _, _, _ = own_run
    config = tfrnn.load_run(folder / "run")[2]
    assert (config.training.minutes, config.model.units, config.data.validation_fraction) == (0.1, 16, 0.1)
    assert len(metrics(folder / "run")) == config.training.epochs
    assert {"val_perplexity"} <= metrics(folder / "run")[0].keys()


@pytest.mark.slow
def test_the_same_settings_by_flags_train_the_same_weights(own_run, tmp_path):
    folder, _, _, _ = own_run
    given = tfrnn.load_run(folder / "run")[2].flat()
    names = ("units", "num_layers", "dropout", "batch_size", "num_steps", "learning_rate", "warmup_steps", "epochs")
    flags = [f"--{name}={given[name]}" for name in (*names, "epochs_per_pass")]
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
    known = sum(line in NAMES for line in lines)
    assert f"8 samples: {known} are in the training text, {8 - known} are new" in err
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
