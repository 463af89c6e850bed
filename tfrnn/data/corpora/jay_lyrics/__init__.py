"""TFDS builder of the corpus jay_lyrics."""
