"""How fast a page writes in Chromium on one core: `python -m benchmarks.page --help`.

The model has random weights and 65 characters, among which it draws at temperature 1, so that every draw is paid for.
All processes of the browser share one core. Counted are the characters for each second on the clock, with all that is
drawn on the screen; for each second of the core that the browser's processes take, which other programs on the machine
hardly lengthen; and, for comparison, the steps of the model alone, on the clock. Needs Linux, Chromium and its driver.
"""

import argparse
import datetime
import json
import os
import shutil
import statistics
import string
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from tfrnn.formats import browser
from tfrnn.runtime import host

CHARACTERS = string.ascii_letters + "., \n!?'\"-;:("  # and <unk>: 65 tokens
WRITE = """
cut(0);
begin();
for (const [id, value] of Object.entries({length: arguments[0], pace: "0", temperature: 1})) element(id).value = value;
writeOn();
"""
STEPS = """
const begin = performance.now();
for (let i = 0; i < arguments[0]; i++) model.step(1 + (i % 60));
return (1000 * arguments[0]) / (performance.now() - begin);
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default="rnn,gru,lstm", help="the cells, a list with commas")
    parser.add_argument("--units", type=int, default=512, help="units of a layer")
    parser.add_argument("--layers", type=int, default=2, help="number of layers")
    parser.add_argument("--length", type=int, default=1000, help="characters that are written in a round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that are measured, after one to warm up")
    parser.add_argument("--core", type=int, default=0, help="the core that the browser runs on")
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    options = parser.parse_args()
    host.import_tensorflow_quietly()
    result: dict[str, Any] = {"date": datetime.date.today().isoformat(), "machine": describe()}
    print(f"{result['date']}, {result['machine']}\n")
    print("| model | page | characters/sec | to a second of the core | the model alone |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for cell in options.cells.split(","):
            name, file = f"{cell.upper()} {options.layers} x {options.units}", Path(folder, f"{cell}.html")
            bits = make_page(cell, options.units, options.layers, file)
            found = result[name] = measure(file, options.length, options.rounds, options.core)
            size = f"{file.stat().st_size / 1e6:.1f} MB, {bits} bits"
            print(f"| {name} | {size} | {' | '.join(map(spread, found.values()))} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def make_page(cell: str, units: int, num_layers: int, file: Path) -> int:
    """Writes the page of a model with random weights; returns how many bits a weight has in it."""
    import keras

    import tfrnn
    from tfrnn.config.config import Config
    from tfrnn.models.building import build_language_model

    keras.utils.set_random_seed(0)
    vocabulary = tfrnn.Vocabulary.from_text(CHARACTERS)
    config = Config().replace(cell=cell, units=units, num_layers=num_layers)
    page = tfrnn.show(build_language_model(config.model, len(vocabulary)), vocabulary)
    page.save(file)
    return page.bits


def measure(file: Path, length: int, num_rounds: int, core: int) -> dict[str, list[float]]:
    """Returns three rates of each round: on the clock, of the core's time, and of the model alone."""
    from selenium import webdriver
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, browser.BROWSERS)), "")
    found: dict[str, list[float]] = {"clock": [], "core": [], "model": []}
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})  # its children have it too
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*browser.FLAGS, "--no-sandbox", f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            still = {"name": "prefers-reduced-motion", "value": "reduce"}  # it does not begin to write by itself
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [still]})
            driver.get(file.as_uri())
            for _ in range(num_rounds + 1):
                before = core_seconds(driver.service.process.pid)
                driver.execute_script(WRITE, length)
                WebDriverWait(driver, 600).until(lambda one: one.execute_script("return !text.timer"))
                found["core"].append(length / (core_seconds(driver.service.process.pid) - before))
                # The page's own figure, of the time from the first character to the last.
                said = driver.execute_script("return element('status').textContent")
                found["clock"].append(float(said.split("Written at ")[1].split(" ")[0].replace(",", "")))
                found["model"].append(driver.execute_script(STEPS, length))
        finally:
            driver.quit()
            os.sched_setaffinity(0, allowed)
    return {name: rates[1:] for name, rates in found.items()}


def core_seconds(root: int) -> float:
    """Returns for how many seconds a process and those that it has begun, which still run, have computed."""
    parents, ticks = {}, {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        process = int(file.parent.name)
        parents[process], ticks[process] = int(fields[1]), int(fields[11]) + int(fields[12])
    family = {root}
    while more := {process for process, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(ticks.get(process, 0) for process in family) / os.sysconf("SC_CLK_TCK")


def spread(rates: list[float]) -> str:
    return f"{statistics.median(rates):,.0f} [{min(rates):,.0f} to {max(rates):,.0f}]"


if __name__ == "__main__":
    main()
