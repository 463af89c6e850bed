"""Named groups of settings: the models of the book's sections, that for own texts, the defaults for forecasting."""

from typing import Any

# Each preset lists the settings that differ from the defaults, which are those of rnn_concise (Dive into Deep Learning,
# section 8.6).
_SCRATCH_RNN = {"implementation": "scratch", "units": 512}
_SCRATCH_GRU = {"implementation": "scratch", "cell": "gru"}
_SCRATCH_LSTM = {"implementation": "scratch", "cell": "lstm"}
# The lyrics are from the book's first edition, whose batches have no random offset.
_LYRICS = {"corpus": "jay_lyrics", "vocabulary": "training", "random_offset": False, "clip_norm": 0.01}
_LYRICS_SCRATCH = {**_LYRICS, "implementation": "scratch", "learning_rate": 100.0}
_LYRICS_ADAM = {**_LYRICS, "optimizer": "adam", "learning_rate": 0.01, "epochs": 160}
OWN_TEXT = "own_text"
PRESETS: dict[str, dict[str, Any]] = {
    "rnn_scratch": _SCRATCH_RNN,  # section 8.5
    "rnn_scratch_random": {**_SCRATCH_RNN, "sampling": "random"},  # 8.5
    "rnn_concise": {},  # 8.6
    "gru_scratch": _SCRATCH_GRU,  # 9.1
    "gru_scratch_random": {**_SCRATCH_GRU, "units": 512, "sampling": "random"},
    "gru_concise": {"cell": "gru"},  # 9.1
    "lstm_scratch": _SCRATCH_LSTM,  # 9.2
    "lstm_concise": {"cell": "lstm"},  # 9.2
    "deep_lstm": {"cell": "lstm", "num_layers": 2, "learning_rate": 2.0},  # 9.3
    "jay_rnn_scratch": {**_LYRICS_SCRATCH, "epochs": 250},
    "jay_rnn_scratch_random": {**_LYRICS_SCRATCH, "sampling": "random", "epochs": 250},
    "jay_rnn_concise": {**_LYRICS_ADAM, "learning_rate": 0.001, "epochs": 250},
    "jay_gru_scratch": {**_LYRICS_SCRATCH, "cell": "gru", "epochs": 160},
    "jay_gru_concise": {**_LYRICS_ADAM, "cell": "gru"},
    "jay_lstm_scratch": {**_LYRICS_SCRATCH, "cell": "lstm", "epochs": 160},
    "jay_lstm_concise": {**_LYRICS_ADAM, "cell": "lstm"},
    # For a text of one's own; the text and the time decide more, see own_text.py.
    OWN_TEXT: {
        "max_tokens": 0,
        "validation_tokens": 0,
        "validation_fraction": 0.1,
        "cell": "gru",
        "optimizer": "adamw",
        "schedule": "cosine",
        "minutes": 10.0,
        "temperature": 0.8,  # the most likely text of a small model repeats itself
        "show_every": 5,
    },
}
DEFAULT_PRESET = "rnn_concise"
# The settings of forecasting that differ from the defaults, by method: "recursive" is the book's (section 8.1).
FORECAST_DEFAULTS: dict[str, Any] = {
    "cell": "gru",
    "units": 16,
    "optimizer": "adam",
    "learning_rate": 0.01,
    "schedule": "cosine",
    "decay_to": 0.0,
    "show_every": 0,
}
FORECAST_METHODS: dict[str, dict[str, Any]] = {
    # Longer training, or faster, learns a short series by heart.
    "direct": {**FORECAST_DEFAULTS, "learning_rate": 0.005, "dropout": 0.3, "epochs": 20},
    "recursive": {**FORECAST_DEFAULTS, "epochs": 500, "train_fraction": 0.6, "batch_size": 4},
}
