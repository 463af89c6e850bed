"""Functions that TensorFlow traces."""

import numpy as np
import pytest
import tensorflow as tf

from tfrnn.runtime import execution


def sum_of(model, tensor):
    return tf.reduce_sum(tensor) + model.number


class Model:
    number = 1.0


@pytest.mark.parametrize(("options", "num_traces"), [({}, 8), ({"reduce_retracing": True}, 2)])
def test_a_function_traced_in_every_call_causes_no_warning(options, num_traces, caplog):
    function, model = execution.tf_function(**options)(sum_of), Model()
    for size in range(8):  # tf.function would warn twice
        assert float(function(model, tf.ones([size]))) == size + 1
    assert not caplog.records
    assert function.tf_function.experimental_get_tracing_count() == num_traces


def test_a_trace_for_several_shapes_is_that_of_calls_with_them():
    function, model = execution.tf_function()(sum_of), Model()
    traced = function.trace(model, tf.TensorSpec([None], tf.float32))
    for size in range(3):
        assert float(traced(model, tf.ones([size]))) == float(function(model, np.ones(size, "f"))) == size + 1
    assert function.tf_function.experimental_get_tracing_count() == 1


def test_python_runs_the_function_if_tensorflow_is_told_so():
    tensors, model = [], Model()
    function = execution.tf_function()(lambda model, tensor: (tensors.append(tensor), sum_of(model, tensor))[1])
    tf.config.run_functions_eagerly(True)
    try:
        assert float(function(model, tf.ones([2]))) == 3
    finally:
        tf.config.run_functions_eagerly(False)
    assert tensors[0].numpy().tolist() == [1, 1]
