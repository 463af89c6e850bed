"""Wrong flags, texts and run directories, some of them hostile: a one-line error, status 2, nothing on disk changed.

Each case runs a command's entry point with real files.
"""

import io
import json
import os
import re
import shutil
import stat
import zipfile

import numpy as np
import pytest
from entry_points import SMALL, run

from tfrnn import forecast, sample, train
from tfrnn.runs import checkpoints

NUMBERS = "\n".join(map(str, range(300)))
FILES = {
    "empty": b"",
    "binary": b"MZ\0\1\2",
    "latin": "Müll und Abfall".encode("latin-1"),
    "digits": b"0123 4567\n" * 500,
    "short": b"too short",
    "marks": b"\xef\xbb\xbf",
    "blank": b" \n\t\r\n" * 900,
    "half": "Zwölf Boxkämpfer".encode()[:3] + b"\n",
    "surrogate": b"a\xed\xa0\x80b" * 500,
    "overlong": b"\xc0\xaf" * 500,
    "utf16": "words ".encode("utf-16-le") * 500,
    "gzip": b"\x1f\x8b\x08\x00" + b"\0" * 40,
    "zip": b"PK\x03\x04" + b"\0" * 40 + b"PK\x05\x06" + b"\0" * 18,
    "good": b"the quick brown fox jumps over the lazy dog\n" * 100,
    "numbers.csv": f"a\n{NUMBERS}".encode(),
    "two.csv": b"a,b\n1,2\n",
    "twice.csv": b"a,a\n1,2\n",
    "nameless.csv": b"1\n2\n",
    "gap.csv": b"a\n1\n\n2\n",
    "comma.csv": b"v\n0,5\n",
    "words.csv": b"a\n1\ntwo\n",
    "nan.csv": b"a\n1\nnan\n",
    "huge.csv": b"a\n1\n1e999\n",
    "few.csv": b"a\n1\n2\n3\n",
    "latin.csv": b"a\n\xff\xfe1\n",
    "nul.csv": b"a\n1\0\n2\n",
    "quote.csv": b'a\n"1\n2\n',
    "wide.csv": b"a\n" + b"1" * 200_000 + b"\n",
}


def change_json(path, change):
    """Replaces the content of a JSON file by what `change` returns, or else by what it has changed."""
    data = json.loads(path.read_text())
    path.write_text(json.dumps(change(data) or data))


def rewrite(run_dir, change):
    """Changes the arrays of every checkpoint and writes them with a correct checksum."""
    for path in (run_dir / "checkpoints").iterdir():
        with checkpoints.Checkpoint(path, 2**30) as checkpoint:
            arrays = checkpoint.read(checkpoint.layouts)
        path.write_bytes(checkpoints.pack(change(arrays) or arrays))


def in_model(**settings):
    return lambda run: change_json(run / "config.json", lambda config: config["model"].update(settings))


def each_array(change):
    return lambda run: rewrite(run, lambda arrays: {name: change(array) for name, array in arrays.items()})


def link(path, target):
    path.unlink()
    path.symlink_to(target)


# By name: how a valid run directory is spoilt.
SPOILERS = {
    "no_config": lambda run: (run / "config.json").unlink(),
    "torn_config": lambda run: (run / "config.json").write_text('{"data": '),
    "list_config": lambda run: (run / "config.json").write_text("[1]"),
    "deep_config": lambda run: (run / "config.json").write_text("[" * 10**6),
    "long_number": lambda run: (run / "config.json").write_text("1" * 10**5),
    "latin_config": lambda run: (run / "config.json").write_bytes(b'{"a": "\xff"}'),
    "more_config": in_model(layer_class="os.system"),
    "less_config": lambda run: change_json(run / "config.json", lambda c: c["model"].pop("cell") and None),
    "escape_config": in_model(**{"ce\x1b[31mll": 1}),
    "cell_config": in_model(cell="os.system"),
    "real_config": in_model(units=16.0),
    "rate_config": lambda run: (run / "config.json").write_text(
        (run / "config.json").read_text().replace('"learning_rate": 1.0', '"learning_rate": 1' + "0" * 400)
    ),
    "true_config": in_model(units=True),
    "huge_config": in_model(units=2**60),
    "large_config": in_model(units=2**14, num_layers=64),
    "other_config": in_model(cell="gru"),
    "surrogate_config": lambda run: change_json(run / "config.json", lambda c: c["run"].update(prefix=["\ud800"])),
    "nan_config": lambda run: (run / "config.json").write_text(
        (run / "config.json").read_text().replace('"learning_rate": 1.0', '"learning_rate": NaN')
    ),
    "big_config": lambda run: os.truncate(run / "config.json", 2**30),
    "link_config": lambda run: link(run / "config.json", "/etc/hostname"),
    "pipe_config": lambda run: ((run / "config.json").unlink(), os.mkfifo(run / "config.json")),
    "folder_config": lambda run: ((run / "config.json").unlink(), (run / "config.json").mkdir()),
    "no_vocabulary": lambda run: (run / "vocabulary.json").unlink(),
    "torn_vocabulary": lambda run: (run / "vocabulary.json").write_text('["<unk>", "a'),
    "other_vocabulary": lambda run: (run / "vocabulary.json").write_text('{"a": 1}'),
    "number_vocabulary": lambda run: (run / "vocabulary.json").write_text('["<unk>", 1]'),
    "twice_vocabulary": lambda run: (run / "vocabulary.json").write_text('["<unk>", "a", "a"]'),
    "first_vocabulary": lambda run: (run / "vocabulary.json").write_text('["a", "<unk>"]'),
    "long_vocabulary": lambda run: (run / "vocabulary.json").write_text('["<unk>", "ab"]'),
    "surrogate_vocabulary": lambda run: (run / "vocabulary.json").write_text(r'["<unk>", "\ud800"]'),
    "deep_vocabulary": lambda run: (run / "vocabulary.json").write_text("[" * 10**6),
    "small_vocabulary": lambda run: (run / "vocabulary.json").write_text('["<unk>", "a"]'),
    "no_checkpoints": lambda run: shutil.rmtree(run / "checkpoints"),
    "link_checkpoints": lambda run: (
        (run / "checkpoints").rename(run.parent / f"{run.name}_elsewhere"),
        (run / "checkpoints").symlink_to(run.parent / f"{run.name}_elsewhere"),
    ),
    "file_checkpoints": lambda run: (shutil.rmtree(run / "checkpoints"), (run / "checkpoints").write_text("x")),
    "torn_checkpoints": lambda run: [os.truncate(path, 5000) for path in (run / "checkpoints").iterdir()],
    "empty_checkpoints": lambda run: [os.truncate(path, 0) for path in (run / "checkpoints").iterdir()],
    "linked_checkpoint": lambda run: [link(path, "/dev/zero") for path in list((run / "checkpoints").iterdir())],
    "sparse_checkpoints": lambda run: [os.truncate(path, 2**40) for path in (run / "checkpoints").iterdir()],
    "nan_weights": each_array(lambda array: np.full_like(array, np.nan) if array.dtype == "f" else array),
    "transposed_weights": each_array(lambda array: array.T.copy()),
    "double_weights": each_array(lambda array: array.astype("f8") if array.dtype == "f" else array),
    "fewer_weights": lambda run: rewrite(run, lambda a: a.pop("weights.0") is a.pop("best_weights.0")),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory, small_run):
    """A folder with texts, series and run directories, valid and spoilt."""
    folder = tmp_path_factory.mktemp("wrong")
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    deflated = io.BytesIO()
    with zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "the quick brown fox " * 500)
    content = bytearray(deflated.getvalue())
    (folder / "cut.zip").write_bytes(content[:-30])
    content[40:60] = bytes(20)
    (folder / "bad.zip").write_bytes(content)
    with (folder / "sparse").open("wb") as file:
        file.truncate(2**40)
    (folder / "no_texts").mkdir()
    (folder / "mixed" / "deeper").mkdir(parents=True)
    (folder / "mixed" / "good.txt").write_text("a text")
    (folder / "mixed" / "deeper" / "picture.png").write_bytes(b"\x89PNG\0\0")
    (folder / "no_run").mkdir()
    (folder / "no_run" / "thesis.txt").write_text("all my work")
    shutil.copytree(small_run, folder / "run")
    (folder / "unsaved").mkdir()
    for name in ("config.json", "vocabulary.json"):
        shutil.copy(folder / "run" / name, folder / "unsaved")
    (folder / "unsaved" / "checkpoints").mkdir()
    (folder / "only_link").mkdir()
    (folder / "only_link" / "checkpoints").symlink_to(folder / "no_run")
    for name, spoil in SPOILERS.items():
        shutil.copytree(folder / "run", folder / name)
        spoil(folder / name)
    return folder


# By the flags of a command, in which {} is the folder: a part of the message, or several separated by |.
TRAINING = {
    "--unit=3": "train has no flag --unit (did you mean --units?)",
    "--units=0": "--units must be a whole number at least 1 and at most 16384; got 0",
    "--units=many": "got 'many'",
    "--units=1e3": "got '1e3'",
    "--units=": "got ''",
    "--units=３x": "got '３x'",
    "--units=9" + "9" * 5000: "--units must be",
    "--learning_rate=-1": "above 0 and at most 1000000000.0; got -1.0",
    "--learning_rate=1e39": "at most",
    "--learning_rate=nan": "a number",
    "--clip_norm=1e39": "at most",
    "--units=3000000": "at most 16384",
    "--units=16384 --num_layers=64 --cell=lstm": "GB, and this machine has",
    "--corpus=a\udcff": "in UTF-8",
    "--corpus=a\0b": "null byte",
    "--corpus=": "there is no file ''",
    "--corpus=" + "x" * 5000: "name too long",
    "--corpus=/dev/fd/999": "there is no file",
    "--dropout=1": "below 1",
    "--cell=transformer": "one of rnn, gru, lstm",
    "--preset=gpt": "one of rnn_scratch",
    "--random_offset=perhaps": "true or false; got 'perhaps'",
    "--epochs": "epochs",
    "--save_every=-1": "at least 0",
    "--save_every=inf": "a number",
    "extra": "expected only flags",
    "--device=gpu:7": "0 GPUs",
    "--tie_weights": "--tie_weights needs --embedding_dim equal to --units",
    "--chains=3 --batch_size=4": "cannot be cut into --chains=3",
    "--seed=2147483648": "below 2147483648",
    "--schedule=plateau --warmup_steps=9": "--schedule=plateau has no warm-up",
    "--schedule=plateau --validation_tokens=1": "a held-out text of at least two tokens; got 1",
    "--early_stopping=2 --validation_tokens=0": "a held-out text of at least two tokens; got 0",
    "--schedule=exponential --decay_to=0": "never reaches zero",
    "--embedding_initializer=normal": "--embedding_initializer needs an --embedding_dim above 0",
    "--weight_decay=0.1 --optimizer=adam": "--weight_decay is for --optimizer=adamw; got adam; leave one out",
    "--log_dir={}/short --run_dir=run": "expected a folder that can be written",
    "--log_dir=/proc/none --run_dir=run": "expected a folder that can be written",
    "--log_dir=a\0b --run_dir=run": "expected a folder that can be written",
    "--seed=-1": "at least 0",
    "--corpus=nowhere.txt": "there is no file 'nowhere.txt'",
    "--corpus={}/empty": "empty",
    "--corpus={}/binary": "byte 2 is NUL",
    "--corpus={}/latin": "byte 1 is 0xfc",
    "--corpus={}/no_texts": "a directory of text files, but this one holds none",
    "--corpus={}/mixed": "binary; take a text, or remove it from the folder",
    "--corpus={}/marks": "leaves nothing of its 0 characters",
    "--corpus={}/blank": "leaves nothing",
    "--corpus={}/half": "byte 2 is 0xc3",
    "--corpus={}/surrogate": "byte 1 is 0xed",
    "--corpus={}/overlong": "byte 0 is 0xc0",
    "--corpus={}/utf16": "byte 1 is NUL; it is probably in UTF-16-LE: give --encoding=utf_16_le",
    "--corpus={}/latin --encoding=utf-9": "--encoding must be auto or the name of an encoding",
    "--corpus={}/latin --encoding=ANSI": "got 'ANSI' (did you mean cp1252?)",
    "--corpus={}/latin --encoding=Unicode": "got 'Unicode' (did you mean utf_16?)",
    "--corpus={}/latin --encoding=ascii": "expected ascii, but byte 1 is 0xfc; give another --encoding",
    "--encoding=cp1252": "--encoding is for files; got --corpus=sample",
    "--corpus={}/good --corpus={}/nowhere": "there is no file '",
    "--corpus={}/nowhere* --corpus={}/good": "nothing matches '",
    "--word_rule=marks": "--word_rule is for --tokens=word; got char",
    "--worker_timeout=9": "--worker_timeout is for --strategy=multi_worker; got one_device",
    "--rnn_size=9": "--rnn_size is char-rnn's; here: --units=9",
    "--corpus={}/gzip": "cannot be unpacked",
    "--corpus={}/zip": "zip",
    "--corpus={}/bad.zip": "cannot be unpacked",
    "--corpus={}/cut.zip": "cut.zip: expected a text, got a zip archive that is damaged or within another; unpack it",
    "--corpus={}/sparse": "byte 0 is NUL",
    "--corpus=/dev/zero": "got a device",
    "--device=gpu:" + "9" * 5000: "--device must be",
    "--corpus={}/short": "9 tokens, but batches of 4 rows of 32 steps need",
    "--corpus={}/short --preset=rnn_concise": "9 tokens, but batches of 32 rows of 35 steps need",
    "--corpus={}/digits --text_rule=book": "leaves nothing",
    "--corpus={}/good --batch_size=1048576": "needs at least",
    "--corpus={}/good --tokens=word --max_tokens=0 --validation_tokens=100000": "leaves nothing to train on",
    "--max_tokens=100": "100 tokens",
    "--max_tokens=-1": "at least 0",
    "--corpus={}/short --max_tokens=0 --validation_tokens=9": "leaves nothing to train on",
    "--prefix=Ünknown --text_rule=spaces": "unknown characters 'Ü' in --prefix 'Ünknown': expected only",
    "--prefix=123": "--prefix '123'",
    "--prefix=": "--prefix ''",
    "--prefix=\udcff": "a list of texts",
    "--run_dir={}/short": "is a file",
    "--run_dir={}/short/run": "not a directory",
    "--run_dir=/proc/none": "expected a folder that can be written",
    "--run_dir=" + "x" * 5000: "name too long",
    "--run_dir=a\0b": "NUL character",
    "--run_dir={}/no_run": "holds other files",
    "--run_dir={}/only_link": "symbolic link",
}
SAMPLING = {
    "": "--run_dir must name the folder",
    "--run_dir={}/nowhere": "there is no such folder",
    "--run_dir={}/no_run": "no config.json",
    "--run_dir={}/short": "it is a file; name another, or train first",
    "--run_dir=a\0b": "there is no such folder",
    "--run_dir={}/unsaved": "no checkpoint yet",
    "--run_dir={}/run --length=0": "at least 1",
    "--run_dir={}/run --stop=": "--stop: expected the text before which a sample ends; got an empty one; give one,",
    "--run_dir={}/run --temperature=-1": "at least 0",
    "--run_dir={}/run --temperature=nan": "a number",
    "--run_dir={}/run --top_p=0": "above 0",
    "--run_dir={}/run --top_p=1.5": "at most 1",
    "--run_dir={}/run --top_k=-1": "at least 0",
    "--run_dir={}/run --min_p=1.5": "at most 1",
    "--run_dir={}/run --repetition_penalty=0": "at least 0.01",
    "--run_dir={}/run --repetition_window=257": "at most 256",
    "--run_dir={}/run --beam_width=-1": "at least 0",
    "--run_dir={}/run --beam_width=4 --temperature=0.5": "--beam_width searches the likeliest text",
    "--run_dir={}/run --beam_width=4 --stream": "got --stream too",
    "--run_dir={}/run --beam_width=4 --seed=1": "got --seed too",
    "--run_dir={}/run --beam_width=4 --num_samples=5": "--num_samples must be at most --beam_width=4",
    "--run_dir={}/run --temperature=0 --top_p=0.5": "--temperature=0 always takes the likeliest token",
    "--run_dir={}/run --temperature=0 --num_samples=2": "got --num_samples too",
    "--run_dir={}/run --temperature=0 --seed=3": "always takes the likeliest token; got --seed too",
    "--run_dir={}/run --interactive --prefix=a": "--interactive reads prefixes from standard input",
    "--run_dir={}/run --interactive --num_samples=3": "got --num_samples too",
    "--run_dir={}/run --prefix=a --prefix=b --num_samples=100000 --length=600": "for all prefixes",
    "--run_dir={}/run --prefix=42": "--prefix '42'",
    "--run_dir={}/run --prefix=": "--prefix ''",
    "--run_dir={}/run --prefix=\udcff": "must be a list of texts",
    "--run_dir={}/run --unknown=guess": "one of error",
    "--run_dir={}/run --checkpoint=first": "one of best",
    "--run_dir={}/run --length=3000000000": "at most",
    "--run_dir={}/run --num_samples=100000 --length=10000000": "at most",
    "--run_dir={}/run --wat": "sample has no flag --wat",
}
# By name of a spoilt run directory, from which neither sampling nor training is possible. `units` is a flag of training
# only.
SPOILT = {
    "no_config": "config.json",
    "torn_config": "cannot be read",
    "list_config": "must be an object",
    "deep_config": "cannot be read",
    "long_number": "cannot be read",
    "latin_config": "cannot be read",
    "more_config": "unknown keys [layer_class]",
    "less_config": "lacks [cell]",
    "escape_config": r"unknown keys [ce\x1b[31mll]",
    "cell_config": "config.json: `cell` must be one of|config.json: --cell must be one of",
    "real_config": "`units` must be a whole number|--units must be a whole number",
    "rate_config": "`learning_rate` must be|--learning_rate must be",
    "true_config": "`units` must be a whole number|--units must be a whole number",
    "huge_config": "`units` must be|--units must be",
    "surrogate_config": "--prefix must be",
    "nan_config": "`learning_rate` must be|--learning_rate must be",
    "big_config": "1,073,741,824 bytes, more than",
    "link_config": "symbolic link",
    "pipe_config": "no regular file",
    "folder_config": "folder|regular",
    "no_vocabulary": "no vocabulary.json",
    "torn_vocabulary": "cannot be parsed",
    "other_vocabulary": "something else",
    "number_vocabulary": "something else",
    "twice_vocabulary": "every token once",
    "first_vocabulary": "got '<unk>'",
    "long_vocabulary": "got 'ab'",
    "surrogate_vocabulary": r"got '\ud800'",
    "deep_vocabulary": "cannot be parsed",
    "no_checkpoints": "checkpoint",
    "link_checkpoints": "symbolic link",
    "file_checkpoints": "expected a folder of checkpoints",
    "torn_checkpoints": "checksum",
    "empty_checkpoints": "checksum",
    "linked_checkpoint": "symbolic link",
    "sparse_checkpoints": "bytes, more than",
    "nan_weights": "not finite",
    "transposed_weights": "expected float32",
    "double_weights": "expected float32",
    "fewer_weights": "lacks the arrays",
}
ONLY_SAMPLING = {  # training with these names the setting or text that differs
    "large_config": "GB, and this machine has",
    "other_config": "made with other settings or tokens",
    "small_vocabulary": "made with other settings or tokens",
}
FORECASTING = {
    "--weight_decay=0.1": "--weight_decay is for --optimizer=adamw; got adam; leave one out",
    "--decay_to=0.1 --schedule=constant": "--decay_to is for --schedule=cosine or exponential or plateau; got constant",
    "--csv={}/nowhere.csv": "it does not exist",
    "--csv={}/no_run": "cannot be read",
    "--csv={}/two.csv --column=c": "expected --column to name one of a, b; got 'c'",
    "--csv={}/two.csv": "expected --column to name one of a, b; got ''",
    "--csv={}/twice.csv --column=a": "expected --column to name one of a, a",
    "--csv={}/empty": "expected the names of the columns",
    "--csv={}/nameless.csv": "series too short",
    "--csv={}/gap.csv": "got nothing (a gap)",
    "--csv={}/comma.csv": "--k: expected at most 0",
    "--csv={}/words.csv": "got 'two'",
    "--csv={}/nan.csv": "got 'nan'",
    "--csv={}/huge.csv": "got '1e999'",
    "--csv={}/few.csv --k=2": "--k: expected at most 1",
    "--csv={}/latin.csv": "expected a CSV file in UTF-8",
    "--csv={}/nul.csv": "line 2|cannot be read",  # the latter in Python 3.10
    "--csv={}/quote.csv": "cannot be read",
    "--csv={}/wide.csv": "cannot be read",
    "--csv=a\0b": "null byte",
    "--csv={}/numbers.csv --num_steps=70 --method=recursive": "series too short: 180 values",
    "--csv={}/numbers.csv --plot=.": "expected a file that can be written",
    "--csv={}/numbers.csv --plot=/no/such/folder/x.png": "in a folder that exists",
    "--csv={}/numbers.csv --k=76": "--k: expected at most 75",
    "--csv={}/numbers.csv --k=0": "whole numbers of at least 1",
    "--csv={}/numbers.csv --k=1,,2": "whole numbers of at least 1",
    "--csv={}/numbers.csv --train_fraction=1": "above 0 and below 1",
    "--csv={}/numbers.csv --embedding_dim=3": "embedding_dim",
    "--units=0": "--units must be",
}
CHANGED = {  # resuming a run with other settings
    "--units=17": "was begun with --units=16, now it is 17",
    "--seed=1": "--seed=0",
    "--corpus={}/good": "--corpus=sample",
}
RESUME = " ".join(SMALL)


def case(command, flags, message, prefix=""):
    label = f"{command.__name__.removeprefix('tfrnn.')} {flags[:60].encode('ascii', 'replace').decode()}".rstrip()
    return pytest.param(command.main, f"{prefix} {flags}", message, id=label)


CASES = [
    *(case(train, *item) for item in TRAINING.items()),
    *(case(train, f"{flags} --run_dir={{}}/run", text, RESUME) for flags, text in CHANGED.items()),
    *(case(sample, *item) for item in SAMPLING.items()),
    *(case(sample, f"--run_dir={{}}/{name}", text) for name, text in {**SPOILT, **ONLY_SAMPLING}.items()),
    *(case(train, f"--epochs=9 --run_dir={{}}/{name}", text, RESUME) for name, text in SPOILT.items()),
    *(case(forecast, *item) for item in FORECASTING.items()),
]


def state_of(folder):
    """Returns what identifies the content of each file and link below a folder; a write changes its times."""
    state = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            status = os.lstat(path := os.path.join(parent, name))
            times = () if stat.S_ISDIR(status.st_mode) else (status.st_mtime_ns, status.st_ctime_ns)
            state[path] = (status.st_ino, status.st_mode, status.st_size, *times)
    return state


@pytest.fixture(scope="module")
def last_state(folder):
    """The state of the folder after the test before, as the only item of a list."""
    return [state_of(folder)]


# What `train` says of its text before TensorFlow loads, and so before what only TensorFlow or the run can tell.
READ = r"(text: .*\nencoding: .*\ncharacters: .*\ndifferent characters: .*\n(\S+ (out|on): .*\n){3})?"


@pytest.mark.parametrize(("main", "flags", "message"), CASES)
def test_wrong_input_is_a_one_line_error_that_changes_nothing(
    main, flags, message, folder, last_state, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    flags = [flag.replace("{}", str(folder)) for flag in flags.split(" ") if flag]
    status, out, err = run(main, *flags)
    assert (status, out) == (2, "")
    read, err = re.fullmatch(rf"(?P<read>{READ})(?P<error>tfrnn: error: .*\n)", err).group("read", "error")
    assert main is train.main or not read
    assert any(text.lower() in err.lower() for text in message.split("|"))
    assert len(err) < 1500
    before, last_state[0] = last_state[0], state_of(folder)
    assert last_state[0] == before
    assert list(tmp_path.iterdir()) == []


def test_there_is_a_case_for_every_spoilt_run():
    assert len(CASES) >= 180
    assert set(SPOILERS) == {*SPOILT, *ONLY_SAMPLING}
