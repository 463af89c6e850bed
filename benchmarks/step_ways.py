"""What benchmarks/steps.py measures of a training step, in a process of its own: a program like benchmarks/ways.py."""

import collections
import itertools
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.cases import Case, flop_per_token, tokens
from benchmarks.ways import serve, tfrnn_trainer, trained

OPERATION = re.compile(r"[^:]+:(\w+)")  # the name of such an event: that of a node, and its kind
KERNEL = re.compile(r"^_(Mkl(Native)?)?")  # what a kind's name begins with once TensorFlow has chosen oneDNN's kernel


def profile(case: Case) -> Callable[[float], dict[str, Any]]:
    """Trains with TensorFlow's profiler and then without it.

    Measured are the milliseconds of each kind of operation in a step, GFLOP/s in products, and the milliseconds of a
    step without the profiler.
    """

    def work(seconds: float) -> dict[str, Any]:
        trainer, cut = tfrnn_trainer(case)
        import tensorflow as tf

        train = trained(trainer, cut)
        # After about a hundred executions TensorFlow knows which operations are cheap, and the profiler leaves them out
        # at any level of tracing. It learns nothing while it is profiled, so the profile is made after one epoch.
        steps_before = len(trainer.gradient_norms)
        with tempfile.TemporaryDirectory() as folder:
            with tf.profiler.experimental.Profile(folder):
                train(seconds)
            (file,) = Path(folder).rglob("*.xplane.pb")
            of_kinds = milliseconds_by_kind(file.read_bytes(), len(trainer.gradient_norms) - steps_before)
        in_step = case.batch_size * case.num_steps
        in_products = sum(ms for kind, ms in of_kinds.items() if "MatMul" in kind)
        gflops = in_step * flop_per_token(case, tokens(case)[1]) / in_products / 1e6
        step_ms = 1000 * in_step / train(seconds)["tokens_per_sec"]
        return {"step_ms": step_ms, "gflops": gflops, "kinds_ms": of_kinds}

    return work


def milliseconds_by_kind(profile: bytes, steps: int) -> dict[str, float]:
    """Returns the milliseconds that each kind of operation takes in a step, the largest first.

    An event lasts from the begin to the end of an operation, on the clock. Each node of the graph counts with its
    median, which leaves out when another program had the core.

    Args:
      profile: what the profiler wrote, an XSpace.
      steps: the number of steps that were made meanwhile.
    """
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    durations: dict[str, list[int]] = collections.defaultdict(list)  # of each node, in picoseconds
    for plane in xplane_pb2.XSpace.FromString(profile).planes:
        for event in (event for line in plane.lines for event in line.events):
            durations[plane.event_metadata[event.metadata_id].name].append(event.duration_ps)
    of_kinds: collections.Counter[str] = collections.Counter()
    for node, of_node in durations.items():
        if match := OPERATION.fullmatch(node):
            of_kinds[KERNEL.sub("", match[1])] += statistics.median(of_node) * len(of_node) / steps / 1e9
    return dict(of_kinds.most_common())


def compile_step(case: Case) -> Callable[[float], dict[str, float]]:
    """Traces the training step, lets XLA compile it, and runs it again; takes as long as it takes."""

    def work(_: float) -> dict[str, float]:
        from tfrnn.runtime.execution import tf_function
        from tfrnn.training.losses import cross_entropy, mean_loss
        from tfrnn.training.step import Sums, TrainStep

        trainer, cut = tfrnn_trainer(case)
        flows = next(iter(cut.epoch(0))), trainer.model.initial_state(case.batch_size), Sums.zero()
        step = TrainStep(trainer.model, trainer.optimizer, mean_loss(cross_entropy), clip_norm=1.0)
        seconds = [time.process_time()]
        traced = tf_function(jit_compile=True)(step.__call__).trace(*flows)
        seconds.append(time.process_time())
        for _ in range(2):
            traced(*flows).gradient_norm.numpy()  # waits until it is computed
            seconds.append(time.process_time())
        trace, first, later = (after - before for before, after in itertools.pairwise(seconds))
        return {"nodes": num_nodes(traced.graph.as_graph_def()), "trace": trace, "compile": first - later}

    return work


def num_nodes(graph: Any) -> int:
    """Returns the number of nodes of a GraphDef, with those of the functions in its library."""
    return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)


WAYS = {"steps": {"profile": profile, "compile": compile_step}}

if __name__ == "__main__":
    serve(WAYS)
