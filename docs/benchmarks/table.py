"""Draws the tables of README.md, and the short one there, on the home page and in the project's README, from the raw
results: `python docs/benchmarks/table.py`, with nothing installed.

Each file raw/NAME.json was written by `sparsec bench --json`; what it holds is described in README.md.  Plots of growth
and of speed are drawn before, by plot.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import content
import data
import growth
import host
import scores
import speed
import training
from cells import PASSES, body, documents, megabytes, ms, notes, pair, rows

FOLDER = Path(__file__).parent
TABLES = "<!-- tables: drawn by docs/benchmarks/table.py -->", "<!-- end of tables -->"
SHARDED = "<!-- sharded: drawn by docs/benchmarks/table.py -->", "<!-- end of sharded -->"
TRAINING = "<!-- training: drawn by docs/benchmarks/table.py -->", "<!-- end of training -->"
MISTRAL = "<!-- mistral: drawn by docs/benchmarks/table.py -->", "<!-- end of mistral -->"
SUMMARY = "<!-- speed: drawn by docs/benchmarks/table.py -->", "<!-- end of speed -->"


def tables(files: list[Path]) -> str:
    """Markdown for all files, the newest first."""
    reports = [(path.stem, json.loads(path.read_text())) for path in files]
    reports.sort(key=lambda each: each[1]["time"], reverse=True)
    return "\n\n".join("\n".join(_report(*each)) for each in reports)


def _report(name: str, report: dict) -> Iterator[str]:
    yield f"### {_title(report)} ({name})"
    yield ""
    yield f"{report['device']}, torch {report['versions']['torch']}, {report['time']}; raw/{name}.json.  Made by"
    yield f"`{' '.join(report['command'])}`"
    yield ""
    if scores.is_scores(report):
        yield from scores.tables(report)
    elif content.is_content(report):
        yield from content.tables(report)
    elif data.is_data(report):
        yield from data.tables(report)
    elif host.is_host(report):
        yield from host.tables(report)
    elif growth.is_growth(report):
        picture = f"plots/{name}.svg"
        yield from growth.tables(report, picture if (FOLDER / picture).exists() else None)
    else:
        yield from _races(report)


def _title(report: dict) -> str:
    """What was measured, in words."""
    if scores.is_scores(report):
        setting = report["setting"]
        return f"Scores at {setting['n']:,} keys, {setting['heads']} heads of size {setting['head_size']}"
    if content.is_content(report):
        return "Sets chosen by content"
    if data.is_data(report):
        return "Padded batches and question tokens"
    if host.is_host(report):
        setting = report["setting"]
        return f"The host's time at {setting['n']:,} keys, {setting['heads']} heads of size {setting['head_size']}"
    if growth.is_growth(report):
        lengths = report["lengths"]
        return f"Growth from {lengths[0]:,} to {lengths[-1]:,} keys"
    shapes = {(run["n"], run["heads"], run["kv_heads"], run["head_size"]) for run in report["runs"]}
    n, heads, kv_heads, size = max(shapes)
    shared = f" sharing {kv_heads} of keys" if kv_heads < heads else ""
    return f"{n:,} keys{documents(report['setting'])}, {heads} head{'s' if heads > 1 else ''} of size {size}{shared}"


def _races(report: dict) -> Iterator[str]:
    peers = list(dict.fromkeys(peer for run in report["runs"] for peer in run.get("racers", {}) if peer != "ours"))
    head = ["pattern", "n", "H/H_kv", "D", "dtype", "ours ms", "TFLOP/s", "share of the floor"]
    yield from rows(
        [*head, *(title for peer in peers for title in (f"{peer} ms", "ours is faster by"))],
        [_race(run, peers) for run in report["runs"]],
    )
    yield ""
    head = ["pattern", "ours: compile + first calls s", "ours: Python µs, without gradients", "ours: memory MB"]
    for peer in peers:
        head += [f"{peer}: first calls s", f"{peer}: Python µs, without gradients", f"{peer}: memory MB"]
    head += ["block mask: first s, then ms", "block mask: peak, kept MB"]
    yield from rows(head, [_setting_up(run, peers) for run in report["runs"] if "racers" in run])
    if said := list(notes(report["runs"])):
        yield from ("", *said)


def _race(run: dict, peers: list[str]) -> list[str]:
    cells = [body(run), f"{run['n']:,}", f"{run['heads']}/{run['kv_heads']}"]
    cells += [str(run["head_size"]), run["dtype"]]
    if "racers" not in run:
        return [*cells, "wrong" if "wrong" in run else "failed", *[""] * (2 + 2 * len(peers))]
    ours = run["racers"]["ours"]
    share = {kind: 100 * value for kind, value in ours["floor_share"].items()}
    cells += [ms(ours), pair(ours["tflops"], ".3g"), pair(share, ".0f", " %")]
    for peer in peers:
        facts = run["racers"].get(peer)
        if facts is None:
            cells += ["", ""]
            continue
        factors = {kind: facts["ms"][kind]["median"] / ours["ms"][kind]["median"] for kind in PASSES}
        cells += [ms(facts), pair(factors, ".2f", " x") + _dense(run, peer, facts)]
    return cells


def _dense(run: dict, peer: str, facts: dict) -> str:
    """Which dense attention a peer is, and how many times faster than it both passes together should be."""
    words = [] if facts["same_pattern"] else ["full" if peer == "sdpa-full" else "causal"]
    if "predicted_steps" in facts and run["predicted_steps"]:
        words.append(f"predicted {facts['predicted_steps'] / run['predicted_steps']:.2f}")
    return f" ({', '.join(words)})" if words else ""


def _setting_up(run: dict, peers: list[str]) -> list[str]:
    ours = run["racers"]["ours"]
    compiled = sum(ours["compile_s"].values())
    cells = [run["pattern"], f"{compiled:.2f} + {_first(ours)}", _host(ours)]
    cells += [megabytes(ours["peak_bytes"])]
    mask = ["", ""]
    for peer in peers:
        facts = run["racers"].get(peer)
        if facts is None:
            cells += ["", "", ""]
            continue
        cells += [_first(facts), _host(facts), megabytes(facts["peak_bytes"])]
        if "mask_s" in facts:
            mask = [f"{facts['mask_first_s']:.2f}, {1000 * facts['mask_s']:.1f}"]
            mask += [f"{megabytes(facts['mask_peak_bytes'])}, {megabytes(facts['mask_bytes'])}"]
    return cells + mask


def _host(facts: dict) -> str:
    """Microseconds of Python: forward / backward with gradients, and forward without, where that was measured."""
    without = facts.get("inference_us")
    return pair(facts.get("host_us", {}), ".0f") + (f", {without:.0f}" if without else "")


def _first(facts: dict) -> str:
    return f"{facts['first_forward_s']:.2f} + {facts['first_backward_s']:.2f}"


def sharded(report: dict) -> Iterator[str]:
    """A sequence over several GPUs beside one, and beside torch's own, as sharded.py timed them."""
    setting = report["setting"]
    yield f"On {report['ranks']} {report['device']}, n = {setting['n']:,}, {setting['heads']} heads of size"
    yield f"{setting['head_size']}, {setting['dtype'].removeprefix('torch.')}, forward and backward in ms:"
    yield ""
    body, peers = [], []
    for run in report["sharded"]:
        ms = run["medians"]
        if "one" in ms:
            times = (f"{ms[name]:,.4g}" for name in ("one", "sharded", "sharded, nothing sent"))
            text = run["text"].replace("|", "\\|")
            body.append([f"`{text}`", run["layout"], *times, f"{run['times_the_speed_of_one']:.2f}"])
        else:
            peers.append((run["text"], ms["sharded"], next(ms[name] for name in ms if name != "sharded")))
    head = ["pattern", "layout", "one GPU", f"{report['ranks']} GPUs", "with nothing sent", "times as fast as one"]
    yield from rows(head, body)
    for text, ours, theirs in peers:
        yield ""
        yield f"torch's own context parallelism of `{text}` took {theirs:,.0f} ms in the same run, beside {ours:,.0f}."


def main() -> None:
    raw = FOLDER / "raw"
    if (several := raw / "sharded" / "h100x2.json").exists():
        page = FOLDER.parent / "howto" / "shard.md"
        _draw(page, SHARDED, "\n".join(sharded(json.loads(several.read_text()))))
    if runs := training.read(raw / "training"):
        _draw(FOLDER.parent / "howto" / "train.md", TRAINING, "\n".join(training.table(runs)))
    if files := sorted((raw / "mistral").glob("*.json")):
        reports = [json.loads(path.read_text()) for path in files]
        _draw(FOLDER.parent / "howto" / "train.md", MISTRAL, "\n".join(training.mistral(reports)).rstrip())
    _draw(FOLDER / "README.md", TABLES, tables(sorted(raw.glob("*.json"))))
    if found := speed.read(raw):
        for page in (FOLDER / "README.md", FOLDER.parent / "index.md", FOLDER.parents[1] / "README.md"):
            _draw(page, SUMMARY, "\n".join(speed.summary(found)))


def _draw(page: Path, marks: tuple[str, str], drawn: str) -> None:
    """Put what was drawn between the marks of a page."""
    begin, end = marks
    before, _, rest = page.read_text().partition(begin)
    page.write_text(f"{before}{begin}\n\n{drawn}\n\n{end}{rest.partition(end)[2]}")


if __name__ == "__main__":
    main()
