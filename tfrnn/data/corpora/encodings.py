"""Encodings of text files: what a byte order mark tells, and what bytes that are not UTF-8 probably are."""

import codecs
import re
from collections.abc import Sequence, Set

MARK_BYTES = 4  # at the beginning of a file that tell its encoding
# A mark is removed by these encodings. UTF-32 comes first, because its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What people call the encodings that the guess returns, if Python's name is another.
_NAMES = {
    "cp1250": "Windows-1250",
    "cp1251": "Windows-1251",
    "cp1252": "Windows-1252",
    "cp1253": "Windows-1253",
    "cp1254": "Windows-1254",
    "cp932": "Shift-JIS",
    "cp949": "EUC-KR",
    "euc_jis_2004": "EUC-JP",
    "euc_jp": "EUC-JP",
    "gb18030": "GB 18030",
    "iso8859-2": "ISO-8859-2",
    "mac-roman": "Mac Roman",
}
# How the names of the encodings begin in which texts are found; the library below knows rarer ones, and guesses these
# from noise.
_LIKELY = ("big5", "cp125", "cp437", "cp85", "cp866", "cp932", "cp949", "euc_", "gb", "iso", "koi8", "mac_", "shift")
# Of encodings that read a text alike, the first of these is named: most texts are in it.
_COMMONEST = ("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp866", "mac_roman")
# The letters beyond ASCII of languages, each as one alphabet, for `_is_in`.
_WESTERN_ALPHABETS = [
    set("àâæçéèêëîïôœùûüÿ"),  # French
    set("áéíóúüñàèìòùãõâêôçï"),  # Spanish, Portuguese, Italian, Catalan
    set("äöüßé"),  # German
    set("åäöæøéü"),  # Danish, Norwegian, Swedish, Finnish
    set("áéíóúýðþæö"),  # Icelandic
    set("éëïöüáóíèê"),  # Dutch
]
_CENTRAL_EUROPEAN_ALPHABETS = [
    set("ąćęłńóśźż"),  # Polish
    set("áčďéěíňóřšťúůýžäĺľôŕ"),  # Czech, Slovak
    set("áéíóöőúüű"),  # Hungarian
    set("čćđšž"),  # Croatian, Slovene
]
# Tried in this order. Latin-1 is a part of Windows-1252, and the letters of code page 437 are where those of 850 are.
_ALPHABETS = {
    "cp1252": _WESTERN_ALPHABETS,
    "cp1254": [set("çğıöşüâîû")],  # Turkish
    "cp850": _WESTERN_ALPHABETS,
    "mac_roman": _WESTERN_ALPHABETS,
    "cp1250": _CENTRAL_EUROPEAN_ALPHABETS,
    "iso8859_2": _CENTRAL_EUROPEAN_ALPHABETS,
}
_KANA = re.compile("[\u3041-\u30fe]")  # the letters of Japanese beside Chinese characters
_JAPANESE_ESCAPE = re.compile(rb"\x1b\$[@B]")  # of ISO-2022-JP, all of whose bytes are ASCII
_MARKS_OF_TEXTS = set("“”„‘’‚«»‹›–—…•·¡¿€£¥§°©®\xa0\xad\u0307")  # the last one is in the Turkish İ in lower case
_QUOTES = "„‚“”"


def by_mark(beginning: bytes) -> str:
    """Returns the encoding that a byte order mark tells; UTF-8 if there is none.

    Args:
      beginning: the first MARK_BYTES bytes of a file, or all of them if there are fewer.
    """
    return next((encoding for mark, encoding in _MARKS if beginning.startswith(mark)), "utf-8")


def other_mark(beginning: bytes, encoding: str) -> str:
    """Returns the encoding whose byte order mark a file begins with, if the given one would read it as text.

    Args:
      beginning: as for `by_mark`.
      encoding: that in which the file is to be read.
    Returns:
      The encoding as people write it; an empty string if there is no mark, or it is one of this encoding.
    """
    for mark, of_mark in (*_MARKS, (codecs.BOM_UTF8, "utf-8")):
        if beginning.startswith(mark):
            is_its_own = mark.decode(encoding, "ignore") in ("", "\ufeff")
            return "" if is_its_own else title(of_mark)
    return ""


def has_nul_bytes(encoding: str) -> bool:
    """Returns whether the bytes of a text in this encoding include NUL."""
    return "\0" in "a".encode(encoding).decode("latin-1")


def japanese_escape(part: bytes) -> int:
    """Returns the position at which bytes in ASCII become Japanese text, in ISO-2022-JP; -1 if there is none."""
    found = _JAPANESE_ESCAPE.search(part)
    return found.start() if found else -1


def title(encoding: str) -> str:
    """Returns an encoding as people write it, e.g. `UTF-8` or `GB 18030`."""
    name = codecs.lookup(encoding).name
    return _NAMES.get(name) or (name.upper() if name.startswith("utf") else name)


def guess(part: bytes) -> str:
    """Returns the name of the encoding that a part of a text is probably in; an empty string if there is none.

    Args:
      part: bytes that may begin and end within a character.
    """
    if _is_damaged_utf_8(part):
        return ""
    lines = part.splitlines(keepends=True)
    whole_lines = b"".join(lines[1:-1]) if len(lines) > 3 else b""
    for data in filter(None, (part, whole_lines)):
        if known := next((name for name, alphabets in _ALPHABETS.items() if _is_in(data, name, alphabets)), ""):
            return known
        if _has_kana(data, "euc_jp"):
            return "euc_jp"
        import charset_normalizer

        if found := charset_normalizer.from_bytes(data).best():
            alike = found.could_be_from_charset
            encoding = next((name for name in _COMMONEST if name in alike), found.encoding)
            if encoding.startswith(("utf_16", "utf_32") if b"\0" in data else _LIKELY):
                return encoding
    return ""


def _has_kana(data: bytes, encoding: str) -> bool:
    """Returns whether bytes are Japanese in an encoding: over a third of the characters beyond ASCII are kana."""
    try:
        beyond_ascii = [character for character in data.decode(encoding) if not character.isascii()]
    except UnicodeDecodeError:
        return False
    return 3 * len(_KANA.findall("".join(beyond_ascii))) > len(beyond_ascii)


def _is_damaged_utf_8(data: bytes) -> bool:
    """Returns whether bytes are UTF-8 but for a few."""
    beyond_ascii = [character for character in data.decode("utf-8", "replace") if not character.isascii()]
    return beyond_ascii.count("\ufffd") < len(beyond_ascii) / 4


def _is_in(data: bytes, encoding: str, alphabets: Sequence[Set[str]]) -> bool:
    """Returns whether bytes are a text in an encoding of a byte a character, in a language with one of the alphabets.

    Most other encodings of a byte a character can be read as this one, but give letters of no single language, or
    quotation marks within words.
    """
    try:
        text = data.decode(encoding).lower()
    except UnicodeDecodeError:
        return False
    letters = [character for character in text if character.isalpha()]
    marks = {character for character in text if not (character.isascii() or character.isalpha())}
    beyond_ascii = [character for character in letters if not character.isascii()]
    is_binary = any(character < " " and character not in "\t\n\r\f" for character in text)
    if is_binary or not marks <= _MARKS_OF_TEXTS or 2 * len(beyond_ascii) > len(letters):
        return False
    within_words = len(re.findall(rf"(?<=[^\W\d_])[{_QUOTES}](?=[^\W\d_])", text))
    if 2 * within_words > sum(map(text.count, _QUOTES)):
        return False
    return any(sum(c in alphabet for c in beyond_ascii) >= 0.97 * len(beyond_ascii) for alphabet in alphabets)
