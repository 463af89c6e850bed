"""A page: one HTML file that holds a model and runs it in a browser, without a server and without loading anything.

Its parts are page.html, page.css, page_model.js (the model) and page.js (what the reader does). Every text reaches the
page as JSON in which no character can end the script element, and is shown only as text; the page's policy forbids all
scripts but its own, and all requests.
"""

import base64
import hashlib
import html
import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrnn.config.config import Config
from tfrnn.data.corpora import catalogue
from tfrnn.data.text_rules import TEXT_RULES, shortened
from tfrnn.data.vocabulary import NOUNS, Vocabulary
from tfrnn.errors import UserError
from tfrnn.formats import browser
from tfrnn.formats.exported_step import COMPARED_STEPS, arbitrary_ids, logits_and_rounding_bound
from tfrnn.formats.page_model import ALL_BITS, PageModel
from tfrnn.inference.generation import continue_texts
from tfrnn.inference.reading import read_prefixes
from tfrnn.inference.samplers import GREEDY, Choosing, Sampler
from tfrnn.runtime import durable

PAGE = "page.html"
MAX_LOGIT_CHANGE = 0.1  # by how much a logit may change if the weights are rounded to 8 or 16 bits
COMPARED_LENGTH = 200  # tokens of the texts over which that is measured
_SCRIPTS = ("page_model.js", "page.js")
_POLICY = (
    "default-src 'none'; style-src '{style}'; script-src '{script}' 'wasm-unsafe-eval'; base-uri 'none'; "
    "form-action 'none'"
)
_NAMES = {"rnn": "simple RNN", "gru": "GRU", "lstm": "LSTM"}


class Page:
    """A page with a model in it. A notebook shows it if it is the last value of a cell.

    Attributes:
      html: the text of the HTML file.
      bits: how many bits a weight has in it.
    """

    def __init__(self, html_text: str, bits: int):
        self.html = html_text
        self.bits = bits

    def save(self, path: str | os.PathLike) -> None:
        """Writes the page to a file. Raises OSError if it cannot be written."""
        Path(path).write_bytes(self.html.encode())

    def _repr_html_(self) -> str:
        # Without allow-same-origin the page cannot reach the notebook around it.
        return (
            f'<div><iframe srcdoc="{html.escape(self.html)}" sandbox="allow-scripts" width="100%" height="800" '
            'title="A page with a model in it" style="border: 0"></iframe></div>'
        )


def show(
    model: Any,
    vocabulary: Vocabulary,
    text: str = "",
    title: str = "A model that writes",
    prefix: str = "",
    text_rule: str = "raw",
    remarks: Sequence[str] = (),
) -> Page:
    """Returns a page in which a model writes and shows what it expected, for a notebook or as a file.

    >>> vocabulary = tfrnn.Vocabulary.from_text("to be or not to be")
    >>> model = tfrnn.LanguageModel(tfrnn.GRUCell(8), len(vocabulary))
    >>> page = tfrnn.show(model, vocabulary, prefix="to ")
    >>> page.save("page.html")

    Weights have 8, 16 or 32 bits in it: the fewest with which no logit changes by more than 0.1, over 200
    tokens that the model writes and 200 arbitrary ones, and with which the likeliest 200 tokens after the prefix stay
    the same.

    A notebook stores what it shows, so that it grows by the size of the page: four thirds of its weights.

    Args:
      model: a LanguageModel with cells of tfrnn or Keras.
      vocabulary: the vocabulary that the model was trained with.
      text: a cleaned text, which the page shows with the surprise of each token; by default the model writes one.
      title: the heading of the page.
      prefix: a cleaned text that the model continues; by default the most frequent token.
      text_rule: how the page cleans what is typed, a rule of `text_rules`.
      remarks: paragraphs above the text.
    Raises:
      UserError: the page cannot compute the model, the vocabulary is another's, the prefix has a token that it does not
        know, there is no such text rule, or an argument is no text.
    """
    for name, given in {"text": text, "title": title, "prefix": prefix}.items():
        if not isinstance(given, str):
            raise UserError(f"`{name}`: expected a text; got {given!r}")
    if isinstance(remarks, str):
        raise UserError(f"`remarks`: expected a list of texts; got the text {shortened(remarks)!r}; give [text]")
    _check_vocabulary(model, vocabulary)
    if text_rule not in TEXT_RULES:
        raise UserError(f"`text_rule` must be one of {', '.join(TEXT_RULES)}; got {text_rule!r}")
    prefix = prefix or vocabulary.id_to_token[1]
    vocabulary.encode_prefix(prefix, what_to_do="leave them out")
    bits, layout, packed, change = _pack_smallest(model, vocabulary, prefix)
    description, noun = PageModel.of(model).description, NOUNS[vocabulary.tokens]
    numbers = sum(math.prod(entry["shape"]) for entry in layout)
    kept = "as they were trained" if bits == 32 else f"rounded, which changes no logit by more than {change:.1g}"
    data = {
        "title": title,
        "about": (
            f"A small neural network runs in this page: {_describe(description)}. It has learnt which {noun} comes "
            "next in a text, and nothing else."
        ),
        "footer": (
            f"{numbers:,} weights of {bits} bits ({len(packed) * 3 // 4 / 1000:,.0f} kB), {kept}. The network runs in "
            "your browser: nothing is loaded, and what you type stays here. To share this page, send its file. Made "
            "with tfrnn."
        ),
        "remarks": list(remarks),
        "tokens": vocabulary.tokens,
        "text_rule": text_rule,
        "vocabulary": vocabulary.id_to_token,
        "prefix": prefix,
        "text": text,
        "model": description,
        "layout": layout,
    }
    return Page(_fill(data, packed), bits)


def write(model: Any, folder: Path, vocabulary: Vocabulary, config: Config) -> dict[str, Any]:
    """Writes page.html. Returns how many bits a weight has in it."""
    title = f"A model that has read {catalogue.title_of(config.data.corpus)}"
    page = show(model, vocabulary, "", title, config.run.prefix[0], config.data.text_rule)
    durable.write(folder / PAGE, page.html.encode())
    return {"page": {"bits": page.bits, "bytes": len(page.html.encode())}}


def check(model: Any, folder: Path) -> str:
    """Reads page.html and compares the model in it with the model; also as a browser computes it, if one is at hand.

    Raises UserError if they differ by more than rounding explains.
    """
    text = (folder / PAGE).read_text(encoding="utf-8")
    described, bits = read_page(text)
    in_page, ids = described.to_language_model(), arbitrary_ids(model.vocab_size)[:, :1]
    change = float(np.abs(in_page(ids)[0].numpy() - model(ids)[0].numpy()).max())
    fits = change <= _largest_allowed_change(model, ids, bits)  # not if it is NaN
    result = (
        f"{len(text) / 1000:,.0f} kB, weights of {bits} bits; over {COMPARED_STEPS} steps its logits differ from the "
        f"model's by at most {change:.1g}"
    )
    computed = browser.logits_in_browser(folder / PAGE, ids[:, 0].tolist())
    if computed is None:
        result += "; no Chromium, Chrome or Edge runs here to compare with"
    else:
        expected, rounding = logits_and_rounding_bound(in_page, ids)
        differences = np.abs(computed[:, None] - expected)
        result += f"; in a browser they are the same up to {differences.max():.1g}"
        fits = fits and bool(np.all(differences <= rounding))
    if not fits:
        raise UserError(
            f"`format`: expected the page to return the model's logits up to rounding, but {result}, so nothing is "
            "exported; try another format"
        )
    return result


def next_steps(folder: Path) -> dict[str, str]:
    """Returns how to see the page."""
    return {"see it write": f"double click {folder / PAGE}; to share it, send that file"}


def read_page(text: str) -> tuple[PageModel, int]:
    """Returns the model in a page, and how many bits its weights have."""
    data, packed = _contents(text)
    layout = data["layout"]
    return PageModel.unpack(data["model"], layout, packed), min(entry["bits"] for entry in layout)


def refill(text: str) -> str:
    """Returns a page of an earlier version with its model and the parts of this version."""
    return _fill(*_contents(text))


def _contents(text: str) -> tuple[dict[str, Any], str]:
    """Returns the data and the packed weights of a page."""
    data, packed = re.findall(r'<script id="(?:data|weights)"[^>]*>([^<]*)</script>', text)
    return json.loads(data), packed


def _check_vocabulary(model: Any, vocabulary: Vocabulary) -> None:
    if not isinstance(vocabulary, Vocabulary):
        raise UserError(f"`vocabulary`: expected the Vocabulary of the model; got a {type(vocabulary).__name__}")
    if vocabulary.tokens not in NOUNS:
        raise UserError(
            f"a page reads {' or '.join(f'{noun}s' for noun in NOUNS.values())}; got a vocabulary of tokens "
            f"{vocabulary.tokens!r}; export the model in another format"
        )
    if len(vocabulary) < 2:
        raise UserError(f"expected a vocabulary with at least one token beside {vocabulary.id_to_token[0]!r}; got none")
    if len(vocabulary) != (vocab_size := getattr(model, "vocab_size", len(vocabulary))):
        raise UserError(
            f"expected the vocabulary that the model was trained with, of {vocab_size} tokens; got one of "
            f"{len(vocabulary)}"
        )


def _pack_smallest(model: Any, vocabulary: Vocabulary, prefix: str) -> tuple[int, list, str, float]:
    """Packs the weights into the fewest bits that leave the model nearly as it is: see `show`.

    Returns:
      The number of bits, the layout, the packed weights, and the largest change of a logit.
    Raises:
      UserError: even with 32 bits the page would compute something else.
    """
    whole = PageModel.of(model)
    for name, array in whole.arrays.items():
        if not np.isfinite(array).all():
            raise UserError(
                f"expected a model whose weights are numbers; got one with NaN or infinity in {name}; train it again, "
                "with a smaller `learning_rate`"
            )
    greedy, drawn = (_generated_ids(model, vocabulary, prefix, sampler) for sampler in (GREEDY, Sampler()))
    ids = np.stack([greedy, drawn, arbitrary_ids(len(vocabulary), len(greedy))[:, 0]], 1)  # [T, 3]
    expected = model(ids)[0].numpy()
    for bits in ALL_BITS:
        layout, packed = whole.pack(bits)
        logits = PageModel.unpack(whole.description, layout, packed).to_language_model()(ids)[0].numpy()
        change = float(np.abs(logits - expected).max())
        likeliest = logits[-COMPARED_LENGTH - 1 : -1, 0, 1:].argmax(1) + 1  # without <unk>, which is never chosen
        if change <= _largest_allowed_change(model, ids, bits) and np.array_equal(likeliest, greedy[-COMPARED_LENGTH:]):
            return bits, layout, packed, change
    raise UserError(
        f"expected a model whose logits a page can compute; got one whose logits differ by {change:.1g} from those of "
        "a LanguageModel with its weights; export it as `format=saved_model`"
    )


def _generated_ids(model: Any, vocabulary: Vocabulary, prefix: str, sampler: Choosing) -> np.ndarray:
    """Returns the ids of a prefix and of COMPARED_LENGTH tokens after it, int32 [T].

    Spaces at the end of the prefix are left out, since they may decide with what the next token begins.
    """
    prefix = prefix.rstrip(" ") or " "
    reading = read_prefixes(model, vocabulary, [prefix])
    _, reading = continue_texts(model, vocabulary, reading, COMPARED_LENGTH, sampler)
    return np.concatenate([vocabulary.encode_prefix(prefix), reading.recent[0, -COMPARED_LENGTH:]])


def _largest_allowed_change(model: Any, ids: np.ndarray, bits: int) -> float:
    """Returns by how much the logits of a page may differ from the model's, if its weights have so many bits."""
    if bits < 32:
        return MAX_LOGIT_CHANGE
    return max(MAX_LOGIT_CHANGE, float(logits_and_rounding_bound(model, ids)[1].max()))


def _describe(description: dict[str, Any]) -> str:
    """Returns what the recurrent layers are, e.g. `2 GRU layers of 512 units`."""
    layers = description["layers"]
    names = {f"{_NAMES[layer['kind']]} layer of {layer['units']} units" for layer in layers}
    if len(layers) == 1:
        return f"one {names.pop()}"
    if len(names) == 1:
        return f"{len(layers)} {names.pop().replace('layer', 'layers', 1)}"
    return ", ".join(f"a {_NAMES[layer['kind']]} layer of {layer['units']} units" for layer in layers)


def _fill(data: dict[str, Any], packed: str) -> str:
    """Returns page.html with all that belongs in it."""
    folder = Path(__file__).parent
    style = (folder / "page.css").read_text(encoding="utf-8")
    script = "".join((folder / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    contents = {
        # A name of a file that is not UTF-8 has halves of characters in it.
        "title": html.escape(data["title"].encode("utf-8", "replace").decode()),
        "policy": _POLICY.format(script=_digest(script), style=_digest(style)),
        "style": style,
        "script": script,
        "data": json.dumps(data).replace("<", "\\u003c"),  # ASCII, in which no tag and no comment can begin
        "weights": packed,
    }
    template = (folder / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda place: contents[place[1]], template)


def _digest(text: str) -> str:
    """Returns the hash by which a policy allows a script or a style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
