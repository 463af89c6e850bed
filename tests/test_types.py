"""The public names, declared in a stub: type checkers know their types; TensorFlow is loaded only if it is needed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WRONG = """
import tfrnn
from tfrnn import d2l

vocabulary = tfrnn.Vocabulary.from_text("to be or not to be")
model = tfrnn.LanguageModel(tfrnn.GRUCell(8), len(vocabulary))
ids = vocabulary.encode(5)  # wrong
batches = tfrnn.sequential_batches(ids, batch_size="2", num_steps=4)  # wrong
batches.epochs(0)  # wrong
tfrnn.Trainer(model, "sgd", clip_norm="1")  # wrong
tfrnn.generate(model, vocabulary, "to", length="x")  # wrong
tfrnn.generate(model, vocabulary, "to").perplexity  # wrong
tfrnn.generate(model, vocabulary, "to", sampler=0.8)  # wrong
tfrnn.Sampler(temperatur=0.8)  # wrong
tfrnn.score(model, ids).perplexty  # wrong
tfrnn.load_run("runs/first")[2].units  # wrong
tfrnn.plot_unit("to", tfrnn.gates(model, ids), "unit.png")  # wrong
tfrnn.load_corpora("sample")  # wrong
tfrnn.__version__ + 1  # wrong
d2l.load_corpus_time_machine("all")  # wrong
tfrnn.d2l.try_gpus()  # wrong
d2l.v1.try_gpus()  # wrong
"""


def test_names_for_texts_settings_and_pictures_load_no_tensorflow():
    code = """if True:
        import sys, tfrnn
        names = ["Config", "Picture", "UserError", "Vocabulary", "load_corpus", "plot_batches", "plot_perplexity"]
        for name in names:
            getattr(tfrnn, name)
        print("tensorflow" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


@pytest.mark.slow
def test_mypy_accepts_a_users_program_and_finds_each_mistake(tmp_path):
    (tmp_path / "wrong.py").write_text(WRONG)
    # As for a user who has installed the package: errors in the package's own files are not reported.
    flags = ["--strict", "--config-file=", "--follow-imports=silent", "--ignore-missing-imports"]
    flags += [f"--cache-dir={tmp_path}/cache", "--no-error-summary"]
    files = [ROOT / "tests" / "support" / "users_code.py", tmp_path / "wrong.py"]
    done = subprocess.run([sys.executable, "-m", "mypy", *flags, *files], cwd=ROOT, capture_output=True, text=True)
    lines = WRONG.splitlines()
    marked = [number for number, line in enumerate(lines, 1) if "# wrong" in line]
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    reported = {int(line.rsplit("wrong.py:", 1)[1].split(":")[0]) for line in errors}
    assert sorted(reported) == marked, done.stdout + done.stderr
