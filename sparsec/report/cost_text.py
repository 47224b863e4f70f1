"""The cost of one pattern as people read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from sparsec.analysis.cost import Cost
from sparsec.analysis.decoder_cache import DecoderCache
from sparsec.analysis.reach import Reach
from sparsec.report.prediction import Speed
from sparsec.report.roofline import Floor, Gpu

_UNITS = (" n", " u", " m", " ", " k", " M", " G", " T", " P", " E")  # from a billionth on
_TOO_HARD = "not counted: too many pieces"

Row = tuple[str, str]  # a word that says what it is, or "" where the row above goes on, and the text


def rows(cost: Cost) -> Iterator[Row]:
    """What was counted at one length."""
    yield "pairs", number(cost.pairs)
    for part in cost.conditions:
        if formula := part.closed_form or "no closed form" * cost.square:
            yield from (("", line) for line in _of_heads(part.heads, len(cost.conditions) > 1, _pieces(formula)))
    if cost.complexity is not None:
        yield "class", cost.complexity
    yield "density", f"{percent(cost.density)} of all pairs, {percent(cost.causal_density)} of the causal ones"
    yield "tiles", _tiles(cost)
    if sizes := ", ".join(f"{percent(wasted)} with {side} x {side}" for side, wasted in cost.tile_sizes):
        yield "", f"wasted by size: {sizes}"
    yield "forward", _operations(cost.forward_flops, 4 * cost.head_size, cost)
    yield "backward", _operations(cost.backward_flops, 10 * cost.head_size, cost)
    if (scores := cost.score_flops) and any(scores):
        yield "scores", f"{scaled(scores[0])}FLOP forward and {scaled(scores[1])}FLOP backward beside these products"
    yield "memory", f"{scaled(cost.bytes)}B for q, k, v, o in 16 bits and the log-sum-exp, each moved once"
    if cost.pair_bytes:
        yield "", f"{scaled(cost.pair_bytes)}B for inputs with a number for each pair, and as much for their gradients"


def floor_rows(gpu: Gpu, floors: dict[str, Floor]) -> Iterator[Row]:
    """How long one sequence takes at least on a GPU."""
    word = "floor"
    for name, floor in floors.items():
        bound = "operations" if floor.pairs is not None and floor.pairs >= floor.bytes else "bytes"
        whole = f"; {scaled(floor.least_tiled)}s with whole tiles of 64 x 64" if floor.least_tiled is not None else ""
        yield word, f"{name} {scaled(floor.least)}s, bound by {bound}{whole}"
        word = ""
    yield "", f"no prediction: {scaled(gpu.flops)}FLOP/s and {scaled(gpu.bandwidth)}B/s, {gpu.source}"


def speed_rows(dense: Speed, causal: Speed | None) -> Iterator[Row]:
    """What the cost models say beside dense attention."""
    yield "speed", _speed(dense, "dense")
    if causal is not None:
        yield "", _speed(causal, "causal dense")
    yield "", "forward and backward, by prediction for an H100 and for a thread of a CPU"


def cache_rows(cost: Cost, caches: Sequence[DecoderCache]) -> Iterator[Row]:
    """What a decoder keeps, once for all conditions of `cost` that keep as much."""
    heads: Counter[tuple[str, ...]] = Counter()
    for part, cache in zip(cost.conditions, caches, strict=True):
        heads[_cache(cache), *(_pieces(cache.form.text) if cache.form and cache.tight else [])] += part.heads
    word = "cache"
    for lines, number in heads.items():
        for line in _of_heads(number, len(heads) > 1, lines):
            yield word, line
            word = ""


def reach_rows(reach: Reach) -> Iterator[Row]:
    """How far the layers of a model see through each other."""
    layers = "1 layer" if reach.depth == 1 else f"{reach.depth} layers"
    if reach.pairs is None:
        yield "reach", f"after {layers} not known at this length"
    else:
        yield "reach", f"after {layers} the last position depends on {reach.last:,} of {reach.n:,}"
        ahead = f" and {reach.ahead:,} ahead" if reach.ahead else ""
        pairs = f"{reach.pairs:,} of {reach.all_pairs:,}{' causal' * reach.causal} pairs"
        yield "", f"{pairs} are reached, {reach.back:,} back{ahead} at most"
    yield "", _settled(reach)


def layout_rows(layouts: list[dict]) -> Iterator[Row]:
    """What the planner chooses, from the plain data of `sparsec cost --json`."""
    for each in layouts:
        name = f"heads {', '.join(map(str, each['heads']))}: " if len(layouts) > 1 else ""
        lines = [line for region in each["regions"] for line in _region(region)]
        if each["wasted"] is not None:
            lines.append(f"in tiles of 64 x 64 of these layouts {percent(each['wasted'])} of the work is wasted")
        lines += [each["alternative"]] if each["alternative"] else []
        lines += [f"the choice changes at n = {least:,}" for least in each["changes_over_at"]]
        yield "layout", f"{name}{lines[0]}"
        yield from (("", line) for line in lines[1:])


_VISITS = {
    "hull": "hulls of what they touch",
    "all": "every tile",
    "list": "what they touch, from a list made for the length",
}


def _region(region: dict) -> Iterator[str]:
    """The layout of a region, and what it visits besides what pairs touch."""
    yield f"{region['layout']}.  {region['why']}"
    for side, (precision, why) in region["precisions"].items():
        if precision not in ("exact", "groups"):
            yield f"tiles of {side} visit {_VISITS[precision]}: {why}"


def _of_heads(heads: int, several: bool, lines: Sequence[str]) -> list[str]:
    """Lines about some heads, marked with how many they are where they are not all."""
    mark = "" if not several else f"{heads} heads: " if heads > 1 else "1 head: "
    return [f"{mark if index == 0 else ' ' * len(mark)}{line}" for index, line in enumerate(lines)]


def _pieces(formula: str) -> list[str]:
    """One line a piece: a formula in n and where it holds."""
    return formula.split("; ")


def _speed(speed: Speed, dense: str) -> str:
    from_where = "at no length" if speed.pays_from is None else f"faster from n = {speed.pays_from:,} on"
    return f"{speed.ratio:.3g} times that of {dense}, {from_where}; {speed.cpu_ratio:.3g} times on a CPU"


def _cache(cache: DecoderCache) -> str:
    if cache.bounded:
        return f"a decoder keeps at most {cache.most:,} keys{'' if cache.tight else ', a bound from above'}"
    if cache.bounded is None:
        return "a decoder keeps up to n keys: not known which are not seen again"
    return "a decoder keeps more keys the longer the text"


def _settled(reach: Reach) -> str:
    if reach.settled is None or reach.full is None:
        return "the depth at which all is reached: not known"
    low, high = reach.settled
    depth = f"{low:,}" if low == high else f"between {low:,} and {high:,}"
    if not reach.full:
        return f"depth {depth} adds the last pair, and some are never reached"
    return f"every {'earlier ' * reach.causal}position is reached from depth {depth} on"


def _tiles(cost: Cost) -> str:
    if cost.tiles is None:
        return _TOO_HARD
    tiles = f"of {cost.tile[0]} x {cost.tile[1]}"
    counts = f"{cost.tiles.full:,} full, {cost.tiles.partial:,} partial, {cost.tiles.empty:,} empty"
    return f"{counts}, {tiles}; {percent(cost.wasted)} of the work in visited tiles is wasted"


def _operations(count: int | None, per_pair: int, cost: Cost) -> str:
    if count is None:
        return _TOO_HARD
    dense = per_pair * cost.heads * len(cost.queries) * cost.n
    ratio = f", {dense / count:.3g} times less than dense" if count else ""
    return f"{scaled(count)}FLOP{ratio}"


def in_all_layers(costs: Sequence[tuple[int, Cost]]) -> str:
    """What the layers of a model cost together, from (layers, the cost of one of them)."""
    layers = sum(number for number, _ in costs)
    if any(cost.pairs is None for _, cost in costs):
        return f"in all {layers} layers: {_TOO_HARD}"
    pairs, forward, backward = (
        sum(number * getattr(cost, name) for number, cost in costs)
        for name in ("pairs", "forward_flops", "backward_flops")
    )
    return f"in all {layers} layers: {pairs:,} pairs, {scaled(forward)}FLOP forward, {scaled(backward)}FLOP backward"


def length(n: int, queries: range) -> str:
    """The numbers of a call: the keys, and the queries where they are not the same positions."""
    return f"n = {n:,}" if queries == range(n) else f"n = {n:,}, queries {queries[0]:,} to {queries[-1]:,}"


def number(count: int | None) -> str:
    """A count with its thousands apart."""
    return _TOO_HARD if count is None else f"{count:,}"


def percent(share: float | None) -> str:
    """A share in percent, three digits."""
    return "unknown" if share is None else f"{100 * share:.3g} %"


def scaled(value: float) -> str:
    """Three digits and a decimal prefix, ready for a unit."""
    value, unit = value * 1e9, 0 if value else 3
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g}{_UNITS[unit]}"
