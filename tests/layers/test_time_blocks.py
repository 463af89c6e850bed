"""Loops over blocks of steps: the graph does not grow. tests/layers/test_fused.py compares their results."""

import pytest
import tensorflow as tf
from all_cells import CELL_FORMS

from tfrnn.layers import time_blocks
from tfrnn.layers.stack import RecurrentStack

B, D, H = 3, 5, 4


def graph_size(name, num_steps, **options):
    """Returns the number of operations of the graph of a cell's gradients, traced with these options of tf.function."""
    layer = RecurrentStack(CELL_FORMS[name](H))
    layer.build((None, None, D))

    @tf.function(autograph=False, **options)
    def gradients(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x)[0])
        return tape.gradient(loss, layer.trainable_variables)

    graph = gradients.get_concrete_function(tf.TensorSpec([num_steps, B, D])).graph.as_graph_def()
    return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)


def test_the_size_of_the_graph_does_not_depend_on_the_number_of_steps(monkeypatch):
    monkeypatch.setattr(time_blocks, "LONGEST_UNROLLED", 3)
    monkeypatch.setattr(time_blocks, "BLOCK", 2)
    assert graph_size("rnn_scratch", 128) == graph_size("rnn_scratch", 1024)


def test_where_xla_compiles_the_graph_the_loop_begins_earlier():
    longest, block = time_blocks.LONGEST_UNROLLED_BY_XLA, time_blocks.BLOCK_BY_XLA
    by_xla = [graph_size("lstm_scratch", longest + n * block, jit_compile=True) for n in (1, 4)]
    assert by_xla[1] < 1.05 * by_xla[0]
    assert longest + block <= time_blocks.LONGEST_UNROLLED
    assert by_xla[0] < 0.75 * graph_size("lstm_scratch", longest + block)


@pytest.mark.slow
@pytest.mark.parametrize("name", CELL_FORMS)
def test_the_graph_of_a_loop_is_no_larger_than_that_of_the_longest_unrolled_sequence(name):
    size = graph_size(name, 1024)
    assert size == graph_size(name, 128)
    assert size < 2.5 * graph_size(name, time_blocks.LONGEST_UNROLLED)
