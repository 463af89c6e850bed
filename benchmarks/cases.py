"""The cases that are measured, their tokens, and the batches that the other implementations read."""

from typing import NamedTuple

import numpy as np


class Case(NamedTuple):
    """A network and its batches. Trained as in the book: SGD, learning rate 1, gradients clipped to norm 1."""

    cell: str = "rnn"  # rnn, gru, lstm
    units: int = 256
    num_layers: int = 1
    implementation: str = "keras"  # of tfrnn's cell; the scratch GRU resets before the product, PyTorch's GRU after it
    corpus: str = "time_machine"
    vocab_size: int = 0  # above 0: random tokens instead of the corpus
    batch_size: int = 32
    num_steps: int = 35
    chains: int = 0  # of tfrnn; 0: tfrnn decides

    @property
    def name(self) -> str:
        layers = f"{self.num_layers} x " if self.num_layers > 1 else ""
        form = ", reset first" if (self.cell, self.implementation) == ("gru", "scratch") else ""
        corpus = "" if self.corpus == "time_machine" else f", {self.corpus}"
        return f"{self.cell.upper()} {layers}{self.units}{form}{corpus}"


TRAINING = (
    Case("rnn"),
    Case("gru"),
    Case("gru", implementation="scratch"),
    Case("lstm"),
    Case("rnn", 512),
    Case("rnn", 1024),
    Case("lstm", num_layers=2),
    Case("rnn", corpus="jay_lyrics"),
    Case("lstm", corpus="jay_lyrics"),
)
GENERATION = (
    Case("rnn", batch_size=1),
    Case("rnn", batch_size=64),
    Case("lstm", batch_size=1),
    Case("lstm", batch_size=64),
)
TOKENS = 10_000  # as in the book, or more if four batches need more


def tokens(case: Case) -> tuple[np.ndarray, int]:
    """Returns the token ids, int32 [N], and the size of the vocabulary."""
    number = max(TOKENS, 4 * case.batch_size * (case.num_steps + 1))
    if case.vocab_size:
        return np.random.default_rng(0).integers(1, case.vocab_size, number, np.int32), case.vocab_size
    from tfrnn import Vocabulary, load_corpus

    text = load_corpus(case.corpus)
    vocabulary = Vocabulary.from_text(text[:number] if case.corpus == "jay_lyrics" else text)
    return vocabulary.encode(text[:number]), len(vocabulary)


def batches(case: Case, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns an epoch of sequential batches: inputs and targets, each int64 [batches, T, B]."""
    rows, steps = case.batch_size, case.num_steps
    length = (len(ids) - 1) // rows // steps * steps

    def cut(first: int) -> np.ndarray:
        streams = ids[first : first + rows * length].reshape(rows, -1, steps)
        return np.ascontiguousarray(streams.transpose(1, 2, 0), np.int64)

    return cut(0), cut(1)


def flop_per_token(case: Case, vocab_size: int) -> int:
    """Returns the floating-point operations of the matrix products for each token that is trained on.

    Look-ups of rows for one-hot inputs are no products, and the backward pass makes twice as many as the forward pass.
    """
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[case.cell]
    return 6 * (gates * case.units**2 * (2 * case.num_layers - 1) + case.units * vocab_size)
