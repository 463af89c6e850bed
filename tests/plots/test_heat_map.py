"""The page of a text coloured by surprisal; also in a real browser, if one is installed."""

import html.parser
import json
import re
import shutil

import numpy as np
import pytest

from tfrnn.plots.heat_map import COLOUR_BOUNDS, DARK_COLOURS, LIGHT_COLOURS, heat_map

TEXT = 'a<b>&"\'\n\t\0\x1b\r é分😀 c</pre><script>document.title="taken"</script> ' + "The same again. " * 20
BITS = np.resize([0.1, 0.7, 1.5, 2.5, 4.0, 5.0, 7.0, 30.0], len(TEXT) - 1)
ALTERNATIVES = [(("<", 0.5), ("\n", 0.25), (" ", 0.125))] * (len(TEXT) - 1)
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


def page():
    return heat_map(TEXT, BITS, ALTERNATIVES, 'run <1> reads "x"', ["perplexity 3 < 4"])


def luminance(colour):
    """Relative luminance of sRGB (WCAG 2.1) of #rrggbb or rgb(r, g, b)."""
    numbers = [int(colour[i : i + 2], 16) for i in (1, 3, 5)] if colour[0] == "#" else re.findall(r"\d+", colour)[:3]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (int(n) / 255 for n in numbers)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_page_has_the_text_and_none_of_it_becomes_markup():
    class Reader(html.parser.HTMLParser):
        text, titles, inside = "", (), False

        def handle_starttag(self, tag, attributes):
            assert tag not in ("script", "link", "img", "iframe", "b")
            self.inside |= tag == "pre"
            self.titles += tuple(value for name, value in attributes if name == "title")
            assert not {name for name, _ in attributes} & {"src", "href", "onload", "style"}

        def handle_endtag(self, tag):
            self.inside &= tag != "pre"

        def handle_data(self, data):
            self.text += data if self.inside else ""

    reader = Reader()
    reader.feed(page())
    shown = TEXT.replace("\n", "\u21b5\n").replace("\0", "\u2400").replace("\x1b", "\u241b").replace("\r", "\u240d")
    assert reader.text == shown
    assert len(reader.titles) == len(TEXT) - 1
    assert reader.titles[0] == "< 0.1 bits; likeliest: < 50%, line end 25%, space 12%"
    assert "http" not in page()


def test_every_surprisal_has_the_colour_of_its_range():
    levels = [int(level) for level in re.findall(r'<span class="s(\d)" title', page())]
    assert levels == [sum(bits >= bound for bound in COLOUR_BOUNDS) for bits in BITS]


def test_colours_become_steadily_darker_or_lighter_and_text_is_readable_on_each():
    for colours, text, darker in ((LIGHT_COLOURS, "#111111", True), (DARK_COLOURS, "#f2f2f2", False)):
        lightness = [luminance(colour) for colour in colours]
        assert lightness == sorted(lightness, reverse=darker)
        assert all(contrast(colour, text) >= 4.5 for colour in colours)


def test_words_are_separated_by_spaces():
    written = heat_map(["to", "be", "or"], np.array([1.0, 2.0]), [(), ()], "words", between=" ")
    assert re.search(r'<pre>to <span class="s2" title="[^"]*">be</span> <span class="s3"', written)


@pytest.mark.slow
@pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs Chromium and its driver")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_in_a_browser(scheme, tmp_path):
    from selenium import webdriver

    file = tmp_path / "page.html"
    file.write_text(page())
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path}/profile",
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        browser.set_window_size(500, 800)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        browser.get(file.as_uri())
        assert browser.title == 'run <1> reads "x"'  # and no script of the text's has changed it
        assert browser.get_log("browser") == []
        events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        requests = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        # The browser's own start page is none of the page's requests.
        asked_for = {sent["request"]["url"] for sent in requests if sent["documentURL"] == file.as_uri()}
        assert asked_for == {file.as_uri()}  # and nothing else, near or far
        colours = browser.execute_script(
            "return [...document.querySelectorAll('pre span')].slice(0, 8).map(span => {"
            "const style = getComputedStyle(span); return [style.backgroundColor, style.color]})"
        )
        expected = LIGHT_COLOURS if scheme == "light" else DARK_COLOURS
        assert [luminance(ground) for ground, _ in colours] == pytest.approx(list(map(luminance, expected)))
        assert all(contrast(*pair) >= 4.5 for pair in colours)
        body = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (luminance(body) > 0.5) == (scheme == "light")
        sizes = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        assert browser.execute_script(sizes)[0] <= 500  # a long line is wrapped, not cut
        rows = browser.execute_script("return document.querySelector('pre').getClientRects()[0].height")
        assert rows > 100
        assert len(browser.get_screenshot_as_png()) > 5000
    finally:
        browser.quit()
