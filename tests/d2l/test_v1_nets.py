"""The nets, data and vocabulary of edition 1.0: the same net by three ways gives the same numbers."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from book_v1_nets import Seq2SeqDecoder

import tfrnn
from tfrnn import d2l as d2l_0_17
from tfrnn.d2l import v1 as d2l
from tfrnn.d2l.translation import load_data_nmt
from tfrnn.errors import UserError

T, B, V, H = 4, 3, 5, 2
EPS = float(np.finfo(np.float32).eps)
needs_corpora = pytest.mark.skipif("TFRNN_DATA_DIR" not in os.environ, reason="needs the corpora in TFRNN_DATA_DIR")
IDS = tf.constant(np.random.default_rng(0).integers(0, V, [B, T], dtype=np.int32))
LETTERS = d2l.Vocab(list("abcd"))
PAIRS = "Go.\tVa !\nHi.\tSalut !\nRun!\tCours\u202f!\nRun!\tCourez\u202f!\nGo on.\tContinue.\nHi, you.\tSalut, toi.\n"


@pytest.fixture
def pairs(monkeypatch):
    monkeypatch.setattr(d2l.MTFraEng, "_download", lambda self: PAIRS)
    return d2l.MTFraEng(batch_size=2, num_steps=4, num_train=4, num_val=1)


def same_net_by_three_ways():
    """A scratch net, a concise one, and that of edition 0.17, with the same weights."""
    scratch = d2l.RNNLMScratch(d2l.RNNScratch(V, H, sigma=1), V)
    concise = d2l.RNNLM(d2l.RNN(H), V)
    rnn_0_17 = d2l_0_17.RNNModel(tfrnn.RNN(keras.layers.SimpleRNNCell(H), return_state=True), V)
    concise(IDS)
    rnn_0_17(IDS, rnn_0_17.begin_state(B))
    scratch.rnn.b_h.assign(tf.random.normal([H]))
    weights = [scratch.rnn.W_xh, scratch.rnn.W_hh, scratch.rnn.b_h, scratch.W_hq, scratch.b_q]
    for net in (concise, rnn_0_17):
        net.set_weights(weights)
    return scratch, concise, rnn_0_17


def test_the_same_net_by_three_ways():
    keras.utils.set_random_seed(0)
    scratch, concise, rnn_0_17 = same_net_by_three_ways()
    logits = scratch(IDS)
    d2l.check_shape(logits, (B, T, V))
    bound = 20 * EPS * np.max(np.abs(logits))
    np.testing.assert_allclose(concise(IDS), logits, atol=bound)
    outputs, _ = rnn_0_17(IDS, rnn_0_17.begin_state(B))
    np.testing.assert_allclose(tf.transpose(tf.reshape(outputs, [T, B, V]), [1, 0, 2]), logits, atol=bound)
    text = scratch.predict("bad", 9, LETTERS)
    assert concise.predict("bad", 9, LETTERS) == text
    assert text[:3] == "bad"
    ids = LETTERS[list("bad")]
    for _ in range(9):  # the most probable token after all before it
        ids.append(int(np.argmax(scratch(tf.constant([ids]))[0, -1])))
    assert text == "".join(LETTERS.to_tokens(ids))


def test_the_state_carries_a_net_on():
    for rnn in (d2l.RNNScratch(V, H, sigma=1), d2l.RNN(H), d2l.GRU(H, 2)):
        inputs = tf.random.normal([T, B, V])
        outputs, state = rnn(inputs)
        d2l.check_len(outputs, T)
        d2l.check_shape(outputs[0], (B, H))
        first, between = rnn(inputs[:1])
        rest, last = rnn(inputs[1:], between)
        np.testing.assert_allclose(tf.concat([first, rest], 0), tf.convert_to_tensor(outputs), rtol=1e-5, atol=1e-6)
        for one, other in zip(tf.nest.flatten(last), tf.nest.flatten(state), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_scratch_takes_its_state_as_a_tensor_or_a_tuple_of_one():
    rnn, inputs, state = d2l.RNNScratch(V, H, sigma=1), tf.random.normal([T, B, V]), tf.random.normal([B, H])
    for other in ((state,), [state]):
        assert np.array_equal(rnn(inputs, other)[1], rnn(inputs, state)[1])


def test_the_gru_is_time_major_and_its_states_are_flat():
    gru, inputs = d2l.GRU(H, 2), tf.random.normal([T, B, V])
    outputs, state = gru(inputs)
    d2l.check_len(state, 2)
    d2l.check_shape(state[0], (B, H))
    assert np.array_equal(outputs[-1], state[1])
    row, _ = gru(inputs[:, :1])  # a row is not changed by others
    np.testing.assert_allclose(row, outputs[:, :1], rtol=1e-5, atol=1e-6)
    keras_s = keras.layers.RNN([keras.layers.GRUCell(H) for _ in range(2)], return_sequences=True)
    keras_s.build([None, None, V])
    keras_s.set_weights(gru.get_weights())
    np.testing.assert_allclose(
        tf.transpose(keras_s(tf.transpose(inputs, [1, 0, 2])), [1, 0, 2]), outputs, rtol=1e-5, atol=1e-6
    )


def test_the_page_s_batch_major_gru_is_pointed_out():
    class GRU(d2l.RNN):
        def __init__(self):
            d2l.Module.__init__(self)
            self.save_hyperparameters()
            self.rnn = keras.layers.GRU(H, return_sequences=True, return_state=True)

    with pytest.warns(UserWarning, match=r"GRU gives a sequence \[T, B, D\] to a layer that reads it as"):
        GRU()(tf.random.normal([T, B, V]))


def test_classifier():
    model, logits, labels = d2l.Classifier(), tf.random.normal([B, T, V]), IDS
    each = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    np.testing.assert_allclose(model.loss(logits, labels, averaged=False), tf.reshape(each, -1), rtol=1e-5)
    np.testing.assert_allclose(model.loss(logits, labels), tf.reduce_mean(each), rtol=1e-5)
    right = np.argmax(logits, -1) == labels
    assert np.array_equal(model.accuracy(logits, labels, averaged=False), np.ravel(right))
    np.testing.assert_allclose(model.accuracy(logits, labels), np.mean(right))


def test_layer_summary(capsys):
    model = d2l.Classifier()
    model.net = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
    model.layer_summary((1, 2, 2))
    assert capsys.readouterr().out == "Flatten output shape:\t (1, 4)\nDense output shape:\t (1, 3)\n"


def seq2seq(data, dropout=0.0):
    encoder = d2l.Seq2SeqEncoder(len(data.src_vocab), 3, H, 2, dropout)
    decoder = Seq2SeqDecoder(len(data.tgt_vocab), 3, H, 2, dropout)
    return d2l.Seq2Seq(encoder, decoder, tgt_pad=data.tgt_vocab["<pad>"], lr=0.01)


def test_padding_counts_in_no_loss(pairs):
    model, batch = seq2seq(pairs), next(iter(pairs.val_dataloader()))
    logits = model(*batch[:-1])
    labels = batch[-1]
    kept = np.ravel(labels) != pairs.tgt_vocab["<pad>"]
    each = d2l.Classifier.loss(model, logits, labels, averaged=False)
    assert 0 < kept.sum() < kept.size
    np.testing.assert_allclose(model.loss(logits, labels), np.mean(np.array(each)[kept]), rtol=1e-5)


def test_predict_step_feeds_each_token_back(pairs):
    model, batch = seq2seq(pairs), pairs.build(["Hi.", "Go on."], ["Salut !", "Va !"])
    tokens, attention_weights = model.predict_step(batch, d2l.try_gpu(), 4)
    d2l.check_shape(tokens, (2, 4))
    assert attention_weights == []
    context, state = model.encoder(batch[0], batch[2])
    fed = tf.concat([tf.cast(batch[1][:, :1], tokens.dtype), tokens[:, :-1]], 1)
    outputs, _ = model.decoder(fed, [context, state])
    assert np.array_equal(np.argmax(outputs, -1), tokens)
    np.testing.assert_allclose(model(batch[0], fed, batch[2]), outputs, rtol=1e-5, atol=1e-6)


def test_dropout_of_an_encoder_and_decoder_acts_in_training_alone(pairs):
    model, batch = seq2seq(pairs, dropout=0.5), next(iter(pairs.val_dataloader()))
    assert np.array_equal(model(*batch[:-1]), model(*batch[:-1]))
    assert not np.array_equal(model(*batch[:-1], training=True), model(*batch[:-1]))


def test_what_is_not_defined_says_so():
    for call in (lambda: d2l.Encoder()(IDS), lambda: d2l.Decoder()(IDS, IDS), lambda: d2l.Decoder().init_state(None)):
        with pytest.raises(NotImplementedError, match=r"expected (En|De)coder to have a method"):
            call()
    with pytest.raises(NotImplementedError, match="method `loss`"):
        d2l.Module().loss(None, None)
    with pytest.raises(NotImplementedError, match="method `get_dataloader`"):
        d2l.DataModule().train_dataloader()
    with pytest.raises(UserError, match="at least one token"):
        d2l.RNNLMScratch(d2l.RNNScratch(V, H), V).predict("", 3, LETTERS)
    with pytest.raises(AssertionError, match="expected 2 elements, got 1"):
        d2l.check_len([1], 2)
    with pytest.raises(AssertionError, match=r"expected the shape \(1, 2\), got \(2,\)"):
        d2l.check_shape(tf.zeros(2), (1, 2))


def test_vocab():
    vocab = d2l.Vocab([["b", "a", "b"], ["c", "b", "c"]], min_freq=2, reserved_tokens=["<pad>"])
    assert vocab.token_freqs == [("b", 3), ("c", 2), ("a", 1)]
    assert vocab.idx_to_token == ["<pad>", "<unk>", "b", "c"]
    assert (len(vocab), vocab.unk, vocab["b"], vocab["a"]) == (4, 1, 2, 1)
    assert vocab[["c", ("b", "x")]] == [3, [2, 1]]
    ids = vocab[["c", "b"]]
    assert vocab.to_tokens(ids) == vocab.to_tokens(tf.constant(ids)) == vocab.to_tokens(np.array(ids)) == ["c", "b"]
    assert vocab.to_tokens(3) == vocab.to_tokens(tf.constant(3)) == "c"
    assert vocab.to_tokens([3]) == ["c"]


def test_both_editions_know_the_same_tokens():
    for arguments in (([*"banana"],), ([["to", "be"], ["or", "to"]], 2, ["<pad>"])):
        one, other = d2l.Vocab(*arguments), d2l_0_17.Vocab(*arguments)
        assert one.token_freqs == other.token_freqs
        assert one.idx_to_token == sorted(other.idx_to_token)


@needs_corpora
def test_time_machine():
    data = d2l.TimeMachine(batch_size=2, num_steps=10, num_train=5, num_val=3)
    corpus, vocab = data.build(data._download())
    assert (len(corpus), len(vocab)) == (173428, 28)  # published
    assert vocab[list("the time m")] == [21, 9, 6, 0, 21, 10, 14, 6, 0, 14]  # published
    assert data.X.shape == data.Y.shape == (173418, 10)
    published = [10, 19, 14, 10, 21, 26, 0, 16, 7, 0]  # a row of the batch that the page prints
    assert np.any(np.all(data.X.numpy() == published, axis=1))
    for i in (0, 7, 173417):
        assert [*data.X[i].numpy(), data.Y[i, -1].numpy()] == corpus[i : i + 11]
        assert np.array_equal(data.X[i, 1:], data.Y[i, :-1])
    rows = {train: np.concatenate([X for X, _ in data.get_dataloader(train)]) for train in (True, False)}
    assert sorted(rows[True].tolist()) == sorted(data.X[:5].numpy().tolist())
    assert np.array_equal(rows[False], data.X[5:8])


def test_english_and_french(pairs):
    source, target, valid_len, labels = pairs.arrays
    assert [len(rows) for rows in pairs.arrays] == [6] * 4
    words = pairs.src_vocab.to_tokens(source)
    assert words[1:3] == [["hi", ".", "<eos>", "<pad>"], ["run", "!", "<eos>", "<pad>"]]
    assert words[5] == ["hi", "<unk>", "<unk>", "."]  # cut; words that occur once are unknown
    assert np.array_equal(valid_len, [sum(word != "<pad>" for word in row) for row in words])
    assert pairs.tgt_vocab.to_tokens(target)[1] == ["<bos>", "salut", "!", "<eos>"]
    assert np.array_equal(target[:, 1:], labels[:, :-1])
    assert len(list(pairs.train_dataloader())) == 2
    assert [len(rows) for rows in next(iter(pairs.val_dataloader()))] == [2] * 4
    built = pairs.build(["Hi.", "Run!"], ["Salut !", "Cours !"])
    assert np.array_equal(built[0], source[1:3])


@needs_corpora
def test_english_and_french_as_published():
    data = d2l.MTFraEng(batch_size=3)
    source, target, _, labels = data.arrays
    assert source.shape == target.shape == labels.shape == (641, 9)
    assert data.src_vocab[["!", ".", "<eos>", "<pad>"]] == [0, 2, 3, 4]
    assert data.tgt_vocab[["!", ".", "<bos>", "<eos>", "<pad>", "<unk>"]] == [0, 2, 3, 4, 5, 6]
    rows = [tuple(map(tuple, map(np.ravel, row))) for row in zip(*(a.numpy() for a in data.arrays), strict=True)]
    published = (  # a row of each tensor of the batch that the page prints
        (155, 0, 3, 4, 4, 4, 4, 4, 4), (3, 211, 6, 0, 4, 5, 5, 5, 5), (3,), (211, 6, 0, 4, 5, 5, 5, 5, 5)
    )  # fmt: skip
    assert published in rows


@needs_corpora
def test_both_editions_read_the_same_sentences():
    data = d2l.MTFraEng(batch_size=1, num_steps=50)
    (batch,), *vocabs = load_data_nmt(batch_size=641, num_steps=50, num_examples=640)
    for ids, vocab, ids_0_17, vocab_0_17 in (
        (data.arrays[0], data.src_vocab, batch[0], vocabs[0]),
        (data.arrays[3], data.tgt_vocab, batch[2], vocabs[1]),
    ):
        assert sorted(vocab.to_tokens(ids)) == sorted(vocab_0_17.to_tokens(ids_0_17.numpy().tolist()))
    assert sorted(data.arrays[2].numpy()) == sorted(batch[1].numpy())


def saved_lm(path):
    model = d2l.RNNLM(d2l.RNN(2), V, lr=1)
    model(tf.zeros([1, 3], tf.int32))
    model.save_weights(path)
    return model


@pytest.mark.parametrize("prepare", ["build", "predict", "nothing"])
@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_weights_are_loaded_before_the_first_batch(prepare, tmp_path):
    saved, model = saved_lm(path := tmp_path / "a.weights.h5"), d2l.RNNLM(d2l.RNN(2), V, lr=1)
    if prepare == "build":
        model.build()
    elif prepare == "predict":
        model.predict("a", 1, d2l.Vocab("abcd"))
    model.load_weights(path)
    for one, other in zip(model.get_weights(), saved.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_model_without_weights_refuses_to_build_and_to_load_them(tmp_path):
    saved_lm(path := tmp_path / "a.weights.h5")
    seq2seq_of_0 = d2l_0_17.EncoderDecoder(d2l_0_17.Seq2SeqEncoder(V, 3, 2, 1), None)
    for act in (
        d2l.LinearRegression(0.1).build,
        lambda: d2l.LinearRegression(0.1).load_weights(path),
        seq2seq_of_0.build,
        lambda: seq2seq_of_0.load_weights(path),
    ):
        with pytest.raises(UserError, match="call the model on a batch in place of `build` and before `load_weights`"):
            act()
    assert not seq2seq_of_0.built


def test_to_build_a_model_with_weights_leaves_them():
    for model, batch in ((d2l.LinearRegression(0.1), tf.ones([2, 3])), (d2l.RNNLM(d2l.RNN(2), V, lr=1), [[1, 2]])):
        model(tf.constant(batch))
        before = model.get_weights()
        model.build()
        assert len(before) == len(model.get_weights()) > 0
        for one, other in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
