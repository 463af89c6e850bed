"""A text coloured by how much each token surprised a model, as one HTML file that needs nothing else."""

import html
import itertools
from collections.abc import Sequence

import numpy as np

BOUNDS = (0.5, 1, 2, 3, 4.5, 6, 8)  # bits at which the next colour begins
# From what was expected to what was not; the text is readable on each, and they differ in lightness for a grey print.
LIGHT = ("#ffffff", "#fff4e3", "#ffe6c2", "#ffd59b", "#ffc173", "#ffab52", "#ff953d", "#f67f33")
DARK = ("#141414", "#261b12", "#3a2611", "#4e300e", "#62390b", "#774208", "#8a4a05", "#9c5200")
_STYLE = """
:root {{ color-scheme: light dark; --text: #111; --page: #fff; --quiet: #555; {light} }}
@media (prefers-color-scheme: dark) {{ :root {{ --text: #f2f2f2; --page: #141414; --quiet: #aaa; {dark} }} }}
body {{ background: var(--page); color: var(--text); font-family: system-ui, sans-serif; margin: 2rem auto;
  max-width: 60rem; padding: 0 1rem; line-height: 1.5; }}
h1 {{ font-size: 1.3rem; }}
p, li {{ color: var(--quiet); }}
ul {{ list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .3rem; }}
li span {{ padding: .1rem .5rem; color: var(--text); border: 1px solid var(--quiet); }}
pre {{ font: 1rem/1.7 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; tab-size: 4; }}
pre span:hover {{ outline: 1px solid var(--text); }}
u {{ text-decoration: none; color: var(--quiet); }}
{classes}
"""


def heat_map(
    tokens: Sequence[str],
    bits: np.ndarray,
    likeliest: Sequence[Sequence[tuple[str, float]]],
    title: str,
    remarks: Sequence[str] = (),
    between: str = "",
) -> str:
    """The page.

    Args:
      tokens: all of the text, N of them; the first was given to the model.
      bits: surprisal of the others, [N - 1].
      likeliest: for each of those, what the model thought likeliest, with its probability.
      title, remarks: above the text; a paragraph for each remark.
      between: what stands between tokens: a space, for words.
    """
    levels = np.searchsorted(BOUNDS, bits, "right")
    pieces = [_visible(tokens[0])]
    for token, level, surprisal, alternatives in zip(tokens[1:], levels, bits, likeliest, strict=True):
        thought = ", ".join(f"{_named(other)} {100 * share:.0f}%" for other, share in alternatives)
        label = html.escape(f"{_named(token)} {surprisal:.1f} bits; likeliest: {thought}")
        pieces.append(f'<span class="s{level}" title="{label}">{_visible(token)}</span>')
    edges = (0, *BOUNDS)
    ranges = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(edges)] + [f"{edges[-1]:g} and more"]
    legend = "".join(f'<li><span class="s{level}">{text}</span></li>' for level, text in enumerate(ranges))
    style = _STYLE.format(
        light=_variables(LIGHT),
        dark=_variables(DARK),
        classes="\n".join(f".s{level} {{ background: var(--s{level}); }}" for level in range(len(LIGHT))),
    )
    shown = "".join(f"<p>{html.escape(remark)}</p>\n" for remark in remarks)
    return (
        '<!DOCTYPE html>\n<html lang="und">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<h1>{html.escape(title)}</h1>\n"
        f"{shown}<p>Surprisal in bits, of each token after all before it:</p>\n<ul>{legend}</ul>\n"
        f"<pre>{between.join(pieces)}</pre>\n</body>\n</html>\n"
    )


def _variables(colours: Sequence[str]) -> str:
    return " ".join(f"--s{level}: {colour};" for level, colour in enumerate(colours))


def _visible(token: str) -> str:
    """A token in the text: line ends as a sign and an end, what no page may hold as a sign."""
    if token in ("\n", "\r"):
        return "<u>\u21b5</u>\n" if token == "\n" else "<u>\u240d</u>"
    return html.escape("".join(_sign(c) for c in token))


def _sign(character: str) -> str:
    """The character, or the sign for one that moves a terminal."""
    code = ord(character)
    if code < 0x20 and character != "\t":
        return chr(0x2400 + code)
    return "\ufffd" if 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000 or code & 0xFFFE == 0xFFFE else character


def _named(token: str) -> str:
    names = {" ": "space", "\n": "line end", "\t": "tab", "\r": "carriage return"}
    return names.get(token, "".join(map(_sign, token)))
