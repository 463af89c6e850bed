"""How long a call of many steps is: the rule of `Timer`, with a loop that does nothing and a clock of its own."""

import types

import pytest

from tfrnn.training import loops


@pytest.fixture
def clock(monkeypatch):
    clock = types.SimpleNamespace(now=100.0)
    monkeypatch.setattr(loops, "time", types.SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


class Loop:
    traces = 0

    def experimental_get_tracing_count(self):
        return self.traces


def timed_call(timer, clock, num_steps, seconds, traces=0):
    with timer.call(num_steps):
        timer_loop.traces += traces
        clock.now += seconds


timer_loop = Loop()


def test_a_call_makes_the_steps_of_about_a_second_at_the_speed_of_all_calls_that_did_not_trace(clock):
    timer = loops.Timer(timer_loop)
    assert timer.steps_per_call == 1
    timer.start()
    timed_call(timer, clock, 1, 30.0, traces=1)
    assert (timer.steps_per_call, timer.steps_per_second, timer.seconds_tracing) == (1, None, 30.0)
    timed_call(timer, clock, 1, 1 / 32)
    assert timer.steps_per_call == 32
    clock.now += 15 / 32  # a callback
    timed_call(timer, clock, 31, 1 / 2)
    assert timer.steps_per_second == 32
    timed_call(timer, clock, 1, 1000.0)
    assert timer.steps_per_call == 1  # never 0


def test_the_length_is_kept_for_the_next_epoch_and_the_times_are_not(clock):
    timer = loops.Timer(timer_loop)
    timer.start()
    timed_call(timer, clock, 1, 30.0, traces=1)
    timed_call(timer, clock, 10, 1 / 8)
    timer.start()
    assert (timer.steps_per_call, timer.steps_per_second, timer.seconds_tracing) == (80, None, 0.0)
