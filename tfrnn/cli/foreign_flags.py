"""Flags of other programs, and of other commands, answered with ours."""

import os
import re
from collections.abc import Container
from typing import NamedTuple

from tfrnn.config.config import SECTIONS
from tfrnn.config.trained_run import Sampling

MAX_SHOWN_VALUE = 40  # characters; a longer value is not repeated


class Answer(NamedTuple):
    """What a flag of another program is here.

    Attributes:
      program: whose flag it is.
      command: our command that has the like of it.
      flag: the flag of that command; empty: there is none.
      remark: how it differs; if there is one, the value that was given is not ours.
    """

    program: str
    command: str
    flag: str
    remark: str = ""


def _answers(program: str, command: str, **flags: str) -> dict[str, Answer]:
    """Returns the answers for flags of a program, each given as our flag, with a remark after a comma."""
    split = {name: ours.partition(", ") for name, ours in flags.items()}
    return {name: Answer(program, command, flag, remark) for name, (flag, _, remark) in split.items()}


_SHARE = "validation_fraction"
_REST = "validation_fraction, what is held out of the text, not what is trained on"
_IN_EPOCHS = "show_every, a number of epochs"
_IN_SECONDS = "save_every, a number of seconds"
_DECAY = "schedule, cosine, exponential or plateau"
_DEVICE = "device, cpu or gpu:N"
_KEPT = "dropout, the fraction that is dropped, not what is kept"
_LOG = "log_dir, a folder for TensorBoard"
_ALWAYS = ", since the speed is always measured"
_RESUMED = ", since --run_dir resumes a run where it stopped, and --init_from begins another"
FLAGS: dict[str, Answer] = {
    **_answers("textgenrnn", "train", rnn_layers="num_layers", max_length="num_steps", dim_embeddings="embedding_dim",
               num_epochs="epochs", max_words="max_vocabulary", word_level="tokens, char or word", train_size=_REST,
               gen_epochs=_IN_EPOCHS, save_epochs=_IN_SECONDS, file_path="corpus", new_model="run_dir, a new folder",
               multi_gpu="strategy, mirrored",
               rnn_bidirectional=", since a model that writes reads only what comes before"),
    **_answers("textgenrnn", "sample", max_gen_length="length", top_n="top_k",
               line_delimited=r"stop, \n for lines, which train reads as they are"),
    **_answers("torch-rnn", "train", model_type="cell", wordvec_size="embedding_dim", input_txt="corpus",
               input_h5="corpus, the text itself", input_json="corpus, the text itself", val_frac=_SHARE,
               test_frac=_SHARE, lr_decay_every=_DECAY, lr_decay_factor=_DECAY, checkpoint_name="run_dir",
               checkpoint_every=_IN_SECONDS, gpu=_DEVICE, gpu_backend=_DEVICE,
               batchnorm=", since there is no batch normalization", reset_iterations=_RESUMED,
               speed_benchmark=_ALWAYS, memory_benchmark=", since the memory is not measured"),
    **_answers("torch-rnn", "sample", start_text="prefix"),
    **_answers("char-rnn-tensorflow", "train", save_dir="run_dir", input="corpus", output_keep_prob=_KEPT,
               input_keep_prob=_KEPT),
    **_answers("char-rnn-tensorflow", "sample", prime="prefix", n="length"),
    **_answers("word-rnn-tensorflow", "sample", pick="beam_width, above 0 for a beam search", width="beam_width"),
    **_answers("char-rnn.pytorch", "train", hidden_size="units", n_layers="num_layers", n_epochs="epochs",
               chunk_len="num_steps"),
    **_answers("char-rnn.pytorch", "sample", prime_str="prefix", predict_len="length"),
    **_answers("word_language_model", "train", nhid="units", nlayers="num_layers", emsize="embedding_dim",
               bptt="num_steps", clip="clip_norm", data="corpus", save="run_dir",
               tied="tie_weights, with embedding_dim the same as units"),
    **_answers("another program", "train", data_start=", since a text is read from its beginning"),
    **_answers("char-rnn", "train", data_dir="corpus", rnn_size="units", model="cell", seq_length="num_steps",
               max_epochs="epochs", grad_clip="clip_norm, which bounds the norm of all gradients together",
               train_frac=_REST, learning_rate_decay=_DECAY, learning_rate_decay_after=_DECAY,
               decay_rate="optimizer, rmsprop", checkpoint_dir="run_dir", savefile="run_dir", print_every=_IN_EPOCHS,
               eval_val_every=_IN_EPOCHS, gpuid=_DEVICE, opencl=_DEVICE, accurate_gpu_timing=_ALWAYS),
    **_answers("char-rnn", "sample", primetext="prefix", sample="temperature, 0 for always the likeliest token"),
    **_answers("nanoGPT", "train", n_layer="num_layers", n_embd="units", block_size="num_steps", dataset="corpus",
               max_iters="epochs, each of which reads the text once", out_dir="run_dir", warmup_iters="warmup_steps",
               min_lr="decay_to, a fraction of the learning rate", decay_lr=_DECAY, lr_decay_iters=_DECAY,
               eval_interval=_IN_EPOCHS, log_interval=_IN_EPOCHS, compile="jit_compile, on or off",
               n_head=", since a recurrent network has no attention heads", dtype="mixed_precision",
               bias=", since a recurrent layer has biases", beta2=", since the optimizers have Keras's numbers",
               gradient_accumulation_steps="batch_size, all rows of a step, which are read at once",
               eval_iters=", since all of the held-out text is read", eval_only=", since evaluate measures a run",
               always_save_checkpoint=", since the last weights and the best are saved", wandb_log=_LOG,
               wandb_project=_LOG, wandb_run_name=_LOG, beta1=", since the optimizers have Keras's numbers",
               backend="strategy, multi_worker, for several machines"),
    **_answers("nanoGPT", "sample", start="prefix", max_new_tokens="length"),
    **_answers("the book", "train", num_hiddens="units", num_units="units", theta="clip_norm"),
    **_answers("", "sample", length="length", num_samples="num_samples", stream="stream", interactive="interactive",
               beam_width="beam_width", stop="stop", report_new="report_new", unknown="unknown",
               **{field.name: field.name for field, _ in Sampling.fields()}),
    **_answers("", "train", **{field.name: field.name for section in SECTIONS for field, _ in section.fields()}),
}  # fmt: skip


# nanoGPT's values of a flag that is ours too, by patterns.
_INIT_FROM = {
    "resume": "here: --run_dir=..., the folder of the run, without this flag",
    "scratch": "leave it out, since a run begins from scratch without it",
    "gpt2.*": "leave it out, since there are no pretrained models",
}


def answer(name: str, argument: str, flags: Container[str]) -> str:
    """Returns what to give in place of a flag that a command does not have; empty if the flag is not known.

    Args:
      name: the flag.
      argument: what was given, `--name=value`, or `--name` if the value is another argument.
      flags: the flags of the command.
    """
    found, given = FLAGS.get(name), argument.partition("=")[2]
    if not found:
        return ""
    if name == "init_from" and (of_value := answer_init_from(given)):
        return of_value
    whose = f"--{name} is {found.program}'s" if found.program else f"--{name} is a flag of {found.command}"
    if not found.flag:
        return f"{whose}; leave it out, {found.remark}"
    value, remark = _ours(found, given)
    place = "here" if found.flag in flags else f"here, for {found.command}"
    return f"{whose}; {place}: --{found.flag}={value}" + (f" ({remark})" if remark else "")


def _ours(found: Answer, value: str) -> tuple[str, str]:
    """Returns the value to give to our flag, `...` if that is another one, and how ours differs."""
    if found.flag == "prefix" and not found.remark and re.search(r"\n|\\[nt]", value):
        if not re.sub(r"\\n|\n", "", value):
            return "", "an empty one begins after a line end"
        return "...", "it has no escapes: a line end in it is one"
    is_ours = value and not found.remark and len(value) <= MAX_SHOWN_VALUE
    return value if is_ours else "...", found.remark


def answer_init_from(value: str) -> str:
    """Returns what to give in place of nanoGPT's values of --init_from; empty if there is such a file."""
    for pattern, remark in _INIT_FROM.items():
        if re.fullmatch(pattern, value) and not os.path.lexists(value):
            return f"--init_from={value} is nanoGPT's; {remark}"
    return ""
