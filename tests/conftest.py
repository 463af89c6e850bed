from absl import flags

from tfrnn import runtime

runtime.import_tensorflow_quietly()
runtime.set_threads()
flags.FLAGS.mark_as_parsed()  # absl's test cases read their temporary folder from there


def pytest_collection_modifyitems(items):
    """tf.test.TestCase brings a `test_session` of its own that is no test."""
    items[:] = [item for item in items if item.name != "test_session"]
