"""RNN: to be replaced by Keras's layer with time_major."""

import keras

from tfrnn.layers.stack import RecurrentStack


@keras.saving.register_keras_serializable("tfrnn")
class RNN(RecurrentStack):
    __doc__ = RecurrentStack.__doc__
