"""What a sequence over several GPUs costs: keys that travel, how work is spread, and the least time that both take."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from sparsec.analysis.any_data import for_any_data
from sparsec.analysis.closed_form import number_of
from sparsec.analysis.cost import Cost
from sparsec.analysis.numbers import Uncounted
from sparsec.analysis.sharding import Shards, balance, chosen_layout, split
from sparsec.ir import nodes as ir
from sparsec.ir.approximate import bounded
from sparsec.report.cost_text import Row, number, scaled
from sparsec.report.roofline import GPUS, floors
from sparsec.sets.touched import received


@dataclass(frozen=True, slots=True)
class Link:
    """What a GPU sends to others in bytes a second, and receives at the same time."""

    title: str
    bandwidth: dict[str, float]  # by GPU; "" for all others
    source: str


LINKS = {
    "nvlink": Link("NVLink", {"a100": 300e9, "h100": 450e9, "h200": 450e9, "b200": 900e9}, "data sheets of the GPUs"),
    "ib": Link("InfiniBand", {"": 50e9}, "NDR, 400 Gb/s for each GPU"),
}


@dataclass(frozen=True, slots=True)
class Ranks:
    """A pattern over several ranks; keys are those of all key heads, of which each query head has its own.

    A key is one key and one value. Backward, as many gradients of both go back, and no key travels again.
    """

    layout: str
    gpu: str | None
    link: str
    held: tuple[int, ...]  # positions of each rank
    receives: tuple[int, ...]  # keys that each rank gets
    sends: tuple[int, ...]
    gathered: tuple[int, ...]  # keys that all-gather or a ring would bring it
    bytes_of_key: int  # a key and a value in 16 bits
    exact: bool  # no key travels that is not needed
    busiest: float | None  # its work over the mean
    formula: str | None  # keys that a rank in the middle gets, of m positions
    compute: float | None  # seconds of the busiest rank's forward pass, at least
    exchange: float | None  # seconds of the exchange before it, at least
    whole: float | None  # seconds on one GPU, at least

    @property
    def scaling(self) -> float | None:
        """How many times as fast as one GPU, by these floors, the exchange hidden behind what needs none."""
        if self.compute is None or self.exchange is None or self.whole is None:
            return None
        return self.whole / max(self.compute, self.exchange)

    def to_json(self) -> dict:
        """Everything as plain data."""
        return asdict(self) | {"scaling": self.scaling}


def ranks(pattern: ir.Pattern, cost: Cost, count: int, layout: str, gpu: str | None, link: str) -> Ranks:
    """The cost of a pattern over `count` ranks at the length of `cost`; `layout` as of `sparsec.distributed.shard`."""
    asked, pattern, n = for_any_data(pattern), bounded(pattern), cost.n
    layout = chosen_layout(pattern, n, count) if layout == "auto" else layout
    try:
        shares = split(layout, n, count, pattern)
    except Uncounted:
        layout, shares = "contiguous", split("contiguous", n, count, pattern)
    shards = Shards(asked, (0, n), shares)
    heads = [(number,) for number in asked.head_conditions] or [(0,)] * (cost.heads or 1)
    traffic, held = shards.traffic(heads), tuple(map(shards.size, range(count)))
    busiest = balance(pattern, n, shares)
    least = floors(cost, GPUS[gpu])["forward"].least if gpu else None
    rate = LINKS[link].bandwidth.get(gpu or "", LINKS[link].bandwidth.get("")) if gpu else None
    bytes_of_key = 2 * 2 * cost.head_size
    most = int(max(traffic.sum(0).max(), traffic.sum(1).max())) * bytes_of_key
    return Ranks(
        layout=layout,
        gpu=gpu,
        link=link,
        held=held,
        receives=_numbers(traffic.sum(1)),
        sends=_numbers(traffic.sum(0)),
        gathered=tuple((n - own) * len(heads) for own in held),
        bytes_of_key=bytes_of_key,
        exact=shards.exact() and not asked.inputs,
        busiest=busiest,
        formula=_formula(asked, count) if layout == "contiguous" else None,
        compute=least * busiest / count if least is not None and busiest is not None else None,
        exchange=most / rate if rate else None,
        whole=least,
    )


def _numbers(x: np.ndarray) -> tuple[int, ...]:
    return tuple(map(int, x))


def _formula(pattern: ir.Pattern, count: int) -> str | None:
    """Keys that the rank in the middle gets of m positions a rank; of patterns that are the same for all heads."""
    [condition, *others] = pattern.conditions
    if others or ir.leaves(condition):
        return None
    form = number_of(lambda: received(condition, count // 2, count))
    return re.sub(r"\bn\b", "m", form.text) if form else None


def rank_rows(found: Ranks) -> Iterator[Row]:
    """As people read it."""
    count, most = len(found.held), max(found.receives)
    even = "" if found.busiest is None else f"; the busiest has {found.busiest:.3g} times the mean work"
    sizes = (
        number(found.held[0]) if len({*found.held}) == 1 else f"{number(min(found.held))} to {number(max(found.held))}"
    )
    yield "ranks", f"{count}, {found.layout}, {sizes} positions each{even}"
    mean = sum(found.receives) / count
    bound = "" if found.exact else "at most "
    yield (
        "receives",
        f"{bound}{number(most)} keys and values, {mean:,.0f} in the mean: {scaled(most * found.bytes_of_key)}B",
    )
    if found.formula:
        for line in found.formula.split("; "):
            yield "", f"{line}, in the middle, of m positions a rank"
    gathered = max(found.gathered)
    times = f", {gathered / most:.3g} times as much" if most else ""
    yield "", f"all-gather and rings: {number(gathered)}, {scaled(gathered * found.bytes_of_key)}B{times}"
    yield "sends", f"{number(max(found.sends))} at most; backward, gradients of both come back the same way"
    if found.compute is not None:
        words = f"forward {scaled(found.compute)}s of products on the busiest rank"
        if found.exchange is not None:
            words += f", {scaled(found.exchange)}s of exchange by {LINKS[found.link].title}"
        yield "scaling", words
        if found.scaling is not None:
            yield "", f"{found.scaling:.3g} times one GPU by these floors, the exchange hidden behind own keys"
