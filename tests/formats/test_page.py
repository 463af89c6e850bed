"""The page with a model in it: what it computes and does in a browser, if one is installed, and what it refuses."""

import functools
import html.parser
import json
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from export_models import CONFIGS, VOCABULARY, shared_model

import tfrnn
from tfrnn.errors import UserError
from tfrnn.formats import browser as browser_at_hand
from tfrnn.formats import exporting, page
from tfrnn.formats.exported_step import logits_and_rounding_bound
from tfrnn.formats.page_model import ALL_BITS, PageModel

ROOT = Path(__file__).parents[2]
BROWSER = next(filter(None, map(shutil.which, browser_at_hand.BROWSERS)), None)
DRIVER = shutil.which("chromedriver")
HOSTILE = (
    'a<b>&"\'\n\t\0\x1b\r é分😀\u2028\u2029\u202e\ufeff{{script}} </pre><script>document.title="taken"</script><!-- ]]>'
)
OPTIONS = {  # of cells, beyond those of export_models
    "relu": lambda: keras.layers.SimpleRNNCell(12, activation="relu"),
    "no bias": lambda: keras.layers.LSTMCell(12, use_bias=False, dropout=0.5, recurrent_dropout=0.5),
    "other gates": lambda: keras.layers.GRUCell(12, "linear", "hard_sigmoid", reset_after=False),
    "gates of an LSTM": lambda: keras.layers.LSTMCell(12, "sigmoid", "relu"),
    "reset after": lambda: tfrnn.GRUCell(12, reset_after=True),
    "one unit": lambda: tfrnn.LSTMCell(1),
    "two sizes": lambda: [tfrnn.GRUCell(17), keras.layers.LSTMCell(3), tfrnn.RNNCell(33)],
}
needs_browser = pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs Chromium and its driver")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def model_with(cells, vocabulary=VOCABULARY, **options):
    """A model with large random weights."""
    random, model = np.random.default_rng(5), tfrnn.LanguageModel(cells, len(vocabulary), **options)
    model.build()
    for weight in model.weights:
        weight.assign(random.normal(0, 0.5, weight.shape))
    return model


@functools.cache
def shown_model():
    """The page of a small model, made once."""
    return tfrnn.show(shared_model("gru_scratch"), VOCABULARY, prefix="abc")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless browser with a page open; `browser.open(page)` opens another, without starting to write."""
    from selenium import webdriver

    folder = tmp_path_factory.mktemp("browser")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*browser_at_hand.FLAGS, "--no-sandbox", f"--user-data-dir={folder}/profile"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))

    def emulate(scheme, motion="reduce"):  # a page does not start to write by itself if motion is to be reduced
        features = [
            {"name": f"prefers-{name}", "value": value}
            for name, value in (("color-scheme", scheme), ("reduced-motion", motion))
        ]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def open_page(made):
        file = folder / "page.html"
        made.save(file)
        driver.get(file.as_uri())
        return file.as_uri()

    driver.emulate, driver.open = emulate, open_page
    try:
        driver.set_window_size(500, 800)
        emulate("light")
        open_page(shown_model())
        yield driver
    finally:
        driver.quit()


RUN_MODEL = """
const [description, layout, packed, ids, prefix, compiled] = arguments;
const other = new Model(description, unpack(layout, packed));
if (!compiled) for (const layer of other.layers) layer.recurrent.memory.product = null;
const logits = ids.map((id) => Array.from(other.step(id)));
const reading = new Reading(other, vocabulary);
for (const id of prefix) reading.add(id, "");
while (reading.tokens.length < ids.length) reading.write({temperature: 0, topK: 0, topP: 1, seed: 0});
return [logits, reading.tokens.map(({id}) => id), reading.tokens.slice(1).map(({bits}) => bits), other.isCompiled];
"""
STEPS = 40


def check_in(browser, model, bits, compiled=True):
    """Runs a model as the page holds it in the browser. Returns the largest change of a logit, and the greedy text."""
    described = PageModel.of(model)
    layout, packed = described.pack(bits)
    in_page = PageModel.unpack(described.description, layout, packed).to_language_model()
    ids, prefix = (np.arange(STEPS) * 7 % (len(VOCABULARY) - 1) + 1), VOCABULARY.encode("abc")
    arguments = described.description, layout, packed, ids.tolist(), prefix.tolist(), compiled
    logits, text, surprise, is_compiled = browser.execute_script(RUN_MODEL, *arguments)
    assert is_compiled
    expected, bound = logits_and_rounding_bound(in_page, np.stack([ids, text], 1).astype(np.int32))
    assert np.all(np.abs(logits - expected[:, 0]) <= bound[:, 0])
    likeliest = expected[:, 1, 1:].argmax(1) + 1  # greedy by the model's own logits, of which <unk> is none
    assert text == [*prefix, *likeliest[len(prefix) - 1 : -1]]
    log_shares = tf.nn.log_softmax(expected[:-1, 1]).numpy()[range(STEPS - 1), text[1:]]
    assert np.all(np.abs(np.array(surprise) * -np.log(2) - log_shares) <= 2 * bound[:-1, 0, 0] + 1e-6)
    change = np.abs(logits - model(ids[:, None])[0][:, 0]).max()
    assert change <= {8: 1, 16: 0.05, 32: max(1e-4, bound.max())}[bits]
    return VOCABULARY.decode(text)


def quick_if(condition):
    return [] if condition else pytest.mark.slow


ALL_MODELS = [
    pytest.param(name, bits, marks=quick_if(i % len(ALL_BITS) == j))
    for i, name in enumerate(CONFIGS)
    for j, bits in enumerate(ALL_BITS)
]


@needs_browser
@pytest.mark.parametrize(("name", "bits"), ALL_MODELS)
def test_a_browser_computes_the_models_logits_and_greedy_text(name, bits, browser):
    text = check_in(browser, shared_model(name), bits)
    if bits == 32:
        assert text == tfrnn.generate(shared_model(name), VOCABULARY, "abc", STEPS - 3)


@needs_browser
@pytest.mark.parametrize("option", [pytest.param(name, marks=quick_if(name == "two sizes")) for name in OPTIONS])
def test_a_browser_computes_each_option_of_the_cells(option, browser):
    check_in(browser, model_with(OPTIONS[option]()), 32)


@needs_browser
def test_a_browser_without_webassembly_computes_the_same(browser):
    check_in(browser, shared_model("gru_scratch"), 8, compiled=False)


@needs_browser
def test_the_page_samples_as_the_sampler_does(browser):
    """With the same logits and the same random number the same token is chosen."""
    random = np.random.default_rng(0)
    logits = np.round(random.normal(0, 2, [60, 9]) * 4).astype(np.float32) / 4  # with equal ones
    uniform = random.uniform(size=60).astype(np.float32)
    masked = tfrnn.samplers.without_unknown(tf.constant(logits))
    for sampler in (
        tfrnn.Sampler(), tfrnn.Sampler(0.5, 3), tfrnn.Sampler(1.3, 0, 0.6), tfrnn.Sampler(2, 4, 0.7), tfrnn.GREEDY,
    ):  # fmt: skip
        settings = {"temperature": sampler.temperature, "topK": sampler.top_k, "topP": sampler.top_p}
        chosen = browser.execute_script(
            "const [logits, settings, uniform] = arguments;"
            "return logits.map((row, i) => choose(Float32Array.from(row), settings, uniform[i]))",
            logits.tolist(), settings, uniform.tolist(),
        )  # fmt: skip
        assert chosen == sampler.choose(masked, tf.constant(uniform), tf.zeros([60, 0], tf.int32)).numpy().tolist()


@needs_browser
def test_random_numbers_are_uniform(browser):
    numbers = browser.execute_script(
        "return [0, 1, 2 ** 31 - 1].map((seed) => Array.from({length: 4000}, (_, i) => uniform(seed, i)))"
    )
    for row in numbers:
        assert len(set(row)) == 4000
        counts, _ = np.histogram(row, 10, (0, 1))
        assert abs(counts - 400).max() < 90
        assert abs(np.corrcoef(row[1:], row[:-1])[0, 1]) < 0.06
    assert abs(np.corrcoef(numbers)[np.triu_indices(3, 1)]).max() < 0.06


@needs_browser
@pytest.mark.parametrize("rule", tfrnn.text_rules.TEXT_RULES)
@pytest.mark.parametrize("tokens", tfrnn.text_rules.NOUNS)
def test_a_beginning_is_cleaned_and_split_as_in_python(rule, tokens, browser):
    texts = [
        "To be,\r\nor NOT  to be ",
        "  \n\n a\n",
        "é1 x",
        "a\x85b\x1cc\u3000d\ufeffe 😀分",
        "9",
        "a-\n -b\r",
        "\tA\n",
        "\u201cDon't!\u201d she said... a-b (c) \u2060x_y $5.00",
    ]
    cleaned, split = browser.execute_script(
        "const [texts, rule, tokens] = arguments;"
        "const other = new Vocabulary({vocabulary: [], tokens, text_rule: rule});"
        "const cleaned = texts.map((text) => other.clean(text));"
        "return [cleaned, cleaned.map((text) => other.split(text))]",
        texts, rule, tokens,
    )  # fmt: skip
    expected = [tfrnn.text_rules.clean_prefix(text, rule, tokens) for text in texts]
    if tokens == "bpe":  # without a vocabulary each character is a token
        assert split == [list(text) for text in expected]
    else:
        assert split == [tfrnn.text_rules.split(text, tokens) for text in expected]
    assert cleaned == expected or tokens not in ("char", "bpe")  # white space at the ends of words does not matter


BYTE_PAIR_TEXTS = [
    HOSTILE,
    'It was "so", so it was -- so!!! (it was)\n\n\tif x_1 == 10:\n        return x_1  \n',
    "a" * 63 + "b " + "ab" * 70 + " " * 70 + "!" * 65 + " x" + "\u3000 \x1c\x85 y\ufeff z",
    "\u0938\u094b \u092f\u0939 \u0938\u094b \u092f\u0939 e\u0301 \u00e9 \u5206\u5f00\uff0c\u4e0d\u5206\u5f00\u3002",
]


@needs_browser
def test_byte_pairs_of_a_page_are_those_of_python(browser):
    vocabulary = tfrnn.Vocabulary.from_text("\n".join(BYTE_PAIR_TEXTS), "bpe", merges=60)
    assert len(max(vocabulary.id_to_token[1:], key=len)) > 3
    typed = [
        *BYTE_PAIR_TEXTS,
        *(text[3:-2] for text in BYTE_PAIR_TEXTS),
        "e\u0301\u0301 \u0107 so it was unknown: \u4e2d",
        "",
    ]
    split, ids = browser.execute_script(
        "const [texts, vocabulary] = arguments;"
        "const other = new Vocabulary({vocabulary, tokens: 'bpe', text_rule: 'raw'});"
        "return [texts.map((text) => other.split(text)),"
        " texts.map((text) => other.asWritten(text).map((token) => other.idOf(token)))]",
        typed, vocabulary.id_to_token,
    )  # fmt: skip
    assert split == [vocabulary.split(text) for text in typed]
    assert ids == [vocabulary.ids(vocabulary.as_written(text)).tolist() for text in typed]


@needs_browser
@pytest.mark.parametrize("typed", ["the ro", "the "])
def test_a_page_writes_byte_pairs_as_python_does(typed, browser):
    text = "the road up the road, to the well; the well up the road\n" * 4
    vocabulary = tfrnn.Vocabulary.from_text(text, "bpe", merges=20)
    model = model_with(tfrnn.GRUCell(8), vocabulary, embedding_dim=3)
    browser.open(tfrnn.show(model, vocabulary, prefix=typed))
    assert start(browser, typed, temperature=0, length=20) == tfrnn.generate(model, vocabulary, typed, 20)
    tokens, status = browser.execute_script(
        "return [text.reading.tokens.map(({id, bits}) => [id, bits]), element('status').textContent]"
    )
    ids, bits = (np.array(column) for column in zip(*tokens[1:], strict=True))
    scored = tfrnn.score(model, np.array([tokens[0][0], *ids]))
    np.testing.assert_allclose(bits, scored.bits, atol=0.5)  # of 8 or 16 bits
    assert f"{bits.sum() / len(vocabulary.decode(ids)):.2f} bits a character" in status


@functools.cache
def hostile_page():
    vocabulary = tfrnn.Vocabulary.from_text(HOSTILE)
    model = model_with(tfrnn.GRUCell(8), vocabulary)
    return tfrnn.show(model, vocabulary, HOSTILE, 'run <1> reads "x" &amp;', text_rule="raw", remarks=["3 < 4</p>"])


def test_no_text_becomes_markup():
    class Reader(html.parser.HTMLParser):
        tags, data, inside = (), "", ""

        def handle_starttag(self, tag, attributes):
            self.tags += (tag,)
            self.inside = dict(attributes).get("id")
            assert not {name for name, _ in attributes} & {"src", "href", "onload", "style"}

        def handle_data(self, data):
            self.data += data if self.inside == "data" else ""

    reader, reader_of_plain = Reader(), Reader()
    written = hostile_page().html
    reader.feed(written)
    reader_of_plain.feed(shown_model().html)
    assert reader.tags == reader_of_plain.tags
    assert reader.tags.count("script") == 3
    data = json.loads(reader.data)
    assert data["text"] == HOSTILE
    assert sorted(data["vocabulary"][1:]) == sorted(set(HOSTILE))
    assert written.isascii() or not set(HOSTILE) & {c for c in written if not c.isascii()}
    assert "http:" not in written.replace("http-equiv", "")
    assert "https:" not in written


@needs_browser
@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_a_hostile_text_is_shown_readably_and_nothing_else_is_loaded(scheme, browser):
    browser.emulate(scheme)
    browser.get_log("performance")
    browser.get_log("browser")
    address = browser.open(hostile_page())
    wait_until(browser, "return !text.timer && text.spans.length === text.reading.tokens.length")
    assert browser.title == 'run <1> reads "x" &amp;'  # and no script of the text's has changed it
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    # The browser's own start page is none of the page's requests.
    assert {sent["request"]["url"] for sent in requests if sent["documentURL"] == address} == {address}
    shown = browser.execute_script("return text.spans.map((span) => span.textContent)")
    signs = {"\n": "\u21b5\n", "\0": "\u2400", "\x1b": "\u241b", "\r": "\u240d"}
    assert "".join(shown) == "".join(signs.get(c, c) for c in HOSTILE)
    assert browser.execute_script("return document.getElementById('remarks').textContent") == "3 < 4</p>"
    for kind, number in (("s", 8), ("u", 9)):
        colours = browser.execute_script(COLOURS, kind, number)
        assert all(contrast(*pair) >= 4.5 for pair in colours)
        if kind == "s":
            lightness = [luminance(ground) for ground, _ in colours]
            assert lightness == sorted(lightness, reverse=scheme == "light")
    body = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (luminance(body) > 0.5) == (scheme == "light")


def start(browser, beginning, **settings):
    """Writes on from a beginning with settings, as fast as it can; returns the whole text."""
    for name, value in {"beginning": beginning, "pace": "0", **settings}.items():
        browser.execute_script("element(arguments[0]).value = arguments[1]", name, str(value))
    browser.find_element("id", "write").click()
    return finished(browser)


def finished(browser):
    wait_until(browser, "return !text.timer")
    return browser.execute_script("return text.spans.map((span) => span.textContent).join('')")


@needs_browser
def test_what_a_reader_does(browser):
    model = shared_model("gru_scratch")
    browser.open(shown_model())
    assert browser.execute_script("return text.spans.length") == 0  # it does not begin if motion is to be reduced

    written = start(browser, "abc", temperature=0, length=30)
    assert written == tfrnn.generate(model, VOCABULARY, "abc", 30)
    browser.find_element("id", "write").click()  # goes on
    longer = finished(browser)
    assert longer == tfrnn.generate(model, VOCABULARY, "abc", 60)

    drawn = start(browser, "bX\u00fcc", temperature=1, length=50)
    assert drawn.startswith("bc")
    assert len(drawn) == 52
    assert "seen it: X \u00fc" in browser.find_element("id", "left_out").text
    browser.find_element("id", "undo").click()
    assert finished(browser) == longer
    assert start(browser, "bc", temperature=1, length=50) == drawn  # with the same seed
    browser.find_element("id", "again").click()
    other = finished(browser)
    assert other != drawn
    assert other.startswith("bc")
    stopped = start(browser, "ab", temperature=1, length=500, stop="e")
    assert stopped.index("e", 2) == len(stopped) - 1
    browser.execute_script("element('stop').value = ''; element('length').value = 50")

    browser.execute_script("pointer = 'mouse'; text.spans[9].click()")
    clicked = finished(browser)
    assert len(clicked) == 10 + 50
    assert clicked[:10] == stopped[:10]
    browser.execute_script("pointer = 'touch'; text.spans[5].click()")  # which shows the panel, with a button
    assert browser.execute_script("return text.timer") == 0
    panel = browser.find_element("id", "panel")
    likeliest = model(VOCABULARY.encode(clicked[:5])[:, None])[0].numpy()[-1, 0].argmax()
    assert panel.find_element("css selector", "li bdi").text == (VOCABULARY.id_to_token[likeliest].strip() or "space")
    browser.find_element("id", "panel_write").click()
    touched = finished(browser)
    assert (len(touched), touched[:6]) == (56, clicked[:6])
    from selenium.webdriver.common.keys import Keys

    area = browser.find_element("id", "text")
    area.send_keys(Keys.HOME, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ENTER)
    typed = finished(browser)
    assert (len(typed), typed[:3]) == (53, touched[:3])
    bits = browser.execute_script("return text.reading.tokens.slice(1).map(({bits}) => bits)")
    np.testing.assert_allclose(bits, tfrnn.score(model, VOCABULARY.encode(typed)).bits, atol=0.5)  # of 8 or 16 bits

    for name, value in (("beginning", "XYZ"), ("beginning", "")):
        browser.execute_script("element(arguments[0]).value = arguments[1]", name, value)
        browser.find_element("id", "write").click()
        assert "Type at least one character" in browser.find_element("id", "status").text
    browser.execute_script("element('beginning').value = 'abc'; element('top_p').value = 0")
    browser.find_element("id", "write").click()
    assert browser.execute_script("return [document.querySelector('details').open, document.activeElement.id]") == [
        True, "top_p",
    ]  # fmt: skip
    browser.execute_script("element('top_p').value = 1; element('length').value = 10000; element('pace').value = 40")
    button = browser.find_element("id", "write")
    button.click()
    assert button.text == "Pause"
    button.click()
    assert (button.text, browser.execute_script("return text.timer")) == ("Write", 0)


@pytest.mark.slow
@needs_browser
def test_units_that_follow_the_text_are_found(browser):
    """In a model whose first unit is 1 after a space, and -1 after anything else."""
    model = model_with(tfrnn.RNNCell(4))
    cell = model.rnn.cells[0]
    kernel, space = cell.kernel.numpy(), VOCABULARY.id_of(" ")
    kernel[:, 2] = np.where(np.arange(len(kernel)) == space, 9, -9)
    cell.kernel.assign(kernel)
    cell.recurrent_kernel.assign(0 * cell.recurrent_kernel)
    browser.open(tfrnn.show(model, VOCABULARY, "ab cde aa ed be " * 20))
    wait_until(browser, "return !text.timer && text.spans.length === 320")
    found = browser.execute_script("return tellingUnits(text.reading)")
    assert found[0]["unit"] == 2
    assert found[0]["name"] == "a space"
    assert found[0]["r"] > 0.999
    browser.execute_script("element('colour').value = '2'; repaint()")
    classes = browser.execute_script("return text.spans.slice(0, 3).map((span) => span.className)")
    assert [name[:2] for name in classes] == ["u0", "u0", "u8"]


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize(
    "text", ["\u6c34 \u4e95\u3002\u4eba", "\u05d1\u05d0\u05e8 \u05de\u05d9\u05dd", "long" * 99 + " " * 99]
)
def test_texts_of_all_scripts_fit_on_a_phone(text, browser):
    vocabulary = tfrnn.Vocabulary.from_text(text)
    page_of_text = tfrnn.show(model_with(tfrnn.GRUCell(8), vocabulary), vocabulary, text, "x" * 90)
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        browser.open(page_of_text)
        assert finished(browser).replace("\u21b5", "") == text
        browser.execute_script("document.querySelector('details').open = true; select(0)")
        root = "document.documentElement"
        assert browser.execute_script(f"return [{root}.scrollWidth, {root}.clientWidth]") == [390, 390]
        assert browser.execute_script(
            "const box = element('text').getBoundingClientRect();"
            "return text.spans.flatMap((span) => [...span.getClientRects()])"
            "  .every(({left, right}) => left >= box.left && right <= box.right)"
        )
        direction = browser.execute_script("return getComputedStyle(element('text')).direction")
        assert direction == ("rtl" if "\u05d1" in text else "ltr")
        sides = "return ['before', 'after'].map((name) => element(`panel_${name}`).getBoundingClientRect().left)"
        before, after = browser.execute_script(sides)
        assert (before > after) == (direction == "rtl")
        language = browser.execute_script("return element('text').lang")
        assert language == {"\u6c34": "zh", "\u05d1": "he", "l": "und"}[text[0]]
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


LONG_TEXT = "ab cde " * 300


@functools.cache
def page_of_a_long_text():
    return tfrnn.show(shared_model("gru_scratch"), VOCABULARY, LONG_TEXT)


def open_long_text(browser):
    browser.open(page_of_a_long_text())
    assert len(finished(browser)) == len(LONG_TEXT)


@needs_browser
def test_the_panel_never_covers_what_it_is_about(browser):
    open_long_text(browser)
    x, y = browser.execute_script(
        "scrollTo(0, element('text').offsetTop);"
        "const {left, top, width, height} = text.spans.map((span) => span.getBoundingClientRect())"
        "  .findLast(({bottom}) => bottom < innerHeight);"
        "return [left + width / 2, top + height / 2]"
    )
    for moved in (0, 1, 0, 1):
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x, "y": y + moved})
        wait_until(browser, "return document.querySelector('#text .hovered') && !element('panel').hidden")
        covers = "return element('panel').getBoundingClientRect().bottom <= arguments[0]"
        assert browser.execute_script(covers, y)
    browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": 1, "y": 1})
    for position in (len(LONG_TEXT) - 1, len(LONG_TEXT) // 2):
        browser.execute_script("scrollTo(0, 0); select(arguments[0])", position)
        bottom, top = browser.execute_script(
            "return [text.spans[text.selected], element('panel')].map((shown) => shown.getBoundingClientRect())"
            ".map(({top, bottom}, i) => i ? top : bottom)"
        )
        assert bottom <= top


@needs_browser
def test_a_reader_without_a_mouse_steps_through_the_text(browser):
    from selenium.webdriver.common.keys import Keys

    open_long_text(browser)
    browser.find_element("id", "colour").send_keys(Keys.TAB)  # to the text, which selects its first character
    assert browser.execute_script("return [document.activeElement.id, text.selected]") == ["text", 0]
    for button, position in (("panel_after", 1), ("panel_after", 2), ("panel_before", 1)):
        browser.find_element("id", button).click()
        assert browser.execute_script("return text.selected") == position
    labels = [browser.find_element("id", name).get_attribute("aria-label") for name in ("panel_before", "panel_after")]
    assert labels == ["Previous character", "Next character"]
    browser.execute_script("select(30); element('length').value = 5; element('pace').value = '0'")
    area = browser.find_element("id", "text")
    area.send_keys(Keys.ENTER)
    finished(browser)
    area.send_keys(Keys.ARROW_RIGHT)  # goes on where it was
    assert browser.execute_script("return text.selected") == 30


@needs_browser
def test_progress_is_not_read_aloud_all_the_time(browser):
    open_long_text(browser)
    browser.execute_script(
        "window.messages = []; const status = element('status');"
        "new MutationObserver(() => messages.push(status.textContent)).observe(status, {childList: true});"
        "element('beginning').value = arguments[0]; begin(); run();",
        LONG_TEXT * 2,
    )
    finished(browser)
    messages = browser.execute_script("return messages")
    assert 1 <= len([message for message in messages if message.startswith("Reading")]) <= 5
    assert messages[-1].startswith(f"{2 * len(LONG_TEXT):,} characters")


@pytest.mark.slow
@needs_browser
def test_a_given_text_is_read_as_it_is(browser):
    """So that its surprise is that which `score` returns; what is typed is read in the form that the model knows."""
    for text, tokens in (("caf\u00e9 e\u0301", "char"), ("a, (b) ,", "word")):
        known = text[:5] if tokens == "char" else "a, (b)"
        vocabulary = tfrnn.Vocabulary.from_text(known, tokens)
        model = model_with(tfrnn.GRUCell(8), vocabulary)
        browser.open(tfrnn.show(model, vocabulary, text))
        finished(browser)
        ids = browser.execute_script("return text.reading.tokens.map(({id}) => id)")
        assert ids == vocabulary.encode(text, "unk").tolist()
        assert 0 in ids


@needs_browser
def test_all_that_a_reader_can_use_has_a_name_for_screen_readers(browser):
    browser.open(shown_model())
    browser.execute_script("document.querySelector('details').open = true; element('colour').value = 'any'; repaint()")
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"button", "textbox", "slider", "spinbutton", "combobox", "complementary"}
    used = [node for node in tree if not node["ignored"] and node.get("role", {}).get("value") in roles]
    assert len(used) >= 15
    assert [node for node in used if not node.get("name", {}).get("value")] == []


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("tokens", ["word", "spaced"])
def test_words_and_marks_are_set_as_in_python(tokens, browser):
    vocabulary = tfrnn.Vocabulary.from_text("to be, or not to be:\n(that) is the question.\n", tokens)
    model = model_with(tfrnn.GRUCell(8), vocabulary, embedding_dim=3)
    browser.open(tfrnn.show(model, vocabulary, prefix="to"))
    start(browser, "to  or", temperature=0, length=20)
    expected = tfrnn.generate(model, vocabulary, "to or", 20)
    shown = browser.execute_script("return element('text').textContent")
    assert shown.replace("\u21b5", "") == expected
    browser.execute_script("writeAfter(3)")
    finished(browser)
    texts = browser.execute_script("return text.reading.tokens.map((token) => token.text)")
    shown = browser.execute_script("return element('text').textContent")
    assert shown.replace("\u21b5", "") == tfrnn.text_rules.join(texts, tokens)


@pytest.mark.slow
@needs_browser
def test_a_beginning_is_read_as_the_model_knows_it(browser):
    for tokens, text in (("char", "cafe\u0301 na\u00efve"), ("word", "one, two. (three) cafe\u0301")):
        vocabulary = tfrnn.Vocabulary.from_text(text, tokens)
        for typed in ("caf\u00e9", "cafe\u0301", "nai\u0308ve", "three )", "two .one,"):
            written = browser.execute_script(
                "const [vocabulary, tokens, typed] = arguments;"
                "return new Vocabulary({vocabulary, tokens, text_rule: 'raw'}).asWritten(typed)",
                vocabulary.id_to_token, tokens, typed,
            )  # fmt: skip
            assert written == list(vocabulary.as_written(typed)), (tokens, typed)


class OtherCell(tfrnn.GRUCell):
    pass


def triple(x):
    return 3 * x


def nan(shape, dtype=None):
    return tf.fill(shape, np.float32("nan"))


class OtherModel(tfrnn.LanguageModel):
    def call(self, inputs, state=None, **kwargs):
        logits, state = super().call(inputs, state, **kwargs)
        return 2 * logits, state


@pytest.mark.parametrize(
    ("make", "message"),
    {
        "cell": (lambda: tfrnn.LanguageModel(OtherCell(4), 7), "computes the cells RNNCell, GRUCell"),
        "activation": (lambda: tfrnn.LanguageModel(tfrnn.RNNCell(4, activation="gelu"), 7), "activations tanh"),
        "labeller": (
            lambda: tfrnn.SequenceLabeller(tfrnn.GRUCell(4), 7, 3, bidirectional=True), "expected a LanguageModel",
        ),
        "call": (lambda: OtherModel(tfrnn.RNNCell(4, "tanh", "ones"), 7), "whose logits differ by"),
        "vocabulary": (lambda: tfrnn.LanguageModel(tfrnn.GRUCell(4), 8), "of 8 tokens; got one of 7"),
        "function": (lambda: tfrnn.LanguageModel(keras.layers.GRUCell(4, triple), 7), "got a function in <GRUCell"),
        "nan": (lambda: tfrnn.LanguageModel(tfrnn.GRUCell(4, "tanh", nan), 7), "got one with NaN or infinity in 0.ker"),
    }.values(),
)  # fmt: skip
def test_what_a_page_cannot_compute_is_refused_in_one_line(make, message):
    with pytest.raises(UserError, match=message) as caught:
        tfrnn.show(make(), VOCABULARY)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"title": None}, "`title`: expected a text; got None"),
        ({"prefix": ["ab"]}, r"`prefix`: expected a text; got \['ab'\]"),
        ({"text": b"ab"}, "`text`: expected a text"),
        ({"remarks": "ab"}, r"`remarks`: expected a list of texts; got the text 'ab'; give \[text\]"),
        ({"vocabulary": ["a"]}, "expected the Vocabulary of the model; got a list"),
        ({"vocabulary": tfrnn.Vocabulary(["<unk>"])}, "at least one token beside '<unk>'; got none"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments, message):
    with pytest.raises(UserError, match=message):
        tfrnn.show(**{"model": shared_model("gru_scratch"), "vocabulary": VOCABULARY, **arguments})


def test_a_title_that_is_no_unicode_is_shown_as_well_as_it_can_be(tmp_path):
    made = tfrnn.show(
        shared_model("gru_scratch"), VOCABULARY, "ab\udcff", "run \udcff"
    )  # a file's name, as Python has it
    made.save(tmp_path / "page.html")
    assert "<title>run ?</title>" in (tmp_path / "page.html").read_text()


def test_a_notebook_shows_the_page_in_a_frame_of_its_own(tmp_path):
    made = shown_model()
    made.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == made.html

    class Reader(html.parser.HTMLParser):
        frames = ()

        def handle_starttag(self, tag, attributes):
            self.frames += (dict(attributes),) * (tag == "iframe")

    reader = Reader()
    reader.feed(made._repr_html_())
    (frame,) = reader.frames
    assert frame["srcdoc"] == made.html
    assert frame["sandbox"] == "allow-scripts"


@needs_browser
def test_the_page_writes_within_a_notebook(browser, tmp_path):
    (tmp_path / "notebook.html").write_text(f"<!DOCTYPE html><title>notebook</title>{shown_model()._repr_html_()}")
    browser.emulate("light", motion="no-preference")
    try:
        browser.get((tmp_path / "notebook.html").as_uri())
        browser.switch_to.frame(0)
        wait_until(browser, "return text.spans.length > 5")
        assert browser.execute_script("return text.spans.slice(0, 3).map((span) => span.textContent).join('')") == "abc"
        browser.execute_script("element('length').value = 20; element('pace').value = '0'")
        browser.find_element("id", "write").click()  # pauses, and writes on, though the frame may not submit forms
        written = len(finished(browser))
        browser.find_element("id", "write").click()
        assert len(finished(browser)) == written + 20
        browser.find_element("id", "beginning").send_keys("\n")
        assert len(finished(browser)) == written + 40
    finally:
        browser.switch_to.default_content()
        browser.emulate("light")


def test_a_page_that_a_browser_computes_otherwise_is_not_exported(tmp_path, monkeypatch):
    model, config = shared_model("gru_scratch"), CONFIGS["gru_scratch"]
    monkeypatch.setattr(page, "show", lambda *_: shown_model())
    monkeypatch.setattr(browser_at_hand, "logits_in_browser", lambda *_: np.zeros([20, model.vocab_size], "f"))
    with pytest.raises(UserError, match="so nothing is exported"):
        exporting.export(model, VOCABULARY, config, "page", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(browser_at_hand, "logits_in_browser", lambda *_: None)
    compared = exporting.export(model, VOCABULARY, config, "page", tmp_path / "out")
    assert "kB, weights of 8 bits; " in compared
    assert "; no Chromium, Chrome or Edge runs here" in compared
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.json", "export.json", "page.html", "vocabulary.json",
    ]  # fmt: skip


@needs_browser
def test_a_page_whose_script_fails_in_a_browser_does_not_pass(tmp_path):
    (tmp_path / "page.html").write_text(shown_model().html.replace("use strict", "use force"))  # another hash
    assert np.isnan(browser_at_hand.logits_in_browser(tmp_path / "page.html", [1, 2])).all()


@needs_browser
@pytest.mark.slow
def test_the_export_is_compared_as_a_browser_computes_it(tmp_path):
    computed = exporting.export(
        shared_model("lstm_keras"), VOCABULARY, CONFIGS["lstm_keras"].replace(text_rule="raw"), "page", tmp_path / "out"
    )  # fmt: skip
    assert "; in a browser they are the same up to " in computed


def test_the_page_in_docs_has_todays_parts():
    stored = (ROOT / "docs" / "page.html").read_text(encoding="utf-8")
    assert page.refill(stored) == stored  # else: python docs/page.py
    in_page, _ = page.read_page(stored)
    assert len(stored) < 300_000
    assert in_page.description["layers"][0]["kind"] == "gru"


@pytest.mark.slow
def test_weights_are_rounded_to_as_few_bits_as_leave_the_model_nearly_as_it_is():
    """A model of small weights fits into 8 bits; one that is chaotic needs all 32."""
    assert tfrnn.show(tfrnn.LanguageModel(tfrnn.GRUCell(8), len(VOCABULARY)), VOCABULARY).bits < 32
    model = model_with(tfrnn.RNNCell(40))
    model.rnn.cells[0].recurrent_kernel.assign(9 * model.rnn.cells[0].recurrent_kernel)
    chaotic = tfrnn.show(model, VOCABULARY)
    assert chaotic.bits == 32
    in_page, _ = page.read_page(chaotic.html)
    for name, array in PageModel.of(model).arrays.items():
        np.testing.assert_array_equal(in_page.arrays[name], array)


COLOURS = """
const [kind, number] = arguments, box = document.createElement("div"), found = [];
document.getElementById("text").append(box);
for (let i = 0; i < number; i++) {
  box.className = kind + i;
  const style = getComputedStyle(box);
  found.push([style.backgroundColor, style.color]);
}
box.remove();
return found;
"""


def luminance(colour):
    """Relative luminance of sRGB (WCAG 2.1) of rgb(r, g, b)."""
    numbers = [int(number) / 255 for number in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in numbers]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def wait_until(browser, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 30, 0.02).until(lambda driver: driver.execute_script(condition))
