"""In which tier of kernels a pattern will run on a GPU, as people read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sparsec.plan.tiers import Tier
from sparsec.report.cost_text import Row


def tier_rows(tiers: Sequence[Tier]) -> Iterator[Row]:
    """One row for each pass, or for several with the same answer."""
    several = len({each.heads for each in tiers}) > 1
    told: dict[tuple[tuple[int, ...], str], list[str]] = {}
    for each in tiers:
        told.setdefault((each.heads, _answer(each)), []).append(f"{each.kind} {each.kernel}".strip())
    word = "tier"
    for (heads, answer), passes in told.items():
        whose = f"heads {', '.join(map(str, heads))}: " if several else ""
        yield word, f"{whose}{' and '.join(passes)}: {answer}"
        word = ""


def _answer(tier: Tier) -> str:
    if tier.forced:
        return f"{_NAMES[tier.tier]}, as SPARSEC_TIER says"
    if tier.dropout_plain:
        return f"{_NAMES['hopper']}; with dropout {_NAMES['plain']}"
    if not tier.why:
        return _NAMES[tier.tier]
    if not tier.can:
        return f"{_NAMES['plain']}; those for Hopper need {tier.why}"
    if tier.from_heads:
        return f"{_NAMES['plain']}; those for Hopper are faster from {tier.from_heads} heads on, of all rows together"
    return f"{_NAMES['plain']}; those for Hopper are faster only with {tier.why}"


_NAMES = {"plain": "plain kernels", "hopper": "kernels for Hopper"}
