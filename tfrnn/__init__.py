"""tfrnn: recurrent language models in Keras, from scratch and fast.

A model learns a text and continues it:

>>> import keras, tfrnn
>>> text = "abc" * 40
>>> vocabulary = tfrnn.Vocabulary.from_text(text)
>>> ids = vocabulary.encode(text)
>>> batches = tfrnn.sequential_batches(ids, batch_size=4, num_steps=6)
>>> model = tfrnn.LanguageModel(tfrnn.RNNCell(8), len(vocabulary))
>>> history = tfrnn.Trainer(model, keras.optimizers.Adam(0.1)).fit(batches, epochs=10)
>>> tfrnn.generate(model, vocabulary, "ab", length=6)
'abcabcab'

The packages, from the ground up: `runtime`, `config` and `plots`; `data`, `layers` and `cli`; `runs`, `inference` and
`series`; `training`; `models`; `formats`; and the commands `train`, `sample`, `evaluate`, `export` and `forecast`,
beside `d2l`. Each imports only from those before it, and its docstring says what is in it.

The examples in the docstrings assume `import keras, tfrnn` and `import numpy as np`. A long training is faster after
`set_threads`, which must be called first. Each public name is imported when it is first used, so that `import tfrnn` is
fast.

Letters in shapes: T num_steps, B batch_size, V vocab_size, E embedding_dim, H units, L num_layers, N tokens of a text.
Batches are time-major, [T, B], except in `d2l`.
"""

import ast
import importlib

__version__ = "0.1.0"
with open(f"{__path__[0]}/__init__.pyi", encoding="utf-8") as _stub:  # type checkers read the same list
    _MODULE_OF = {
        alias.name: line.module
        for line in ast.parse(_stub.read()).body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }
__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'tfrnn' has no attribute {name!r}")
    attributes = vars(importlib.import_module(_MODULE_OF[name]))
    # A submodule becomes an attribute of its package only when it is imported.
    value = attributes[name] if name in attributes else importlib.import_module(f"{_MODULE_OF[name]}.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
