"""The short table of the project's own README: each pattern beside the fastest that was raced with it."""

from __future__ import annotations

from collections.abc import Iterator

from cells import PASSES, body, ms, pair, rows

RAW = ("reach_h100", "reach_fa4_h100", "reach_longnet_h100")  # of a pattern, the last counts
_PEERS = {"flex": "FlexAttention", "flex-flash": "FlexAttention on FA4", "sdpa": "dense, causal"}


def summary(reports: list[dict]) -> Iterator[str]:
    """Lines of Markdown.  The reports are of one device, type and head size."""
    runs = [run for report in reports for run in report["runs"] if "racers" in run]
    [(device, dtype, size)] = {
        (report["device"], run["dtype"], run["head_size"]) for report in reports for run in report["runs"]
    }
    yield f"Forward / backward in ms on an {device}: {dtype}, batch 1, heads of size {size}."
    yield ""
    last = {(run["text"], run["n"]): _row(run) for run in runs}
    yield from rows(["pattern", "n", "heads", "sparsec", "raced with", "its time", "faster by"], list(last.values()))


def _row(run: dict) -> list[str]:
    """Against the peer that takes the least for both passes."""
    ours = run["racers"]["ours"]
    peers = {name: facts for name, facts in run["racers"].items() if name != "ours"}
    name = min(peers, key=lambda each: sum(peers[each]["ms"][kind]["median"] for kind in PASSES))
    factors = {kind: peers[name]["ms"][kind]["median"] / ours["ms"][kind]["median"] for kind in PASSES}
    text = body(run).partition(": ")[2]
    return [text, f"{run['n']:,}", str(run["heads"]), ms(ours), _PEERS[name], ms(peers[name]), pair(factors, "#.3g")]
