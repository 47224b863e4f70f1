"""Times and memory against n: the exponents that they were found to have, beside those of the work predicted.

An exponent is the slope of the least-squares line through log n and log of the figure, on the upper half of the
lengths: below, launches and not the work decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from math import log

from cells import PASSES, body, megabytes, ms, notes, rows

Figure = Callable[[dict], float | None]  # of a run; None where it has none


def is_growth(report: dict) -> bool:
    return len(report.get("lengths", ())) > 1


def families(report: dict) -> dict[str, list[dict]]:
    """Runs of each pattern by rising n."""
    return {name: sorted(runs, key=lambda run: run["n"]) for name, runs in _grouped(report["runs"])}


def _grouped(runs: list[dict]) -> Iterator[tuple[str, list[dict]]]:
    for name, group in groupby(sorted(runs, key=lambda run: run["pattern"]), lambda run: run["pattern"]):
        yield name, list(group)


def points(runs: list[dict], figure: Figure) -> list[tuple[int, float]]:
    """(n, figure) of the runs that have it."""
    found = [(run["n"], figure(run)) for run in runs if "racers" in run]
    return [(n, value) for n, value in found if value]


def exponent(found: list[tuple[int, float]]) -> float | None:
    """The slope on the upper half of the points; None for fewer than two."""
    upper = found[len(found) // 2 :] if len(found) > 3 else found[-2:]
    if len(upper) < 2:
        return None
    x, y = ([log(point[side]) for point in upper] for side in (0, 1))
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return slope / sum((a - mean_x) ** 2 for a in x)


def racers(runs: list[dict]) -> list[str]:
    """Ours first, then every peer that ran once."""
    return list(dict.fromkeys(["ours", *(name for run in runs for name in run.get("racers", {}))]))


def time(name: str, kind: str) -> Figure:
    """Median ms of a racer."""
    return lambda run: run["racers"][name]["ms"][kind]["median"] if name in run["racers"] else None


def memory(name: str) -> Figure:
    """Bytes that a racer takes beside the inputs."""
    return lambda run: run["racers"].get(name, {}).get("peak_bytes")


def pairs(run: dict) -> float | None:
    return run["pairs"]


def steps(run: dict) -> float | None:
    """Tiles that forward and backward visit, as the planner predicts them."""
    return run["predicted_steps"]


# ---------------------------------------------------------------- tables


def tables(report: dict, picture: str | None) -> Iterator[str]:
    """A table of exponents, the plot where there is one, and a table for each pattern."""
    found = families(report)
    head = ["pattern", "lengths", "ours: exponent fitted", "predicted: steps", "pairs", "ours: memory"]
    peers = [name for name in racers(report["runs"]) if name != "ours"]
    yield from rows([*head, *peers], [_exponents(runs, peers) for runs in found.values()])
    if picture:
        yield from ("", f"![Time against n, log-log]({picture})")
    for name, runs in found.items():
        yield from ("", f"#### {name}", "")
        yield from _family(runs)
    if said := list(notes(report["runs"])):
        yield from ("", *said)


def _exponents(runs: list[dict], peers: list[str]) -> list[str]:
    cells = [body(runs[0]), f"{runs[0]['n']:,} to {runs[-1]['n']:,}", _fitted(runs, "ours")]
    cells += [_number(exponent(points(runs, figure))) for figure in (steps, pairs, memory("ours"))]
    return cells + [_fitted(runs, peer) for peer in peers]


def _fitted(runs: list[dict], name: str) -> str:
    found = [_number(exponent(points(runs, time(name, kind)))) for kind in PASSES]
    return " / ".join(found) if all(found) else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _family(runs: list[dict]) -> Iterator[str]:
    names = racers(runs)
    titles = [title for name in names for title in (f"{name} ms", f"{name}: memory MB")]
    table = [_length(run, names) for run in runs]
    if any(exponent(points(runs, memory(name))) or _fitted(runs, name) for name in names):
        last = [cell for name in names for cell in (_fitted(runs, name), _number(exponent(points(runs, memory(name)))))]
        table.append(["exponent", "", *last])
    yield from rows(["n", "kept pairs", *titles], table)


def _length(run: dict, names: list[str]) -> list[str]:
    cells = [f"{run['n']:,}"]
    if "racers" not in run:
        return [
            *cells,
            "",
            next(word for word in ("skipped", "wrong", "failed") if word in run),
            *[""] * (2 * len(names) - 1),
        ]
    cells.append("" if run["pairs"] is None else f"{run['pairs']:,}")
    for name in names:
        facts = run["racers"].get(name)
        cells += ["", ""] if facts is None else [ms(facts), megabytes(facts["peak_bytes"])]
    return cells
