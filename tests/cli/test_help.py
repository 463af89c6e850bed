"""The help of the program and its commands, the command lines it shows, and errors about wrong names."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from entry_points import run, run_as_given

import tfrnn
from tfrnn import __main__
from tfrnn.cli import flags as flags_lib
from tfrnn.cli import foreign_flags, invocation
from tfrnn.errors import did_you_mean, join_with_or
from tfrnn.runtime import host

COMMANDS = __main__.commands()
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def called_as_python(monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "tfrnn"])


def stdout_of(main, *arguments):
    status, out, err = run(main, *arguments)
    assert (status, err) == (0, "")
    return out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_and_the_usual_flags_and_helpfull_has_all_flags(command):
    module = COMMANDS[command]
    usual, everything = stdout_of(module.main, "--help"), stdout_of(module.main, "--helpfull")
    flags = module.make_flags()
    names = {name for name in flags.values if name not in ("help", "h", "helpfull")}
    in_help, in_full = (set(re.findall(r"^  --(\w+)", text, re.MULTILINE)) for text in (usual, everything))
    assert (in_full, in_help <= in_full) == (names, True)
    more = re.search(r"^(\d+) more flags, seldom needed: (.*)$", usual, re.MULTILINE)
    assert len(in_full - in_help) == (int(more[1]) if more else 0)
    assert not more or more[2] == f"python -m tfrnn.{command} --helpfull"
    assert module.EXAMPLES
    for example in module.EXAMPLES:
        assert f"\n  python -m tfrnn.{command} {example}\n" in usual
        assert flags.parse([command, *shlex.split(example)])
        flags = module.make_flags()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "--helpfull"])
def test_no_line_is_wider_than_80_columns_if_the_width_is_unknown(command, flag):
    lines = stdout_of(COMMANDS[command].main, flag).splitlines()
    assert 60 < max(map(len, lines)) <= 80
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize(("columns", "widest"), [(10, 40), (50, 50), (90, 90), (500, 100)])
def test_help_is_as_wide_as_the_terminal(columns, widest, monkeypatch):
    monkeypatch.setattr(host, "terminal_columns", lambda: columns)
    lines = stdout_of(COMMANDS["train"].main, "--helpfull").splitlines()
    to_paste = [line for line in lines if "python -m" in line]
    assert widest - 15 < max(len(line) for line in lines if line not in to_paste) <= widest


def test_help_shows_defaults_choices_and_how_to_switch_a_flag_off():
    train, forecast = (" ".join(stdout_of(COMMANDS[name].main, "--helpfull").split()) for name in ("train", "forecast"))
    assert "--units=256 " in train
    assert "--units=16 " in forecast
    assert "--cell=rnn the recurrent cell: rnn, gru or lstm " in train
    assert "--norandom_offset switches it off" in train
    assert train.count("switches it off") == 1
    assert len(stdout_of(COMMANDS["train"].main, "--help").splitlines()) <= 50


def test_the_program_lists_its_commands_with_their_summaries():
    overview = stdout_of(__main__.choose)
    assert overview == stdout_of(__main__.choose, "--help") == stdout_of(__main__.choose, "-h")
    assert max(map(len, overview.splitlines())) <= 80
    words = " ".join(overview.split())
    for command, module in COMMANDS.items():
        assert f" {command} {module.__doc__.splitlines()[0]} " in words
    assert f"python -m tfrnn.train {COMMANDS['train'].EXAMPLES[0]}\n" in overview
    assert stdout_of(__main__.choose, "--version") == f"tfrnn {tfrnn.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_program_is_the_module_of_that_name(command):
    assert stdout_of(__main__.choose, command, "--help") == stdout_of(COMMANDS[command].main, "--help")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("trian", "expected a command, train, sample, evaluate, export or forecast; got 'trian' (did you mean train?)"),
        ("--verson", "(did you mean --version?)"),
        ("--epochs=3", "got '--epochs=3'"),
        ("train --lernrate=1", "train has no flag --lernrate (did you mean --learning_rate?); `python -m tfrnn.train"),
        ("train --lr=1", "(did you mean --learning_rate?)"),
        ("train --qqq=1", "train has no flag --qqq; "),
        ("train --cell=gur", "got 'gur' (did you mean gru?)"),
        ("train --preset=deep_lstn", "got 'deep_lstn' (did you mean deep_lstm?)"),
        ("train --corpus=time_machin", "no file 'time_machin' (did you mean time_machine?)"),
        ("train runs/first", "expected only flags, such as --name=value; got 'runs/first'"),
    ],
)
def test_a_wrong_word_is_a_one_line_error_with_the_closest_known_word(arguments, expected):
    status, out, err = run(__main__.choose, *arguments.split())
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert expected in err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ("train book.txt", "; for a text give --corpus=book.txt; "),
        ("train --units=9 book.txt", "; for a text give --corpus=book.txt; "),
        ("train --corpus=book.txt book.txt", "; for several texts put commas between them, or quote a pattern: "),
        ("evaluate runs/first", "; for a run give --run_dir=runs/first; "),
        ("sample runs/first", "; for a run give --run_dir=runs/first; "),
        ("sample book.txt", "got 'book.txt'; `"),
    ],
)
def test_a_path_without_a_flag_is_answered_with_the_flag(arguments, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "first").mkdir(parents=True)
    for path in ("book.txt", "runs/first/config.json"):
        (tmp_path / path).touch()
    status, out, err = run(__main__.choose, *arguments.split())
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert hint in err


@pytest.mark.parametrize(("words", "text"), [("a", "a"), ("ab", "a or b"), ("abc", "a, b or c")])
def test_words_are_joined_with_or(words, text):
    assert join_with_or(words) == text


def test_nothing_is_suggested_if_no_known_word_is_close():
    assert did_you_mean("xyz", ["train", "sample"]) == ""
    assert did_you_mean("b" * 10**6, ["batch_size"]) == ""


@pytest.mark.parametrize(
    ("given", "expected"), [("runs/frist", "did you mean runs/first?"), ("runs", "such as runs/first?")]
)
def test_a_wrong_run_directory_is_refused_with_one_that_exists(given, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "config.json").write_text("{}")
    status, _, err = run(COMMANDS["sample"].main, f"--run_dir={given}")
    assert (status, expected in err) == (2, True), err


@pytest.mark.parametrize(
    ("script", "on_path", "expected"),
    [
        ("/venv/bin/tfrnn", "/venv/bin/tfrnn", "tfrnn train"),
        ("/venv/bin/tfrnn", None, "/venv/bin/tfrnn train"),
        ("bin/tfrnn", "/other/bin/tfrnn", "bin/tfrnn train"),
        ("/src/tfrnn/train.py", "/venv/bin/tfrnn", "python -m tfrnn.train"),
        ("/src/tfrnn/__main__.py", None, "python -m tfrnn.train"),
    ],
)
def test_command_lines_have_the_form_in_which_the_program_was_called(script, on_path, expected, tmp_path, monkeypatch):
    for path in ("venv/bin/tfrnn", "bin/tfrnn", "other/bin/tfrnn"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("")
    monkeypatch.chdir(tmp_path)
    at = lambda path: str(tmp_path) + path if path and path.startswith("/") else path  # noqa: E731
    monkeypatch.setattr(sys, "argv", [at(script)])
    monkeypatch.setattr(invocation.shutil, "which", lambda name: at(on_path))
    given = {"run_dir": "a b", "stream": True, "random_offset": False, "prefix": ("x y", "z"), "epochs": 3}
    line = invocation.command_line("train", *flags_lib.as_flags(given))
    flags = "--run_dir='a b' --stream --norandom_offset --prefix='x y' --prefix=z --epochs=3"
    assert line == f"{at(expected) if expected.startswith('/') else expected} {flags}"
    assert shlex.split(line)[-6:] == flags_lib.as_flags(given)
    assert invocation.command_line() == line.partition(" train")[0].partition(".train")[0]


def test_help_version_and_wrong_names_do_not_load_tensorflow():
    code = """
import sys
from tfrnn import __main__ as program
for arguments in ([], ["--version"], ["train", "--help"], ["trian"], ["forecast", "--helpfull"]):
    sys.argv[1:] = arguments
    try:
        program.main()
    except SystemExit:
        pass
    print("loaded by", arguments, {"tensorflow", "keras"} & {*sys.modules})
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    loaded = [line for line in process.stdout.splitlines() if line.startswith("loaded by")]
    assert (len(loaded), [line for line in loaded if not line.endswith("set()")]) == (5, []), process.stderr


@pytest.mark.parametrize(
    "flags",
    [
        "--seed=1 --seed=2",
        "--seed=1 --seed=1",
        "--random_offset --norandom_offset",
        "--run_dir=a --epochs=2 --run_dir=b",
    ],
)
def test_a_flag_that_is_given_twice_is_refused_if_once_is_meant(flags):
    status, out, err = run_as_given(COMMANDS["train"].main, *flags.split())
    name = "random_offset" if "random" in flags else flags.partition("=")[0].lstrip("-")
    assert (status, out) == (2, "")
    assert err == f"tfrnn: error: --{name}: expected it once; got it 2 times; leave all but one out\n"


def test_a_flag_of_several_values_may_be_repeated():
    given = COMMANDS["train"].make_flags().parse(["train", "--corpus=a", "--corpus=b,c", "--prefix=x", "--prefix=y,z"])
    assert given == {"corpus": "a,b,c", "prefix": ("x", "y,z")}
    assert COMMANDS["train"].make_flags().parse(["train", *flags_lib.as_flags(given)]) == given


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("train --rnn_size=512", "--rnn_size is char-rnn's; here: --units=512"),
        ("train -rnn_size 512", "--rnn_size is char-rnn's; here: --units=..."),
        ("train --seq_length=50", "--seq_length is char-rnn's; here: --num_steps=50"),
        ("train --primetext=The", "--primetext is char-rnn's; here: --prefix=The"),
        ("train --max_iters=9", "--max_iters is nanoGPT's; here: --epochs=... (each of which reads the text once)"),
        ("train --data_dir=my_texts", "--data_dir is char-rnn's; here: --corpus=my_texts"),
        ("train --block_size=64", "--block_size is nanoGPT's; here: --num_steps=64"),
        ("train --n_layer=4", "--n_layer is nanoGPT's; here: --num_layers=4"),
        ("train --n_head=4", "--n_head is nanoGPT's; leave it out, since a recurrent network has no attention heads"),
        ("train --num_hiddens=256", "--num_hiddens is the book's; here: --units=256"),
        ("train --top_p=0.5", "--top_p is a flag of sample; here, for sample: --top_p=0.5"),
        ("sample --max_gen_length=300", "--max_gen_length is textgenrnn's; here: --length=300"),
        ("sample --start_text=" + "long " * 99, "--start_text is torch-rnn's; here: --prefix=..."),
        ("train --val_frac=0.1", "--val_frac is torch-rnn's; here: --validation_fraction=0.1;"),
        ("train --test_frac=0.1", "--test_frac is torch-rnn's; here: --validation_fraction=0.1;"),
        ("train --train_frac=0.9", "--train_frac is char-rnn's; here: --validation_fraction=... (what is held out"),
        ("train --train_size=0.9", "--train_size is textgenrnn's; here: --validation_fraction=... (what is held out"),
        ("sample --start=\\n", "--start is nanoGPT's; here: --prefix= (an empty one begins after a line end);"),
        ("sample --start=\n", "--start is nanoGPT's; here: --prefix= (an empty one begins after a line end);"),
        (
            r"sample --start=ROMEO:\n",
            "--start is nanoGPT's; here: --prefix=... (it has no escapes: a line end",
        ),
        ("train --init_from=resume", "--init_from=resume is nanoGPT's; here: --run_dir=..., the folder of the run"),
        ("sample --init_from=gpt2", "--init_from=gpt2 is nanoGPT's; leave it out, since there are no pretrained"),
        (
            "train --init_from=scratch",
            "--init_from=scratch is nanoGPT's; leave it out, since a run begins",
        ),
        ("train --init_from=gpt2-xl", "--init_from=gpt2-xl is nanoGPT's; leave it out, since there are no pretrained"),
        ("train --input=a.txt", "--input is char-rnn-tensorflow's; here: --corpus=a.txt;"),
        ("sample --n=500", "--n is char-rnn-tensorflow's; here: --length=500;"),
        ("sample --width=4", "--width is word-rnn-tensorflow's; here: --beam_width=4;"),
        ("train --dtype=bfloat16", "--dtype is nanoGPT's; here: --mixed_precision=bfloat16;"),
        ("train --eval_only", "--eval_only is nanoGPT's; leave it out, since evaluate measures a run;"),
        ("sample --line_delimited", r"--line_delimited is textgenrnn's; here: --stop=... (\n for lines,"),
        ("sample --units=3", "--units is a flag of train; here, for train: --units=3"),
        (r"train --stop=\n", r"--stop is a flag of sample; here, for sample: --stop=\n;"),
        ("train --wandb_project=a", "--wandb_project is nanoGPT's; here: --log_dir=... (a folder for TensorBoard);"),
        ("train --reset_iterations=1", "--reset_iterations is torch-rnn's; leave it out, since --run_dir"),
        ("train --nhid=200", "--nhid is word_language_model's; here: --units=200;"),
        ("sample --predict_len=9", "--predict_len is char-rnn.pytorch's; here: --length=9;"),
    ],
)
def test_a_flag_of_another_program_is_answered_with_ours(arguments, expected):
    command, *flags = arguments.split(" ", 2) if "-rnn_size " in arguments else arguments.split(" ", 1)
    status, out, err = run(__main__.choose, command, *flags)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"tfrnn: error: {expected}")


def test_a_run_may_have_the_name_of_a_value_of_another_program(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert foreign_flags.answer_init_from("scratch")
    (tmp_path / "scratch").mkdir()
    assert foreign_flags.answer_init_from("scratch") == foreign_flags.answer_init_from("runs/novels") == ""


def test_every_flag_that_was_met_is_answered():
    met = """
        pick width batchnorm output_keep_prob data_start rnn_bidirectional line_delimited n eval_iters eval_only dtype
        bias gradient_accumulation_steps beta2 always_save_checkpoint wandb_log input
        beta1 backend wandb_run_name accurate_gpu_timing speed_benchmark memory_benchmark emsize bptt tied chunk_len
    """
    assert [name for name in met.split() if not foreign_flags.answer(name, f"--{name}", set())] == []


def test_each_answer_names_a_flag_that_exists():
    flags = {name: set(module.make_flags().values) for name, module in COMMANDS.items() if name in ("train", "sample")}
    wrong = [name for name, ours in foreign_flags.FLAGS.items() if ours.flag and ours.flag not in flags[ours.command]]
    assert wrong == []
    assert {name for name, ours in foreign_flags.FLAGS.items() if ours.flag == "" and not ours.remark} == set()


def test_long_prefixes_are_not_repeated_in_hints():
    given = {"run_dir": "runs/first", "prefix": ("so it goes " * 99,)}
    steps = COMMANDS["sample"].next_steps(given)
    assert max(map(len, [*steps, *steps.values()])) < 120
    assert [purpose for purpose in steps if purpose.startswith("try another temperature, with the same --prefix")]
    assert (
        "--prefix='so it goes'"
        in COMMANDS["sample"].next_steps({**given, "prefix": ("so it goes",)})["try another temperature"]
    )


@pytest.mark.parametrize("long", [["--prefix={}"], ["-prefix={}"], ["--prefix", "{}"], ["-prefix", "{}"]])
def test_long_prefixes_are_left_out_however_they_are_given(long):
    others = [["--epochs=2"], ["--prefix=b"], ["--prefix", "b"], ["--prefixes=" + "c" * 99]]
    short = [[word.format("a" * 80) for word in long], *others]
    long = [word.format("a" * 81) for word in long]
    rest = [word for flag in short for word in flag]
    assert invocation.without_long_prefixes(rest) == rest
    for place in range(len(short) + 1):
        arguments = [word for flag in [*short[:place], long, *short[place:]] for word in flag]
        assert invocation.without_long_prefixes(arguments) == rest
