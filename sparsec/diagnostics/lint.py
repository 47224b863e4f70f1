"""SP09xx: what a set amounts to.  Warnings, but for the empty pattern."""

from __future__ import annotations

from sparsec.diagnostics.core import Diagnostic, Example


class RowsWithoutKeys(Diagnostic, code="SP0901", title="rows with no key", severity="warning"):
    """Some queries may attend to no key.  They return 0, with a log-sum-exp of -inf.

    Not said where every query up to a last one sees itself and none beyond sees a key, as on the canvas of an image.
    """

    row: int
    n: int
    where: str = ""
    message = "some queries have no key{where}: with n = {n}, query {row} is the first"
    label = "leaves query {row} without a key"
    help = "such rows return 0; add `| k == q` to let each query see itself"
    example = Example("pattern p = 1 <= q - k < 4\n")
    cure = "`pattern p = 0 <= q - k < 4`, or leave it so when zeros are meant."


class NotCausal(Diagnostic, code="SP0902", title="not causal", severity="warning"):
    """The name of the pattern says that it looks at the past only, and it does not."""

    name: str
    q: int
    k: int
    where: str = ""
    message = "`{name}` is not causal{where}: query {q} sees the later key {k}"
    label = "not causal"
    help = "write `k <= q & (...)` around all of it, or choose another name"
    example = Example("pattern causal_window = window(8)\n")
    cure = "`pattern causal_window = causal & window(8)`"


class SeesAllLater(Diagnostic, code="SP0912", title="no lower end", severity="warning"):
    """Every query sees all keys behind it, and only some before it: `q - k < w` alone also keeps every k > q."""

    where: str = ""
    message = "every query sees all later keys, and not all earlier ones{where}"
    label = "sees all later keys"
    help = "for keys of the past add `& k <= q`; `q - k < w` alone has no lower end"
    example = Example("pattern p = q - k < 8\n")
    cure = "`pattern p = 0 <= q - k < 8`, which is `past(8)`"


class FutureOnly(Diagnostic, code="SP0913", title="only later keys", severity="warning"):
    """No query sees a key before its own, and some see keys behind it: `q <= k` is often meant to be `k <= q`."""

    where: str = ""
    message = "no query sees an earlier key, and some see later ones{where}"
    label = "the future alone"
    help = "the query's position is `q`, the key's `k`: the past is `k <= q`"
    example = Example("pattern p = q <= k\n")
    cure = "`pattern p = k <= q`, which is `causal`, or leave it so where the future is meant."


class AddsNothing(Diagnostic, code="SP0903", title="a part that adds nothing", severity="warning"):
    """The pattern is the same set without this operand."""

    operand: str
    where: str = ""
    message = "`{operand}` changes nothing{where}: the pattern is the same without it"
    label = "changes nothing"
    example = Example("pattern p = past(8) | past(4)\n")
    cure = "`pattern p = past(8)`"


class UnionThenWithout(Diagnostic, code="SP0904", title="`a | b \\ c`", severity="warning"):
    """`\\` binds tighter than `|`: `a | b \\ c` is `a | (b \\ c)`, and the pairs of `c` that are in `a` stay."""

    taken: str
    message = "only this part of the union is without `{taken}`"
    label = "`\\` binds tighter than `|`"
    help = "write brackets: `a | (b \\ c)` or `(a | b) \\ c`"
    example = Example("pattern p = sinks(4) | past(8) \\ past(2)\n")
    cure = "`pattern p = sinks(4) | (past(8) \\ past(2))`"


class CausalOnOneSide(Diagnostic, code="SP0905", title="`causal & a | b`", severity="warning"):
    """`&` binds tighter than `|`: `causal & a | b` is `(causal & a) | b`, and `b` may look ahead."""

    guard: str
    message = "`{guard}` restricts only this part of the union"
    label = "`&` binds tighter than `|`"
    help = "write brackets: `{guard} & (a | b)` or `({guard} & a) | b`"
    example = Example("pattern p = causal & window(8) | global(2)\n")
    cure = "`pattern p = causal & (window(8) | global(2))`"


class EmptyPattern(Diagnostic, code="SP0906", title="empty pattern"):
    """No query sees any key, whatever n is; attention over nothing is never meant."""

    name: str
    where: str = ""
    message = "pattern `{name}` is empty{where}: no query sees any key"
    label = "holds no pair"
    example = Example("pattern p = causal & ~full\n")
    cure = "Correct the condition."
