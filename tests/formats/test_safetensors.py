"""Exports in the format safetensors: loaded back, by name, by PyTorch, and refused if they are broken."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from export_models import CONFIGS, VOCABULARY, run_without_tfrnn, shared_model

import tfrnn
from tfrnn.errors import UserError
from tfrnn.formats.exported_step import logits_and_rounding_bound

WEIGHTS = "model.safetensors"
GUIDE = (Path(__file__).parents[2] / "docs" / "guide.md").read_text()


@pytest.mark.parametrize("name", CONFIGS)
def test_load_export_returns_what_was_exported(name, exported):
    model, vocabulary, config = tfrnn.load_export(exported("safetensors", name))
    assert (vocabulary.id_to_token, config) == (VOCABULARY.id_to_token, CONFIGS[name])
    for loaded, expected in zip(model.get_weights(), shared_model(name).get_weights(), strict=True):
        np.testing.assert_array_equal(loaded, expected)


def test_line_to_load_loads_the_export(exported):
    from tfrnn.formats import safetensors

    namespace: dict = {}
    exec(safetensors.next_steps(exported("safetensors", "lstm_keras"))["load it in Python"], namespace)
    assert namespace["config"] == CONFIGS["lstm_keras"]


def test_weights_have_readable_names(exported):
    description = json.loads((exported("safetensors", "rnn_keras") / "export.json").read_text())
    assert description["weights"] == {
        "rnn.0.kernel": [5, 12],
        "rnn.0.recurrent_kernel": [12, 12],
        "rnn.0.bias": [12],
        "rnn.1.kernel": [12, 12],
        "rnn.1.recurrent_kernel": [12, 12],
        "rnn.1.bias": [12],
        "embedding.embeddings": [7, 5],
        "dense.kernel": [12, 7],
        "dense.bias": [7],
    }


def test_the_guides_program_for_pytorch_returns_the_models_logits(exported, tmp_path):
    pytest.importorskip("torch")
    (program,) = re.findall(r"```python\n(# Reads an export into PyTorch.*?)```", GUIDE, re.DOTALL)
    ids = np.random.default_rng(0).integers(1, len(VOCABULARY), [30, 1])
    np.save(tmp_path / "ids.npy", ids)
    names = [name for name in CONFIGS if name != "gru_scratch"]  # PyTorch has no such GRU
    programs = []
    for name in names:
        computed = f"logits(torch.tensor(np.load({str(tmp_path / 'ids.npy')!r}))).detach().numpy()"
        programs.append(program.replace("my_export", str(exported("safetensors", name))))
        programs.append(f"np.save({str(tmp_path / f'{name}.logits.npy')!r}, {computed})")
    run_without_tfrnn("\n".join(programs))
    wrong = []
    for name in names:
        expected, bound = logits_and_rounding_bound(shared_model(name), ids.astype(np.int32))
        if (np.abs(np.load(tmp_path / f"{name}.logits.npy") - expected) > bound).any():
            wrong.append(name)
    assert wrong == []


def edit_config(folder, old, new):
    path = folder / "config.json"
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(lambda f: (f / WEIGHTS).unlink(), "has no model.safetensors", id="no weights"),
        pytest.param(lambda f: (f / WEIGHTS).write_bytes(b"\xff" * 100), "cannot be read", id="other bytes"),
        pytest.param(
            lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-9]), "cannot be read", id="cut short"
        ),
        pytest.param(lambda f: (f / "config.json").unlink(), "no config.json", id="no config"),
        pytest.param(lambda f: edit_config(f, "12", "13"), "expected the weights", id="config of another size"),
        pytest.param(
            lambda f: (f / "vocabulary.json").write_text('["<unk>"]'), "expected the weights", id="smaller vocabulary"
        ),
    ],
)
def test_a_broken_export_is_refused(spoil, message, exported, tmp_path):
    shutil.copytree(exported("safetensors", "gru_keras"), tmp_path / "export")
    spoil(tmp_path / "export")
    with pytest.raises(UserError, match=message):
        tfrnn.load_export(tmp_path / "export")
