"""Draws time and memory against n, log-log, as plots/NAME.svg and .png: `python docs/benchmarks/plot.py [FILE ...]`.

Without arguments, of all raw files with several lengths, and plots/speed.svg, the chart to the short table.  Needs
matplotlib: `pip install -e '.[bench]'`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import growth
import speed
from cells import PASSES, definition

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOLDER = Path(__file__).parent
_COLOURS = {
    "ours": "#0072b2",
    "flex": "#d55e00",
    "flex-flash": "#cc79a7",
    "sdpa": "#595959",
    "sdpa-full": "#999999",
    "fa4": "#009e73",
    "fa4-deterministic": "#56b4e9",
    "cudnn": "#e69f00",
    "plain": "#7fb8d8",
    "nondeterministic": "#004b7a",
}  # told apart by everyone
_MARKS = {"ours": "o", "flex": "s", "flex-flash": "^", "sdpa": "x", "sdpa-full": "+"}
_MARKS |= {"fa4": "v", "fa4-deterministic": "<", "cudnn": "D", "plain": ".", "nondeterministic": "1"}
_PANELS: dict[str, tuple[str, Callable[[str], growth.Figure]]] = {
    "forward": ("ms", lambda name: growth.time(name, "forward")),
    "backward": ("ms", lambda name: growth.time(name, "backward")),
    "memory": ("GB", lambda name: lambda run: (growth.memory(name)(run) or 0) / 1e9 or None),
}


def draw(report: dict) -> Figure:
    """One row of panels for each pattern with times: forward, backward, and memory where it was measured."""
    from matplotlib.figure import Figure

    found = {name: runs for name, runs in growth.families(report).items() if any("racers" in run for run in runs)}
    panels = [title for title, (_, of) in _PANELS.items() if growth.points(report["runs"], of("ours"))]
    figure = Figure(figsize=(4.2 * len(panels), 3.1 * len(found)), layout="constrained")
    axes = figure.subplots(len(found), len(panels), squeeze=False)
    for row, (name, runs) in zip(axes, found.items(), strict=True):
        for panel, title in zip(row, panels, strict=True):
            unit, of = _PANELS[title]
            _racers(panel, runs, of)
            if title in PASSES:
                _predicted(panel, runs, of("ours"))
            panel.grid(True, alpha=0.3)
            panel.legend(fontsize=7)
            panel.set(title=f"{name}, {title}", xlabel="n", ylabel=unit)
    figure.suptitle(f"{report['device']}, torch {report['versions']['torch']}, {report['time'][:10]}", fontsize=9)
    return figure


def _racers(panel: Axes, runs: list[dict], of: Callable[[str], growth.Figure]) -> None:
    """A line a racer, with the exponent of its upper half."""
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    for name in growth.racers(runs):
        if found := growth.points(runs, of(name)):
            slope = growth.exponent(found)
            label = name if slope is None else f"{name}, n^{slope:.2f}"
            panel.plot(*zip(*found, strict=True), label=label, color=_COLOURS[name], marker=_MARKS[name], markersize=4)


def _predicted(panel: Axes, runs: list[dict], of: growth.Figure) -> None:
    """The predicted work, drawn through our last point."""
    ours, work = growth.points(runs, of), dict(growth.points(runs, growth.steps))
    slope = growth.exponent(list(work.items()))
    if ours and slope is not None:
        n, value = ours[-1]
        line = [(length, value * steps / work[n]) for length, steps in work.items()]
        label = f"predicted work, n^{slope:.2f}"
        panel.plot(*zip(*line, strict=True), label=label, color="black", linestyle=":", linewidth=1)


def draw_speed(reports: list[dict]) -> Figure:
    """Two bars for each pattern: how many times as long the fastest peer took, forward and backward."""
    from matplotlib.figure import Figure

    races = speed.races(reports)[::-1]  # bars are stacked from below
    figure = Figure(figsize=(9.0, 0.62 * len(races) + 1.2), layout="constrained")
    axes = figure.subplots()
    for offset, (kind, colour) in zip((0.2, -0.2), zip(PASSES, ("#0072b2", "#7fb8d8"), strict=True), strict=True):
        places, factors = [place + offset for place in range(len(races))], [race.factors[kind] for race in races]
        axes.bar_label(axes.barh(places, factors, 0.38, color=colour, label=kind), fmt=" {:#.3g}", fontsize=8)
    axes.set_yticks(range(len(races)), [_named(race) for race in races], fontsize=8)
    axes.set_xscale("log")
    all_factors = [factor for race in races for factor in race.factors.values()]
    axes.set_xlim(min(1.0, *all_factors) / 1.25, 2 * max(all_factors))
    axes.axvline(1, color="#404040", linewidth=0.8)
    axes.xaxis.set_major_formatter("{x:g} x")
    axes.legend(fontsize=8, loc="lower right")
    axes.set_xlabel("sparsec is faster by")
    axes.set_title(speed.conditions(reports), fontsize=9)
    return figure


def _named(race: speed.Race) -> str:
    """The pattern on a line of its own, shortened, above whom it was raced with."""
    text = definition(race.run)
    shortened = text if len(text) <= 58 else text[:56] + " …"
    return f"{shortened}\nn = {race.run['n']:,} on an {race.device}, against {race.rival}"


def save(figure: Figure, stem: Path) -> None:
    """STEM.svg and STEM.png; equal figures give equal bytes."""
    import matplotlib

    stem.parent.mkdir(exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "sparsec", "svg.fonttype": "none"}):
        figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})
        figure.savefig(stem.with_suffix(".png"), dpi=80)


def main(names: list[str]) -> None:
    if any(name.startswith("-") for name in names):
        sys.exit(__doc__)
    files = [Path(name) for name in names] or sorted((FOLDER / "raw").glob("*.json"))
    for path in files:
        try:
            report = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            sys.exit(f"error: {path}: {error}")
        if growth.is_growth(report) and any("racers" in run for run in report["runs"]):
            save(draw(report), FOLDER / "plots" / path.stem)
            print(FOLDER / "plots" / f"{path.stem}.svg")
        elif names:
            sys.exit(f"error: {path}: no times at several lengths; `sparsec bench --growth` makes them")
    if not names and (reports := speed.read(FOLDER / "raw")):
        save(draw_speed(reports), FOLDER / "plots" / "speed")
        print(FOLDER / "plots" / "speed.svg")


if __name__ == "__main__":
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        sys.exit("error: plots need matplotlib: pip install -e '.[bench]'")
    main(sys.argv[1:])
