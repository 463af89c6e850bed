"""A user's program that type checkers must accept; see tests/test_types.py."""

from collections.abc import Iterator

import keras
import numpy as np

import tfrnn
from tfrnn import samplers
from tfrnn.d2l import texts as texts_lib


class TwoLikeliest:
    def choose(self, logits: object, uniform: object, recent: object) -> object:
        return samplers.draw(samplers.keep_top_k(logits, 2), uniform)


def model_of(vocabulary: tfrnn.Vocabulary, units: int) -> tfrnn.LanguageModel:
    return tfrnn.LanguageModel(tfrnn.RNN([tfrnn.GRUCell(units), keras.layers.LSTMCell(units)]), len(vocabulary))


def trained(text: str, epochs: int) -> tuple[tfrnn.LanguageModel, tfrnn.Vocabulary]:
    vocabulary = tfrnn.Vocabulary.from_text(text)
    ids: np.ndarray[tuple[int, ...], np.dtype[np.int32]] = vocabulary.encode(text)
    batches: tfrnn.Batches = tfrnn.sequential_batches(ids[:-500], batch_size=32, num_steps=35)
    held_out = tfrnn.random_batches(list(ids[-500:]), 4, 35, random_offset=False)
    model = model_of(vocabulary, units=256)
    trainer = tfrnn.Trainer(model, keras.optimizers.Adam(0.01), clip_norm=1.0)
    try:
        history = trainer.fit(batches, epochs, validation_data=held_out, callbacks=[tfrnn.LiveCurve()])
    except tfrnn.DivergedError as error:
        raise SystemExit(str(error)) from None
    print(history.history["perplexity"][-1], trainer.evaluate(ids)["bits_per_char"], trainer.epoch + 1)
    tfrnn.plot_gradient_norms(trainer.gradient_norms, 1.0, "norms.png")
    tfrnn.plot_curves({"training": history.history["perplexity"]}, "epoch", "perplexity").save("curves.png")
    tfrnn.plot_batches(text[:20], tfrnn.sequential_batches(np.arange(20), 2, 4).epoch(0)).save("batches.png")
    return model, vocabulary


def letters(model: tfrnn.LanguageModel, vocabulary: tfrnn.Vocabulary, prefix: str) -> Iterator[str]:
    yield from tfrnn.stream(model, vocabulary, prefix, 20, tfrnn.Sampler(temperature=0.8))


def read(run_dir: str) -> float:
    model, vocabulary, config = tfrnn.load_run(run_dir)
    text = tfrnn.load_corpus(config.data.corpus, config.data.text_rule)[: config.training.epochs]
    ids = vocabulary.encode(text)
    tfrnn.plot_unit(text, tfrnn.activations(model, ids)[:, 0], "unit.png")
    picture: tfrnn.Picture = tfrnn.plot_gates(text, tfrnn.gates(model, ids), title=tfrnn.__version__)
    picture.save("gates.png")
    best: tfrnn.Beam = tfrnn.beam_search(model, vocabulary, text, width=2)[0]
    reading: tfrnn.Reading = tfrnn.read_prefixes(model, vocabulary, [text])
    texts, reading = tfrnn.continue_texts(model, vocabulary, reading, 20, TwoLikeliest())
    print(best.text.upper(), best.score + 1, texts[0].upper(), reading.generated + 1)
    scored: tfrnn.Score = tfrnn.score(model, ids)
    return scored.perplexity


if __name__ == "__main__":
    tfrnn.set_threads()
    trained_model, trained_vocabulary = trained(tfrnn.load_corpus("sample"), epochs=10)
    print(tfrnn.generate(trained_model, trained_vocabulary, "well ", length=50, seed=1).upper())
    print("".join(letters(trained_model, trained_vocabulary, "well ")), read("runs/first"))
    print(len(texts_lib.Vocab(texts_lib.tokenize(["a b", "b"]))), len(tfrnn.d2l.read_time_machine()))
