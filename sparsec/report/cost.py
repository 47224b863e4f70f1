"""All that `sparsec cost` says about one pattern, as rows of text or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from sparsec.analysis.bound import choosing, chosen_class, chosen_count, is_bounded
from sparsec.analysis.cost import Cost
from sparsec.analysis.decoder_cache import DecoderCache, decoder_cache
from sparsec.analysis.facts import is_causal
from sparsec.analysis.reach import Layers, Reach, reach
from sparsec.ir.nodes import Pattern
from sparsec.plan.build import build
from sparsec.plan.nodes import Plan
from sparsec.plan.tiers import Device, Shape, Tier, tiers
from sparsec.report import cost_text as text
from sparsec.report.plan import against, layout_name, precisions
from sparsec.report.prediction import Speed, speed, wasted
from sparsec.report.ranks import Ranks, rank_rows
from sparsec.report.roofline import GPUS, Floor, Gpu, floors
from sparsec.report.tiers import tier_rows
from sparsec.sets import budgets
from sparsec.sets.context import allowance
from sparsec.terminal import BLUE, BOLD, painter


@dataclass(frozen=True)
class Told:
    """What there is to say; None: not asked for, or of no use."""

    cost: Cost
    gpu: str | None
    floor: dict[str, Floor] | None
    dense: Speed | None  # of self-attention
    causal: Speed | None
    caches: list[DecoderCache]  # empty for those of some data
    reach: Reach | None
    layouts: list[dict]
    inputs: tuple[str, ...] = ()  # data of the call, for which all numbers are upper bounds
    given: dict[str, str] | None = None  # data that numbers are of, by input, and how they were counted, by ""
    sharded: Ranks | None = None  # over several GPUs
    chosen: int | None = None  # pairs, at most, of all heads, by the sizes of what data of the call chooses
    chosen_class: str | None = None  # how these grow with n
    choosing: tuple[str, ...] = ()  # what it takes to choose, in words
    tiers: tuple[Tier, ...] = ()  # of kernels, on the GPU

    def to_json(self) -> dict:
        more = {
            "floor": self.floor and {"gpu": self.gpu} | {word: each.to_json() for word, each in self.floor.items()},
            "speed": self.dense and {"dense": self.dense.to_json(), "causal": self.causal and self.causal.to_json()},
            "cache": [cache.to_json() for cache in self.caches],
            "reach": self.reach and self.reach.to_json(),
            "layouts": self.layouts,
            **({"ranks": self.sharded.to_json()} if self.sharded else {}),
            "at_most_for": self.inputs,
            **({"given": {name or "how": text for name, text in self.given.items()}} if self.given else {}),
            "chosen_at_most": self.chosen,
            **({"chosen_class": self.chosen_class} if self.chosen_class else {}),
            **({"choosing": self.choosing} if self.choosing else {}),
            **({"tiers": [asdict(each) for each in self.tiers]} if self.tiers else {}),
        }
        return self.cost.to_json() | more

    def to_text(self, colour: bool = False) -> str:
        cost, paint = self.cost, painter(colour)
        heads = "one head" if cost.heads == 1 else f"{cost.heads} heads"
        lines = (f"  {paint(f'{word:<9}', BLUE)} {line}" for word, line in self._rows())
        call = text.length(cost.n, cost.queries)
        return "\n".join([f"{paint(cost.name, BOLD)} at {call}, {heads} of size {cost.head_size}", *lines])

    def _rows(self) -> Iterator[text.Row]:
        for name, told in (self.given or {}).items():
            yield ("given", f"{name}: {told}") if name else ("counts", f"of this data, {told}; the layout is of any")
        if self.inputs:
            yield "at most", f"data of the call decides: {', '.join(self.inputs)}; counts are upper bounds"
        if self.chosen is not None:
            share = self.chosen / (self.cost.heads * self.cost.n**2)
            yield (
                "chosen",
                f"at most {self.chosen:,} pairs, {text.percent(share)} of all, by the sizes of what is chosen",
            )
            yield "", f"these grow as {self.chosen_class}"
        for number, told in enumerate(self.choosing):
            yield ("choosing" if number == 0 else ""), told
        yield from text.rows(self.cost)
        if self.gpu and self.floor:
            yield from text.floor_rows(GPUS[self.gpu], self.floor)
        yield from tier_rows(self.tiers)
        if self.dense:
            yield from text.speed_rows(self.dense, self.causal)
        if self.caches:
            yield from text.cache_rows(self.cost, self.caches)
        if self.reach:
            yield from text.reach_rows(self.reach)
        if self.sharded:
            yield from rank_rows(self.sharded)
        yield from text.layout_rows(self.layouts)


def told(
    pattern: Pattern, cost: Cost, gpu: str | None, layers: Layers | None, given: dict[str, str] | None = None
) -> Told:
    """Everything about a pattern whose pairs are counted; `layers` are those to follow information through.

    Of a pattern that reads data of the call, `cost` and `layers` are those of `ir.approximate.bounded`; or `cost` is
    that of some data, of which `given` tells.
    """
    plan = build(pattern)
    chosen = None if given else _chosen(pattern, cost)
    with allowance(budgets.BESIDE):
        causal = cost.square and all(map(is_causal, pattern.conditions))
        caches = [] if given else [decoder_cache(condition) for condition in pattern.conditions]
    return Told(
        cost=cost,
        gpu=gpu,
        floor=floors(cost, GPUS[gpu]) if gpu else None,
        dense=speed(plan, cost.n, past=False) if cost.square and not given else None,
        causal=speed(plan, cost.n, past=True) if causal and not given else None,
        caches=caches,
        reach=reach(layers, cost.n) if layers else None,
        layouts=list(_layouts(plan, cost.n, cost.square)),
        inputs=() if given else tuple(dict.fromkeys(each.name.partition(".")[0] for each in pattern.inputs)),
        given=given,
        chosen=chosen,
        chosen_class=None if chosen is None else chosen_class(pattern.conditions, pattern),
        choosing=choosing(pattern),
        tiers=tuple(_tiers(plan, cost, GPUS[gpu])) if gpu else (),
    )


def _tiers(plan: Plan, cost: Cost, gpu: Gpu) -> Iterator[Tier]:
    """Of a call about one row in 16 bits."""
    queries = cost.queries
    shape = Shape(len(queries), cost.n, queries.start, cost.heads, cost.head_size)
    return tiers(plan, shape, Device(gpu.capability, gpu.processors))


def _chosen(pattern: Pattern, cost: Cost) -> int | None:
    """The most pairs of all heads, where what is chosen says how large it is."""
    if not cost.square or not is_bounded(pattern):
        return None
    with allowance(budgets.BESIDE):
        counts = [chosen_count(condition, pattern, cost.n) for condition in pattern.conditions]
    known = [count for count in counts if count is not None]
    if len(known) < len(counts):
        return None
    heads = pattern.head_conditions or (0,) * cost.heads
    total = sum(known[number] for number in heads)
    return total if cost.pairs is None or total < cost.pairs else None


def _layouts(plan: Plan, n: int, square: bool) -> Iterator[dict]:
    """What the planner chooses at n, for each distinct condition, as plain data; predictions are of self-attention."""
    for heads in plan.groups:
        variant = heads.at(n)
        with allowance(budgets.LAYOUT):
            share = wasted(heads.condition, variant.regions, n) if square else None
        yield {
            "heads": list(heads.heads),
            "regions": [
                {"layout": layout_name(region), "why": region.why, "precisions": precisions(region)}
                for region in variant.regions
            ],
            "wasted": share,
            "alternative": against(heads, variant, n) if square else "",
            "changes_over_at": [variant.from_n for variant in heads.variants[1:]],
        }
