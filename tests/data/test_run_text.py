"""The text of a run: how it is split, and what settings leave to it. Reading it is tested by the commands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrnn.config.config import Config
from tfrnn.data import run_text
from tfrnn.errors import UserError


@given(num_tokens=st.integers(1, 50), max_tokens=st.integers(0, 60), validation_tokens=st.integers(0, 60))
def test_split_bounds_are_those_of_slices(num_tokens, max_tokens, validation_tokens):
    text = list(range(num_tokens))
    data = Config().replace(max_tokens=max_tokens, validation_tokens=validation_tokens).data
    expected_end = max_tokens or num_tokens - validation_tokens
    if expected_end <= 0:
        with pytest.raises(UserError, match=f"leaves nothing to train on of the text's {num_tokens} tokens"):
            run_text.split_bounds(num_tokens, data)
        return
    end, held_out_end = run_text.split_bounds(num_tokens, data)
    assert (text[:end], text[end:held_out_end]) == (text[:expected_end], text[expected_end:][:validation_tokens])
    assert 0 < end <= held_out_end <= num_tokens


@given(num_tokens=st.integers(1, 10**9), fraction=st.floats(0.001, 0.9))
def test_a_fraction_is_held_out_at_the_end_up_to_a_limit(num_tokens, fraction):
    end, held_out_end = run_text.split_bounds(
        num_tokens, Config().replace(max_tokens=0, validation_fraction=fraction).data
    )
    assert held_out_end == num_tokens
    assert held_out_end - end == min(int(num_tokens * fraction), 500_000)


def test_a_text_has_the_rule_and_the_prefixes_that_the_settings_leave_to_it(tmp_path):
    (tmp_path / "text").write_text("A well, and a road to it. " * 9)
    config = Config().replace(corpus=str(tmp_path / "text"), max_tokens=90, validation_tokens=90)
    left = run_text.read(config)
    assert (left.rule, left.prefixes) == ("plain", ("A well, and ",))
    chosen = run_text.read(config.replace(text_rule="book", prefix=("A Road",)))
    assert (chosen.rule, chosen.prefixes) == ("book", ("a road",))
