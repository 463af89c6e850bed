"""Forecasts of six kinds of series, beside naive ones and statsmodels' exponential smoothing.

    python -m benchmarks.forecasts [--seeds N] [--origins N] [--only NAME] [--json FILE]

The settings are the defaults of `tfrnn forecast`. The model is trained once, on the first three quarters of a series,
with each of several seeds; exponential smoothing is fitted again at every origin. All forecast the same steps from the
same origins in the last quarter. Printed is the mean absolute scaled error (MASE: below 1 is better than the seasonal
naive forecast one season ahead was in training) by steps ahead, and how many of the values lay within the intervals of
80%, of which the widths come from the errors in the first half of the last quarter and which are counted in its second
half. Without statsmodels (`pip install -e '.[bench]'`) its columns are left out.
"""

import argparse
import json
import statistics
import time
import warnings
from typing import Any

import numpy as np

from tfrnn import forecast
from tfrnn.config import presets
from tfrnn.config.config import ForecastConfig
from tfrnn.runtime import host
from tfrnn.series import calendars, scores
from tfrnn.series.calendars import Calendar
from tfrnn.series.reading import SeriesFile

# Passengers of airlines in thousands a month, 1949 to 1960 (Box and Jenkins, 1976, series G).
AIRLINE = """
112 118 132 129 121 135 148 148 136 119 104 118 115 126 141 135 125 149 170 170 158 133 114 140
145 150 178 163 172 178 199 199 184 162 146 166 171 180 193 181 183 218 230 242 209 191 172 194
196 196 236 235 229 243 264 272 237 211 180 201 204 188 235 227 234 264 302 293 259 229 203 229
242 233 267 269 270 315 364 347 312 274 237 278 284 277 317 313 318 374 413 405 355 306 271 306
315 301 356 348 355 422 465 467 404 347 305 336 340 318 362 348 363 435 491 505 404 359 310 337
360 342 406 396 420 472 548 559 463 407 362 405 417 391 419 461 472 535 622 606 508 461 390 432
"""


def make_series() -> dict[str, tuple[np.ndarray, int, Calendar | None]]:
    """Returns each series [N] by its name, the season that the naive forecast and the peer are given, and its dates."""
    random = np.random.default_rng(0)
    days, hours, steps = np.arange(3 * 365), np.arange(24 * 7 * 10), np.arange(300)
    of_week = np.array([0, 0.2, 0.3, 0.1, 0.5, -0.8, -1])[days % 7]
    weather = np.zeros(len(days))
    for day in days[1:]:
        weather[day] = 0.7 * weather[day - 1] + random.normal(0, 1.5)
    working = np.where((hours // 24) % 7 >= 5, 0.6, 1.0)
    load = 100 + 30 * working * np.sin(2 * np.pi * (hours % 24 - 7) / 24) + random.normal(0, 4, len(hours))
    return {
        "airline": (np.array(AIRLINE.split(), float), 12, _calendar(calendars.MONTHS, 1)),
        "daily, a week": (
            50 + 8 * of_week + 5 * np.sin(2 * np.pi * days / 365) + weather,
            7,
            _calendar(calendars.SECONDS, 86_400),
        ),
        "hourly, day and week": (load, 24, _calendar(calendars.SECONDS, 3_600)),
        "intermittent": ((random.random(400) < 0.25) * random.poisson(6, 400).astype(float), 1, None),
        "trend": (10 + 0.3 * steps + np.cumsum(random.normal(0, 0.1, 300)) + random.normal(0, 0.8, 300), 1, None),
        "noise": (20 + random.normal(0, 3, 300), 1, None),
    }


def _calendar(unit: str, step: int) -> Calendar:
    return Calendar(unit, step, 0, "%Y-%m-%d %H:%M", "1970-01-01 00:00")


def of_tfrnn(
    values: np.ndarray, calendar: Calendar | None, seed: int, origins: np.ndarray, **settings: Any
) -> dict[str, Any]:
    """Trains with the defaults of the command; returns forecasts from the origins, and more."""
    from tfrnn.series import backtest, coverage, interval_widths

    defaults = {**presets.FORECAST_METHODS["direct"], "method": "direct", "csv": "series.csv", "seed": seed}
    config, scaling = forecast.fit(
        ForecastConfig().replace(**{**defaults, **settings}), SeriesFile(("value",), values[:, None], calendar)
    )
    start = time.perf_counter()
    trainer, batches = forecast.make_trainer(config, scaling, values[:, None])
    trainer.fit(batches, config.training.epochs)
    seconds = time.perf_counter() - start
    settings = config.series
    tested = backtest(trainer.model, scaling, values, settings.horizon, settings.season, settings.num_steps)
    middle = (scaling.train_steps + len(values)) // 2
    errors = scaling.scale(tested.predicted) - scaling.scale(tested.values)
    later = tested.origins >= middle
    known_then = tested.origins[:, None] + np.arange(settings.horizon) < middle
    widths = interval_widths(np.where(known_then[..., None], errors, np.nan), settings.interval)
    return {
        "season": settings.season,
        "seconds": seconds,
        "predicted": tested.predicted[np.searchsorted(tested.origins, origins), :, 0],
        "coverage": coverage(-widths[None] + 0 * errors[later], widths[None] + 0 * errors[later], errors[later]),
    }


def of_statsmodels(values: np.ndarray, season: int, origins: np.ndarray, horizon: int) -> np.ndarray | None:
    """Returns forecasts of exponential smoothing with a damped trend [O, K]; None if statsmodels is not installed.

    The season is added, or multiplied for a positive series, whichever has the lower AIC at the first origin.
    """
    try:
        from statsmodels.tsa.holtwinters import ExponentialSmoothing
    except ImportError:
        return None

    def fitted(known: np.ndarray, kind: str | None) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ExponentialSmoothing(
                known, trend="add", damped_trend=True, seasonal=kind, seasonal_periods=season if kind else None
            ).fit()

    kinds = [None] if season == 1 else ["add", *(["mul"] if values.min() > 0 else [])]
    best = min(kinds, key=lambda kind: fitted(values[: origins[0]], kind).aic)
    return np.array([fitted(values[:origin], best).forecast(horizon) for origin in origins])


def measure(
    values: np.ndarray, season: int, calendar: Calendar | None, seeds: int, num_origins: int, **settings: Any
) -> dict[str, Any]:
    """Returns MASE by way and steps ahead, and the rest of a row of the table."""
    train_steps = int(0.75 * len(values))
    config, _ = forecast.fit(
        ForecastConfig().replace(method="direct", csv="series.csv"), SeriesFile(("value",), values[:, None], calendar)
    )
    horizon = config.series.horizon
    origins = np.unique(np.linspace(train_steps, len(values) - horizon, num_origins).astype(int))
    later = scores.following(values, origins, horizon)
    scale = scores.naive_error(values[:train_steps], season)
    runs = [of_tfrnn(values, calendar, seed, origins, **settings) for seed in range(seeds)]
    ways = {f"tfrnn {seed}": run["predicted"] for seed, run in enumerate(runs)}
    ways |= {"persistence": scores.seasonal_naive(values, origins, horizon)}
    ways |= {"seasonal naive": scores.seasonal_naive(values, origins, horizon, season)}
    smoothed = of_statsmodels(values, season, origins, horizon)
    ways |= {} if smoothed is None else {"statsmodels": smoothed}
    parts = {"1": slice(0, 1), "half": slice(0, max(1, horizon // 2)), "all": slice(None)}
    mase = {
        way: {part: float(np.mean(np.abs(predicted - later)[:, there]) / scale) for part, there in parts.items()}
        for way, predicted in ways.items()
    }
    return {
        "horizon": horizon,
        "season_found": runs[0]["season"],
        "origins": len(origins),
        "mase": mase,
        "coverage": [run["coverage"] for run in runs],
        "seconds": [run["seconds"] for run in runs],
    }


def row_of(name: str, measured: dict[str, Any]) -> str:
    """Returns a row of the table."""
    mase = measured["mase"]
    own = [each for way, each in mase.items() if way.startswith("tfrnn")]
    cells = [name, str(measured["horizon"])]
    for part in ("1", "half", "all"):
        values = [each[part] for each in own]
        cells.append(f"{statistics.median(values):.2f} [{min(values):.2f} to {max(values):.2f}]")
    for way in ("persistence", "seasonal naive", "statsmodels"):
        cells.append(", ".join(f"{mase[way][part]:.2f}" for part in ("1", "half", "all")) if way in mase else "")
    cells += [f"{100 * statistics.mean(measured['coverage']):.0f}%", f"{statistics.median(measured['seconds']):.0f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--origins", type=int, default=12)
    parser.add_argument("--only", default="", help="a part of the names of the series to measure")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="other settings than the defaults")
    arguments = parser.parse_args()
    host.import_tensorflow_quietly()
    from tfrnn.runtime import threads

    threads.set_threads()
    settings = {name: json.loads(value) for name, value in (each.split("=") for each in arguments.set)}
    names = [
        "horizon",
        "1 step",
        "first half",
        "all",
        "persistence",
        "seasonal naive",
        "statsmodels",
        "within 80%",
        "s",
    ]
    print(f"| series | {' | '.join(names)} |")
    print(f"|---|{'---|' * len(names)}", flush=True)
    results = {}
    for name, (values, season, calendar) in make_series().items():
        if arguments.only in name:
            results[name] = measure(values, season, calendar, arguments.seeds, arguments.origins, **settings)
            print(row_of(name, results[name]), flush=True)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
