"""Writes page.html, the model of the embedded story as a page, and page.png, its picture.

    python -m tfrnn.train --run_dir=runs/ambry --corpus=sample --text_rule=raw --max_tokens=0 --validation_tokens=0 \\
        --sampling=random --cell=gru --units=128 --optimizer=adam --learning_rate=0.006 --schedule=cosine \\
        --epochs=200 --batch_size=16 --num_steps=100 --prefix="The road to Ambry"
    python docs/page.py runs/ambry

Without a run directory it takes the model that page.html holds: after a change of the page's parts in tfrnn/formats.
The picture needs Chromium and its driver.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

import tfrnn
from tfrnn.formats import browser, page

FOLDER = Path(__file__).parent
FILE = FOLDER / "page.html"
TITLE = "The Water at Ambry, as a network tells it"
REMARK = (
    "Its text is the story that comes with tfrnn, 20,000 characters, read 200 times. It knows much of it by heart; at "
    "a higher temperature, or after a beginning of yours, it has to invent."
)
LENGTH = 240  # characters that the model writes in the picture
# The character whose alternatives the picture shows: the most surprising one that the model chose.
SELECT = """
const bits = text.reading.tokens.slice(text.given).map((token) => token.bits);
select(text.given + bits.indexOf(Math.max(...bits)));
scrollTo(0, 0);
"""


def draw() -> None:
    """Writes the picture: the page after it has written a little, with a character selected."""
    options = webdriver.ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, browser.BROWSERS)))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*browser.FLAGS, "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            size = {"width": 860, "height": 780, "deviceScaleFactor": 1, "mobile": False}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            still = {"name": "prefers-reduced-motion", "value": "reduce"}  # it does not begin to write by itself
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [still]})
            driver.get(FILE.as_uri())
            driver.execute_script(f"begin(); text.remaining = {LENGTH}; element('pace').value = '0'; run();")
            WebDriverWait(driver, 60).until(lambda _: driver.execute_script("return !text.timer"))
            driver.execute_script(SELECT)
            driver.save_screenshot(str(FOLDER / "page.png"))
        finally:
            driver.quit()


def main(run_dir: str = "") -> None:
    if run_dir:
        model, vocabulary, config = tfrnn.load_run(run_dir)
        tfrnn.show(
            model, vocabulary, "", TITLE, config.run.prefix[0], config.data.text_rule, [REMARK]
        ).save(FILE)  # fmt: skip
    else:
        FILE.write_text(page.refill(FILE.read_text(encoding="utf-8")), encoding="utf-8")
    draw()


if __name__ == "__main__":
    main(*sys.argv[1:])
