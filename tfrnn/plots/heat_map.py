"""A text coloured by how much each token surprised a model, as a single HTML file."""

import html
import itertools
from collections.abc import Sequence

import numpy as np

COLOUR_BOUNDS = (0.5, 1, 2, 3, 4.5, 6, 8)  # bits at which the next colour begins
# Backgrounds from the least to the most surprising tokens, for light and for dark pages. The text is readable on each,
# and they differ in lightness so that they can be printed in grey.
LIGHT_COLOURS = ("#ffffff", "#fff4e3", "#ffe6c2", "#ffd59b", "#ffc173", "#ffab52", "#ff953d", "#f67f33")
DARK_COLOURS = ("#141414", "#261b12", "#3a2611", "#4e300e", "#62390b", "#774208", "#8a4a05", "#9c5200")
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
    between: str | Sequence[str] = "",
) -> str:
    """Returns an HTML page that shows a text, with each token on a colour for its surprisal.

    Args:
      tokens: the N tokens of the text; the first was given to the model.
      bits: the surprisal of each of the other tokens, [N - 1].
      likeliest: for each of those, the tokens that the model thought likeliest, with their probabilities.
      title: the title of the page.
      remarks: paragraphs between the title and the text.
      between: what separates tokens, by default nothing; or for each token what separates it from the next, [N - 1].
    """
    levels = np.searchsorted(COLOUR_BOUNDS, bits, "right")
    pieces = [_token_as_html(tokens[0])]
    for token, level, surprisal, alternatives in zip(tokens[1:], levels, bits, likeliest, strict=True):
        guesses = ", ".join(f"{_token_name(other)} {100 * share:.0f}%" for other, share in alternatives)
        label = html.escape(f"{_token_name(token)} {surprisal:.1f} bits; likeliest: {guesses}")
        gap = between if isinstance(between, str) else between[len(pieces) - 1]
        pieces.append(f'{gap}<span class="s{level}" title="{label}">{_token_as_html(token)}</span>')
    edges = (0, *COLOUR_BOUNDS)
    ranges = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(edges)] + [f"{edges[-1]:g} and more"]
    legend = "".join(f'<li><span class="s{level}">{text}</span></li>' for level, text in enumerate(ranges))
    style = _STYLE.format(
        light=_css_variables(LIGHT_COLOURS),
        dark=_css_variables(DARK_COLOURS),
        classes="\n".join(f".s{level} {{ background: var(--s{level}); }}" for level in range(len(LIGHT_COLOURS))),
    )
    paragraphs = "".join(f"<p>{html.escape(remark)}</p>\n" for remark in remarks)
    return (
        '<!DOCTYPE html>\n<html lang="und">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<h1>{html.escape(title)}</h1>\n"
        f"{paragraphs}<p>Surprisal in bits of each token, given all tokens before it:</p>\n<ul>{legend}</ul>\n"
        f"<pre>{''.join(pieces)}</pre>\n</body>\n</html>\n"
    )


def _css_variables(colours: Sequence[str]) -> str:
    return " ".join(f"--s{level}: {colour};" for level, colour in enumerate(colours))


def _token_as_html(token: str) -> str:
    """Returns a token as it is shown in the text: line ends and control characters as signs."""
    if token in ("\n", "\r"):
        return "<u>\u21b5</u>\n" if token == "\n" else "<u>\u240d</u>"
    return html.escape("".join(map(_printable, token)))


def _printable(character: str) -> str:
    """Returns the character, or a sign for it if it is a control character or must not be in an HTML page."""
    code = ord(character)
    if code < 0x20 and character != "\t":
        return chr(0x2400 + code)
    return "\ufffd" if 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000 or code & 0xFFFE == 0xFFFE else character


def _token_name(token: str) -> str:
    """Returns a token as it is shown in a tooltip, in which white space would be invisible."""
    names = {" ": "space", "\n": "line end", "\t": "tab", "\r": "carriage return"}
    return names.get(token, "".join(map(_printable, token)))
