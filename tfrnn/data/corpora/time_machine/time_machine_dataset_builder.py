"""The Time Machine, by H. G. Wells."""

from tfrnn.data.corpora.text_builder import TextBuilder


class Builder(TextBuilder):
    """The Time Machine by H. G. Wells (1895), in the public domain; the English corpus of Dive into Deep Learning."""
