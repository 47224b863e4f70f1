"""Draws the tables of README.md from the raw results: `python docs/benchmarks/table.py`, with nothing installed.

Each file raw/NAME.json was written by `sparsec bench --json`; what it holds is described in README.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent
BEGIN, END = "<!-- tables: drawn by table.py -->", "<!-- end of tables -->"
PASSES = ("forward", "backward")


def tables(files: list[Path]) -> str:
    """Markdown for all files, in the order of their names."""
    return "\n\n".join("\n".join(_report(path.stem, json.loads(path.read_text()))) for path in files)


def _report(name: str, report: dict) -> Iterator[str]:
    peers = list(dict.fromkeys(peer for run in report["runs"] for peer in run.get("racers", {}) if peer != "ours"))
    yield f"### {name}"
    yield ""
    yield f"{report['device']}, torch {report['versions']['torch']}, {report['time']}; raw/{name}.json.  Made by"
    yield f"`{' '.join(report['command'])}`"
    yield ""
    head = ["pattern", "n", "H/H_kv", "D", "dtype", "ours ms", "TFLOP/s", "share of the floor"]
    yield from _table(
        [*head, *(title for peer in peers for title in (f"{peer} ms", "ours is faster by"))],
        [_race(run, peers) for run in report["runs"]],
    )
    yield ""
    head = ["pattern", "ours: compile + first calls s", "ours: Python µs", "ours: memory MB"]
    for peer in peers:
        head += [f"{peer}: first calls s", f"{peer}: Python µs", f"{peer}: memory MB"]
    head += ["block mask: first s, then ms", "block mask: peak, kept MB"]
    yield from _table(head, [_setting_up(run, peers) for run in report["runs"] if "racers" in run])
    notes = [
        f"{run['pattern']}, without {peer}: {' '.join(note.split())[:200]}"
        for run in report["runs"]
        for peer, note in run.get("notes", {}).items()
    ]
    if notes:
        yield ""
        yield from (f"- {note}" for note in notes)


def _race(run: dict, peers: list[str]) -> list[str]:
    body = " ".join(run["text"].partition("=")[2].split()).replace("|", "\\|")
    cells = [f"{run['pattern']}: `{body}`", f"{run['n']:,}", f"{run['heads']}/{run['kv_heads']}"]
    cells += [str(run["head_size"]), run["dtype"]]
    if "racers" not in run:
        return [*cells, "wrong" if "wrong" in run else "failed", *[""] * (2 + 2 * len(peers))]
    ours = run["racers"]["ours"]
    share = {kind: 100 * value for kind, value in ours["floor_share"].items()}
    cells += [_ms(ours), _pair(ours["tflops"], ".3g"), _pair(share, ".0f", " %")]
    for peer in peers:
        facts = run["racers"].get(peer)
        if facts is None:
            cells += ["", ""]
            continue
        factors = {kind: facts["ms"][kind]["median"] / ours["ms"][kind]["median"] for kind in PASSES}
        cells += [_ms(facts), _pair(factors, ".2f", " x") + ("" if facts["same_pattern"] else " (causal)")]
    return cells


def _setting_up(run: dict, peers: list[str]) -> list[str]:
    ours = run["racers"]["ours"]
    compiled = sum(ours["compile_s"].values())
    cells = [run["pattern"], f"{compiled:.2f} + {_first(ours)}", _pair(ours.get("host_us", {}), ".0f")]
    cells += [_megabytes(ours["peak_bytes"])]
    mask = ["", ""]
    for peer in peers:
        facts = run["racers"].get(peer)
        if facts is None:
            cells += ["", "", ""]
            continue
        cells += [_first(facts), _pair(facts.get("host_us", {}), ".0f"), _megabytes(facts["peak_bytes"])]
        if "mask_s" in facts:
            mask = [f"{facts['mask_first_s']:.2f}, {1000 * facts['mask_s']:.1f}"]
            mask += [f"{_megabytes(facts['mask_peak_bytes'])}, {_megabytes(facts['mask_bytes'])}"]
    return cells + mask


def _table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |"


def _ms(facts: dict) -> str:
    return _pair({kind: facts["ms"][kind]["median"] for kind in PASSES}, "#.3g")


def _first(facts: dict) -> str:
    return f"{facts['first_forward_s']:.2f} + {facts['first_backward_s']:.2f}"


def _megabytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:,.1f}"


def _pair(values: dict, form: str, unit: str = "") -> str:
    """Forward / backward."""
    return " / ".join(format(values[kind], form) for kind in PASSES) + unit if values else ""


def main() -> None:
    page = FOLDER / "README.md"
    before, _, rest = page.read_text().partition(BEGIN)
    drawn = tables(sorted((FOLDER / "raw").glob("*.json")))
    page.write_text(f"{before}{BEGIN}\n\n{drawn}\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
