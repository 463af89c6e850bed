"""Lyrics of Jay Chou's songs."""

from tfrnn.data.corpora.text_builder import TextBuilder


class Builder(TextBuilder):
    """Lyrics of Jay Chou's first ten albums, under copyright; the Chinese corpus of Dive into Deep Learning."""
