"""The short table, and what its chart shows: each pattern beside the fastest that was raced with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cells import PASSES, definition, documents, ms, pair, rows

RAW = (
    "reach_h200",
    "reach_fa4_h200",
    "reach_longnet_h100",
    "sliding_tiles_h100",
    "documents_h100",
    "packed_h200",
    "windows_h200",
    "longformer_fa4_h200",
    "packed_fa4_h200",
)  # of a pattern, the last counts
_PEERS = {"flex": "FlexAttention", "flex-flash": "FlexAttention on FA4", "sdpa": "dense, causal", "sdpa-full": "dense"}
_PEERS |= {"flex-mask": "FlexAttention, with its mask", "varlen": "torch's varlen", "nested": "torch's nested"}
_PEERS |= {"fa4": "FlashAttention-4", "fa4-deterministic": "FlashAttention-4, deterministic", "cudnn": "cuDNN"}
_PEERS |= {"flash-attn": "flash-attn's varlen", "plain": "ours, in the plain tier"}


@dataclass(frozen=True)
class Race:
    """A pattern's run, the peer that took the least for both passes, and the GPU of both."""

    run: dict
    peer: str
    device: str

    @property
    def rival(self) -> str:
        """The peer as readers call it."""
        return _PEERS[self.peer]

    @property
    def factors(self) -> dict[str, float]:
        """By pass, how many times as long the peer took."""
        ours, theirs = (self.run["racers"][name]["ms"] for name in ("ours", self.peer))
        return {kind: theirs[kind]["median"] / ours[kind]["median"] for kind in PASSES}


def read(folder: Path) -> list[dict]:
    """The reports that the table is drawn from, of those in the folder."""
    return [json.loads(path.read_text()) for name in RAW if (path := folder / f"{name}.json").exists()]


def races(reports: list[dict]) -> list[Race]:
    """One for each pattern and length."""
    runs = [(run, report["device"]) for report in reports for run in report["runs"] if "racers" in run]
    made = [Race(run, _fastest(run["racers"]), _card(device)) for run, device in runs]
    return list({(race.run["text"], race.run["n"], bool(documents(race.run))): race for race in made}.values())


def _card(device: str) -> str:
    """NVIDIA H100 80GB HBM3 as H100."""
    return device.removeprefix("NVIDIA ").split()[0]


def _fastest(racers: dict[str, dict]) -> str:
    peers = (name for name in racers if name not in ("ours", "nondeterministic"))
    return min(peers, key=lambda name: sum(racers[name]["ms"][kind]["median"] for kind in PASSES))


def conditions(reports: list[dict]) -> str:
    """What all the reports have in common: they are of one type and head size."""
    [(dtype, size)] = {(run["dtype"], run["head_size"]) for report in reports for run in report["runs"]}
    return f"{dtype}, batch 1, heads of size {size}"


def summary(reports: list[dict]) -> Iterator[str]:
    """Lines of Markdown."""
    yield f"Forward / backward in ms on the GPU named, {conditions(reports)}."
    yield ""
    head = ["pattern", "n", "heads", "on", "sparsec", "raced with", "its time", "faster by"]
    yield from rows(head, [_row(race) for race in races(reports)])


def _row(race: Race) -> list[str]:
    run, racers = race.run, race.run["racers"]
    text = f"`{definition(run)}`".replace("|", "\\|") + documents(run)
    sizes = [f"{run['n']:,}", str(run["heads"]), race.device]
    return [text, *sizes, ms(racers["ours"]), race.rival, ms(racers[race.peer]), pair(race.factors, "#.3g")]
