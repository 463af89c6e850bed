"""Sequence to sequence learning (sections 9.6 and 9.7), with a decoder of the reader's own."""

import io
import re
from contextlib import redirect_stdout

import keras
import numpy as np
import pytest
import tensorflow as tf
from book_seq2seq import net_of
from rounding import EPS, assert_float32_sums_equal

from tfrnn.d2l import seq2seq, translation, v1
from tfrnn.d2l.texts import Vocab
from tfrnn.errors import UserError

B, T, V = 4, 5, 9
VOCAB = Vocab([list("abcde")], reserved_tokens=["<pad>", "<bos>", "<eos>"])
RANDOM = np.random.default_rng(0)
X, Y = RANDOM.integers(4, V, [2, B, T]).astype("int32")
LENGTHS = np.array([[5, 3, 2, 1], [4, 5, 1, 2]], "int32")
BATCH = tuple(map(tf.constant, (X, LENGTHS[0], Y, LENGTHS[1])))


def trained(train, epochs=3):
    keras.utils.set_random_seed(1)
    net = net_of(V, V)
    train(net, epochs)
    return net


def by_the_books_loop(net, epochs):
    """The loop of section 9.7, which is not compiled."""
    optimizer = keras.optimizers.Adam(0.1)
    for _ in range(epochs):
        x, x_lengths, y, y_lengths = BATCH
        inputs = tf.concat([tf.fill([B, 1], VOCAB["<bos>"]), y[:, :-1]], 1)
        with tf.GradientTape() as tape:
            losses = seq2seq.MaskedSoftmaxCELoss(y_lengths)(y, net(x, inputs, x_lengths, training=True)[0])
        gradients = map(tf.convert_to_tensor, tape.gradient(losses, net.trainable_variables))
        gradients, _ = tf.clip_by_global_norm(list(gradients), 1.0)
        optimizer.apply_gradients(zip(gradients, net.trainable_variables, strict=True))


@pytest.mark.slow
def test_training_is_that_of_the_books_loop_and_prints_its_line():
    out = io.StringIO()
    with redirect_stdout(out):
        net = trained(lambda net, epochs: seq2seq.train_seq2seq(net, [BATCH], 0.1, epochs, VOCAB, "a device"))
    assert re.fullmatch(r"loss \d\.\d{3}, \d+\.\d tokens/sec on a device\n", out.getvalue())
    expected = trained(by_the_books_loop)
    # Adam turns a relative error of a gradient into one of a step of 0.1; the gradients sum over B * T * V terms.
    assert_float32_sums_equal(net.get_weights(), expected.get_weights(), 10 * B * T * V * 3)


def test_a_translation_is_the_most_probable_word_after_each():
    keras.utils.set_random_seed(2)
    net = net_of(V, V)
    net(BATCH[0], BATCH[2], BATCH[1])  # makes the weights, with which every word would be about as probable
    net.set_weights([5 * weight for weight in net.get_weights()])
    text, weights = seq2seq.predict_seq2seq(net, "a B c", VOCAB, VOCAB, T)
    ids = VOCAB[text.split(" ")] if text else []
    source = tf.constant([[*VOCAB[["a", "b", "c"]], VOCAB["<eos>"], VOCAB["<pad>"]]])
    outputs, _ = net(source, tf.constant([[VOCAB["<bos>"], *ids]]), tf.constant([4]), training=False)
    most_probable = tf.argmax(outputs[0], 1).numpy().tolist()
    assert most_probable[: len(ids)] == ids
    assert len(ids) == T or most_probable[len(ids)] == VOCAB["<eos>"]
    assert weights == []


def test_padding_has_no_loss_and_no_gradient():
    logits = tf.Variable(RANDOM.normal(size=[B, T, V]).astype("float32"))
    loss = seq2seq.MaskedSoftmaxCELoss(LENGTHS[1])
    with tf.GradientTape() as tape:
        losses = loss(Y, logits)
    steps = keras.losses.sparse_categorical_crossentropy(Y, logits, from_logits=True).numpy()
    there = np.arange(T) < LENGTHS[1][:, None]
    np.testing.assert_allclose(losses, (steps * there).sum(1) / T, rtol=4 * T * EPS)
    gradient = tape.gradient(losses, logits).numpy()
    np.testing.assert_array_equal(np.any(gradient != 0, 2), there)
    of_equal_logits = loss(tf.ones([B, T], tf.int32), tf.ones([B, T, V]))
    np.testing.assert_allclose(of_equal_logits, np.log(V) * there.mean(1), rtol=4 * T * V * EPS)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 4, 5)])
def test_steps_after_the_valid_length_get_the_value(shape):
    values = RANDOM.normal(size=shape).astype("float32")
    expected = values.copy()
    expected[0, 1:], expected[1, 2:] = -1, -1
    np.testing.assert_array_equal(seq2seq.sequence_mask(tf.constant(values), tf.constant([1, 2]), value=-1), expected)
    whole = seq2seq.sequence_mask(tf.constant([[1, 2, 3], [4, 5, 6]]), tf.constant([1, 2]))
    np.testing.assert_array_equal(whole, [[1, 0, 0], [4, 5, 0]])


def test_shapes_are_those_that_the_book_prints():
    net = net_of(10, 10, size=16)
    outputs, state = net.encoder(tf.zeros([4, 7]), training=False)
    assert (outputs.shape, [part.shape for part in state]) == ((4, 7, 16), [(4, 16), (4, 16)])
    outputs, state = net.decoder(tf.zeros([4, 7]), net.decoder.init_state((outputs, state)), training=False)
    assert (outputs.shape, len(state), state[0].shape) == ((4, 7, 10), 2, (4, 16))


def test_what_is_missing_is_said_in_a_line():
    with pytest.raises(UserError, match="`num_epochs` as a whole number of at least 1; got 0"):
        seq2seq.train_seq2seq(net_of(V, V), [BATCH], 0.1, 0, VOCAB, "cpu")
    with pytest.raises(UserError, match=r"expected ids from 0 to \d in the data; got 1\d"):
        seq2seq.train_seq2seq(net_of(V, V), [(BATCH[0] + 9, *BATCH[1:])], 0.1, 1, VOCAB, "cpu")
    with pytest.raises(NotImplementedError, match="expected Encoder to have a method `call`"):
        seq2seq.Encoder()(tf.zeros([1, 1]))
    with pytest.raises(NotImplementedError, match="expected Decoder to have a method `init_state`"):
        seq2seq.Decoder().init_state(None)
    for data_iter in ([], [(*BATCH[:3], tf.zeros([B], tf.int32))]):
        with pytest.raises(UserError, match=r"`data_iter` to yield batches .*; got none, or padding alone"):
            seq2seq.train_seq2seq(net_of(V, V), data_iter, 0.1, 1, VOCAB, "cpu")
    with pytest.raises(UserError, match="`lr` as a number; got 'fast'"):
        seq2seq.train_seq2seq(net_of(V, V), [BATCH], "fast", 1, VOCAB, "cpu")
    with pytest.raises(UserError, match=r"`X` of at least two dimensions, \[B, T\] or .*; got shape \(3,\)"):
        seq2seq.sequence_mask(tf.zeros([3]), tf.constant([1]))
    with pytest.raises(UserError, match="ReadersDecoder to have an attribute `attention_weights`; got none; leave out"):
        seq2seq.predict_seq2seq(net_of(V, V), "a", VOCAB, VOCAB, T, save_attention_weights=True)
    with pytest.raises(UserError, match=r"`num_steps` as a whole number of at least 1; got 2\.5"):
        seq2seq.predict_seq2seq(net_of(V, V), "a", VOCAB, VOCAB, 2.5)


class ReadersVocab:
    """Section 8.2's, without reserved tokens."""

    def __init__(self, *tokens):
        self.idx_to_token = ["<unk>", *tokens]

    def __getitem__(self, tokens):
        if isinstance(tokens, (list, tuple)):
            return [self[token] for token in tokens]
        return self.idx_to_token.index(tokens) if tokens in self.idx_to_token else 0

    def to_tokens(self, indices):
        return self.idx_to_token[indices]


@pytest.mark.parametrize("kind", [ReadersVocab, lambda *tokens: Vocab(list(tokens)), lambda *tokens: v1.Vocab(tokens)])
def test_a_vocabulary_without_the_reserved_tokens_is_refused(kind):
    net, plain, with_ends = net_of(V, V), kind("a"), kind("a", "<bos>", "<eos>")
    with pytest.raises(UserError, match="`tgt_vocab` to have <bos>; got one without <bos>; make it as Vocab"):
        seq2seq.train_seq2seq(net, [BATCH], 0.1, 1, plain, "cpu")
    with pytest.raises(UserError, match="`src_vocab` to have <eos>, <pad>; got one without <pad>; make it as"):
        seq2seq.predict_seq2seq(net, "a", with_ends, VOCAB, T)
    with pytest.raises(UserError, match="`tgt_vocab` to have <bos>, <eos>; got one without <bos>, <eos>; make it as"):
        seq2seq.predict_seq2seq(net, "a", VOCAB, plain, T)
    with pytest.raises(UserError, match="`vocab` to have <eos>, <pad>; got one without <pad>; make it as"):
        translation.build_array_nmt([["a"]], with_ends, 3)


def test_the_learning_rate_may_be_a_schedule(capsys):
    net = net_of(V, V)
    net(*BATCH[:1], BATCH[2], BATCH[1])
    before = net.get_weights()
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.1, 0.0])
    for lr, changes in ((lambda: 0.0, False), (schedule, True)):
        seq2seq.train_seq2seq(net, [BATCH], lr, 1, VOCAB, "cpu")
        assert any((one != other).any() for one, other in zip(before, net.get_weights(), strict=True)) is changes
