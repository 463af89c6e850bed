"""All that changes in training, as one value."""

import keras
import pytest
from all_cells import CELLS

import tfrnn
from tfrnn.runs.checkpoints import Layout
from tfrnn.training.training_state import TrainingState


@pytest.mark.parametrize("cell", CELLS)
def test_the_layouts_are_those_of_the_arrays_whatever_the_rows_of_the_state(cell):
    model = tfrnn.LanguageModel([CELLS[cell](4), CELLS[cell](3)], 7, dropout=0.5)
    model.build()
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    state = TrainingState(model, optimizer)
    for rows in (2, 5):
        state.begin(rows, num_batches=1)
        layouts, arrays = state.layouts(), state.arrays()
        assert list(layouts) == list(arrays)
        assert [name for name, array in arrays.items() if not layouts[name].fits(Layout.of(array))] == []
        assert {len(array) for name, array in arrays.items() if name.startswith("state.")} == {rows}
