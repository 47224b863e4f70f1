"""The cost of one pattern as people read it."""

from __future__ import annotations

from collections.abc import Iterator

from sparsec.analysis.cost import ConditionCost, Cost

_UNITS = ("", " k", " M", " G", " T", " P", " E")
_TOO_HARD = "not counted: too many pieces"

Row = tuple[str, str]  # a word that says what it is, or "" where the row above goes on, and the text


def rows(cost: Cost) -> Iterator[Row]:
    """What was counted at one length."""
    yield "pairs", number(cost.pairs)
    for part in cost.conditions:
        yield from (("", line) for line in _formula(part, len(cost.conditions) > 1))
    yield "class", cost.complexity
    yield "density", f"{percent(cost.density)} of all pairs, {percent(cost.causal_density)} of the causal ones"
    yield "tiles", _tiles(cost)
    yield "forward", _operations(cost.forward_flops, 4 * cost.head_size, cost)
    yield "backward", _operations(cost.backward_flops, 10 * cost.head_size, cost)
    yield "memory", f"{scaled(cost.bytes)}B for q, k, v, o in 16 bits and the log-sum-exp, each moved once"


def layout_rows(layouts: list[dict]) -> Iterator[Row]:
    """What the planner chooses, from the plain data of `sparsec cost --json`."""
    for each in layouts:
        name = f"heads {', '.join(map(str, each['heads']))}: " if len(layouts) > 1 else ""
        lines = [line for part in each["parts"] for line in _part(part)]
        lines += [each["alternative"]] if each["alternative"] else []
        lines += [f"the choice changes at n = {least:,}" for least in each["changes_over_at"]]
        yield "layout", f"{name}{lines[0]}"
        yield from (("", line) for line in lines[1:])


def _part(part: dict) -> Iterator[str]:
    """The layout of a part, and what it visits besides what pairs touch."""
    yield f"{part['layout']}.  {part['why']}"
    for side, (rung, why) in part["rungs"].items():
        if rung != "exact":
            visits = "every tile" if rung == "all" else "hulls of what they touch"
            yield f"tiles of {side} visit {visits}: {why}"


def _formula(part: ConditionCost, several: bool) -> list[str]:
    """One line a piece: a formula in n and where it holds."""
    heads = f"{part.heads} heads: " if several and part.heads > 1 else "1 head: " if several else ""
    pieces = part.closed_form.split("; ") if part.closed_form else ["no closed form"]
    return [f"{heads if index == 0 else ' ' * len(heads)}{piece}" for index, piece in enumerate(pieces)]


def _tiles(cost: Cost) -> str:
    if cost.tiles is None:
        return _TOO_HARD
    tiles = f"of {cost.tile[0]} x {cost.tile[1]}"
    counts = f"{cost.tiles.full:,} full, {cost.tiles.partial:,} partial, {cost.tiles.empty:,} empty"
    return f"{counts}, {tiles}; {percent(cost.wasted)} of the work in visited tiles is wasted"


def _operations(count: int | None, per_pair: int, cost: Cost) -> str:
    if count is None:
        return _TOO_HARD
    dense = per_pair * cost.heads * cost.n**2
    ratio = f", {dense / count:.3g} times less than dense" if count else ""
    return f"{scaled(count)}FLOP{ratio}"


def heads_of(cost: Cost) -> str:
    """How many heads were counted, in words."""
    return "one head" if cost.heads == 1 else f"{cost.heads} heads"


def number(count: int | None) -> str:
    """A count with its thousands apart."""
    return _TOO_HARD if count is None else f"{count:,}"


def percent(share: float | None) -> str:
    """A share in percent, three digits."""
    return "unknown" if share is None else f"{100 * share:.3g} %"


def scaled(count: float) -> str:
    """Three digits and a decimal prefix, ready for a unit."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g}{_UNITS[unit] or ' '}"
