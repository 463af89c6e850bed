"""TFDS builder of the corpus time_machine."""
