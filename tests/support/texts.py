"""Texts for the tests of tfrnn.data: strategies of texts and of ways to cut them, and sources of chosen pieces."""

from hypothesis import strategies as st

from tfrnn.data import text_rules
from tfrnn.data.corpora.sources import InMemory

# All kinds of line ends and white space, letters in and outside ASCII, characters of 1 to 4 bytes, a byte order mark.
TEXTS = st.text("\r\n \taAzZé中🦀0'-!\u0301\u0085\u2028\x1c\ufeff\u2060", max_size=60) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40
)
CUTS = st.lists(st.integers(0, 60), max_size=12)
RULES = st.sampled_from(sorted(text_rules.TEXT_RULES))
KINDS = st.sampled_from(sorted(text_rules.NOUNS))
TOKENS = st.sampled_from(sorted(text_rules.COUNTED))  # those of byte pairs: see tests/data/test_byte_pairs.py
CHUNK_SIZES = (1, 2, 3, 7, 64, 2**20)
STORY = "Ein Zwölftel, 日本語 and \U0001f980\r\nthe end.\r\n\n  <unk> to be or not to be\u0085<unk>s é\n" * 3


def cut(text, cuts):
    """The text in pieces that end at these positions."""
    ends = sorted({0, len(text), *(min(c, len(text)) for c in cuts)})
    return [text[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def put_together(text):
    """A text without what words do not keep: other white space than single spaces and line ends, and joints."""
    lines = text.replace(text_rules.JOINT, "").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(" ".join(line.split()) for line in lines)


class CutSource(InMemory):
    """A source whose pieces end at these positions."""

    def __init__(self, text, cuts):
        super().__init__("pieces", text)
        self._pieces = cut(text, cuts)

    def pieces(self, on_bytes=None):
        yield from self._pieces


class UnreadableSource(InMemory):
    """A source that fails the test if it is read."""

    def __init__(self):
        super().__init__("unreadable", "")

    def pieces(self, on_bytes=None):
        raise AssertionError("this text must not be read")
