"""How a text is cleaned, and what counts as a token.

A rule turns a whole text into the text that a model reads:

book    in each line, every run of characters other than A-Z and a-z becomes one space, the ends are stripped and
        letters become lower case; the lines are joined with nothing between them (Dive into Deep Learning, section 8.2)
lines   as book, but with one space between lines
spaces  every line end becomes a space; the rest is unchanged (the book's lyrics)
plain   every line end (CR, LF, or both) becomes a line feed; the rest is unchanged
raw     unchanged

A token is one of four kinds:

char    a character
word    a word, a punctuation mark (up to three equal ones), or a line end. A mark that touches the token before it or
        after it has JOINT on that side, so that the text can be put together again; one space parts other tokens
spaced  what stands between white space, so that lines are not kept, and marks stay with their words
bpe     one or more characters that often stand side by side in the training text (byte pairs, see data/byte_pairs.py).
        The vocabulary tells which; the text alone tells the pieces that no token goes beyond: a word or a run of marks
        with the space before it, a line end, a run of other white space. Until its vocabulary is made, such a text is
        counted in characters
"""

import functools
import itertools
import re
import string
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from tfrnn.errors import UserError

MAX_WORD_LENGTH = 2**20  # characters
NOUNS = {"char": "character", "word": "word", "spaced": "word", "bpe": "token"}  # what a token of each kind is called
COUNTED = ("char", "word", "spaced")  # kinds of tokens that the text alone tells, so that they can be counted
JOINT = "\u2060"  # Unicode's word joiner, which is invisible; one that a text has itself is not read
LINE_END = "\n"
MAX_PIECE_LENGTH = 64  # characters that may become one token, not counting the space before them; longer runs are cut
_APOSTROPHES = "'\u2019"
_LINE_END = re.compile("\r\n|\r|\n")
_CHUNK = re.compile(r"\n| ?\S+|(?:(?! \S)[^\S\n])+")
_LOWERED = bytes(ord(chr(i).lower()) if chr(i) in string.ascii_letters else ord(" ") for i in range(256))
# Tables that map a byte to a lower-case letter, to a space, or to \n, which makes the run that contains it vanish.
_SPACE_BETWEEN_LINES = _LOWERED
_NOTHING_BETWEEN_LINES = bytes(ord("\n") if chr(i) in "\r\n" else byte for i, byte in enumerate(_LOWERED))


def _keep_letters(pieces: Iterable[str], table: bytes) -> Iterator[str]:
    """Replaces every run of characters other than letters by one space, or by nothing.

    A run vanishes at both ends of the text, and if `table` maps one of its characters to a line end.
    """
    held = b"\n"  # the run at the end of the last piece, as one byte: it may continue in the next piece
    for piece in pieces:
        mapped = held + piece.encode("ascii", "replace").translate(table)
        body = mapped.rstrip(b" \n")
        run = mapped[len(body) :]
        held = b"\n" if b"\n" in run else run[:1]
        if body:
            data = np.frombuffer(body, np.uint8)
            in_run = data < ord("a")
            begins = in_run.copy()
            begins[1:] &= ~in_run[:-1]
            kept = begins | ~in_run
            runs = np.flatnonzero(begins)
            kept[runs[np.searchsorted(runs, np.flatnonzero(data == ord("\n")), "right") - 1]] = False
            yield data[kept].tobytes().decode("ascii")


def _replace_line_ends(pieces: Iterable[str], replacement: str) -> Iterator[str]:
    held = ""  # \r, which may be the first half of a line end
    for piece in pieces:
        text = held + piece
        held = "\r" if text.endswith("\r") else ""
        text = text[: len(text) - len(held)].replace("\r\n", "\n").replace("\r", "\n")
        yield text.replace("\n", replacement)
    if held:
        yield replacement


# Each rule maps the pieces of a text to the pieces of the cleaned text.
TEXT_RULES: dict[str, Callable[[Iterable[str]], Iterator[str]]] = {
    "book": lambda pieces: _keep_letters(pieces, _NOTHING_BETWEEN_LINES),
    "lines": lambda pieces: _keep_letters(pieces, _SPACE_BETWEEN_LINES),
    "spaces": lambda pieces: _replace_line_ends(pieces, " "),
    "plain": lambda pieces: _replace_line_ends(pieces, LINE_END),
    "raw": iter,
}


def _cut_between_words(pieces: Iterable[str]) -> Iterator[str]:
    """Yields the same text in pieces that end between words. Raises UserError if a word is too long."""
    held = ""  # the characters after the last white space
    for piece in pieces:
        for begin in range(0, len(piece), MAX_WORD_LENGTH):
            text = held + piece[begin : begin + MAX_WORD_LENGTH]
            # A longer word exceeds one part, so that its beginning is in `held`.
            if held and len(text.split(maxsplit=1)[0]) > MAX_WORD_LENGTH:
                raise UserError(
                    f"`tokens=word`: expected words of at most {MAX_WORD_LENGTH:,} characters, got a longer one that "
                    f"begins with {text[:20]!r}; use `tokens=char`"
                )
            held = "" if text[-1].isspace() else text.rsplit(maxsplit=1)[-1]
            yield text[: len(text) - len(held)]
    yield held


def _cut_between_chunks(pieces: Iterable[str]) -> Iterator[str]:
    """Yields the same text in pieces whose byte-pair tokens are those of the whole text."""
    held = ""  # what the next characters may belong to
    for piece in pieces:
        text = held + piece
        held = split_chunk(text[_last_chunk(text) :])[-1] if text else ""
        yield text[: len(text) - len(held)]
    yield held


def _last_chunk(text: str) -> int:
    """Returns the position at which the last of `chunks(text)` begins."""
    body = text.rstrip()
    if body == text:
        begin = len(body) - len(body.rsplit(maxsplit=1)[-1])
        return begin - (text[max(0, begin - 1) : begin] == " ")
    return len(text) - 1 if text.endswith(LINE_END) else max(len(body), text.rfind(LINE_END) + 1)


def clean_pieces(pieces: Iterable[str], rule: str, tokens: str = "char") -> Iterator[str]:
    """Cleans a text piece by piece; the result does not depend on how the text is cut into pieces.

    If tokens are words, the rule `book` acts as `lines`, because the book splits each line into words before it joins
    them. No piece then ends inside a word or byte-pair token, so that the tokens of the pieces are the tokens of the
    whole text. If line ends are tokens of words, the rule `raw` acts as `plain`.

    Args:
      pieces: the text, in pieces of any length.
      rule: a key of TEXT_RULES.
      tokens: a key of NOUNS.
    Raises:
      UserError: tokens are words, and one is longer than MAX_WORD_LENGTH characters.
    """
    if tokens == "char":
        return filter(None, TEXT_RULES[rule](pieces))
    if tokens == "bpe":
        return filter(None, _cut_between_chunks(TEXT_RULES[rule](pieces)))
    of_words = {"book": "lines", "raw": "plain"} if tokens == "word" else {"book": "lines"}
    return filter(None, _cut_between_words(TEXT_RULES[of_words.get(rule, rule)](pieces)))


def clean(text: str, rule: str, tokens: str = "char") -> str:
    """Cleans a whole text by a rule, a key of TEXT_RULES; see `clean_pieces`."""
    return "".join(clean_pieces([text], rule, tokens))


def clean_lines(text: str) -> list[str]:
    """Returns the lines of a text, each cleaned by the rule `book`."""
    return [clean(line, "book") for line in _LINE_END.split(text)]


def clean_prefix(prefix: str, rule: str, tokens: str = "char") -> str:
    """Cleans a prefix as `clean` does, but keeps a space at its end, because the next character depends on it."""
    cleaned = clean(prefix, rule, tokens)
    ends_with_space = prefix[-1:].isspace() and cleaned and not cleaned[-1].isspace()
    return cleaned + " " if ends_with_space else cleaned


def clean_prefixes(prefixes: Iterable[str], rule: str, tokens: str = "char") -> tuple[str, ...]:
    """Cleans each prefix. Raises UserError if nothing is left of one."""
    prefixes = tuple(prefixes)
    cleaned = tuple(clean_prefix(prefix, rule, tokens) for prefix in prefixes)
    for prefix, left in zip(prefixes, cleaned, strict=True):
        if not left:
            raise UserError(
                f"`prefix` {shortened(prefix)!r}: expected a text to continue, but the text rule {rule!r} leaves "
                "nothing of it; give one with letters"
            )
    return cleaned


def shortened(text: str, limit: int = 40) -> str:
    """Returns the beginning of a text for a message, with `...` after it if it is not all of it."""
    return text if len(text) <= limit else text[:limit] + "..."


def split(text: str, tokens: str = "char") -> list[str]:
    """Returns the tokens of a cleaned text, of a kind in NOUNS; of byte pairs, the pieces that no token goes beyond."""
    if tokens == "char":
        return list(text)
    if tokens == "bpe":
        return list(itertools.chain.from_iterable(map(split_chunk, chunks(text))))
    if tokens == "spaced":
        return text.split()
    lines = text.replace(JOINT, "").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    words = (itertools.chain.from_iterable(map(_split_between_spaces, line.split())) for line in lines)
    return [token for line in words for token in (*line, LINE_END)][:-1]


def chunks(text: str) -> list[str]:
    """Returns the parts of a text, each of which tells its byte-pair tokens alone: words and white space."""
    return _CHUNK.findall(text)


def split_chunk(chunk: str) -> Sequence[str]:
    """Returns the pieces of one of `chunks` that no byte-pair token goes beyond."""
    if len(chunk) > MAX_PIECE_LENGTH:
        return _split_at_marks_and_evenly.__wrapped__(chunk)  # long ones are not kept
    return (chunk,) if chunk.isspace() or chunk.isalnum() else _split_at_marks_and_evenly(chunk)


@functools.lru_cache(2**16)
def _split_at_marks_and_evenly(chunk: str) -> tuple[str, ...]:
    if chunk.isspace():
        return _cut_evenly(chunk)
    body = chunk.removeprefix(" ")
    pieces = [piece for _, run in itertools.groupby(body, _is_mark) for piece in _cut_evenly("".join(run))]
    return (chunk[: len(chunk) - len(body)] + pieces[0], *pieces[1:])


def _cut_evenly(run: str) -> tuple[str, ...]:
    return tuple(run[begin : begin + MAX_PIECE_LENGTH] for begin in range(0, len(run), MAX_PIECE_LENGTH))


def _split_between_spaces(text: str) -> tuple[str, ...]:
    """Returns the words and marks of a text without white space, with the joints between them."""
    if text.isalnum():
        return (text,)
    return _split_at_marks(text) if len(text) < 64 else _split_at_marks.__wrapped__(text)  # long ones are not kept


@functools.lru_cache(2**16)
def _split_at_marks(text: str) -> tuple[str, ...]:
    parts: list[str] = []
    is_mark = [_is_mark(character) for character in text]
    for i in range(1, len(text) - 1):
        if text[i] in _APOSTROPHES and not is_mark[i - 1] and not is_mark[i + 1]:
            is_mark[i] = False  # don't is one word
    begin = 0
    for end in range(1, len(text) + 1):
        run_may_continue = not is_mark[begin] or (text[begin] == text[end : end + 1] and end - begin < 3)
        if end < len(text) and is_mark[begin] == is_mark[end] and run_may_continue:
            continue
        joint_before = JOINT if is_mark[begin] and begin else ""
        joint_after = JOINT if is_mark[begin] and end < len(text) and not is_mark[end] else ""
        parts.append(f"{joint_before}{text[begin:end]}{joint_after}")
        begin = end
    return tuple(parts)


def _is_mark(character: str) -> bool:
    """Returns whether a character is punctuation or a symbol."""
    return unicodedata.category(character)[0] in "PS" and character != "_"


def join(parts: Sequence[str], tokens: str = "char") -> str:
    """Joins tokens to a text: the inverse of `split`, but for white space between words that is not a single space."""
    if tokens in ("char", "bpe"):
        return "".join(parts)
    text = " ".join(parts)
    if tokens == "word":
        text = text.replace(f" {JOINT}", "").replace(f"{JOINT} ", "").replace(JOINT, "")
        text = text.replace(f" {LINE_END}", LINE_END).replace(f"{LINE_END} ", LINE_END)
    return text


def gap(before: str, after: str, tokens: str = "char") -> str:
    """Returns what stands between two tokens in a text: a space, or nothing."""
    if tokens == "word" and (before[-1:] in (JOINT, LINE_END) or after[:1] in (JOINT, LINE_END)):
        return ""
    return "" if tokens in ("char", "bpe") else " "


def shown(token: str) -> str:
    """Returns a token as a person reads it, without joints."""
    return token.replace(JOINT, "")


def is_token(token: str, tokens: str = "char") -> bool:
    """Returns whether a text is one token of a kind in NOUNS."""
    if tokens == "word" and JOINT in token:
        core = token.removeprefix(JOINT).removesuffix(JOINT)
        return core in variants(token) and split(core, tokens) == [core]
    return (token == LINE_END and tokens == "word") or split(token, tokens) == [token]


def variants(token: str) -> list[str]:
    """Returns a punctuation mark with and without a joint on either side; of another token only itself."""
    core = shown(token)
    if not core or not all(map(_is_mark, core)):
        return [token]
    return [f"{JOINT}{core}", core, f"{core}{JOINT}", f"{JOINT}{core}{JOINT}"]
