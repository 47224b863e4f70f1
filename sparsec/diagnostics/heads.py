"""SP04xx: heads, layers and `match`."""

from __future__ import annotations

from sparsec.diagnostics.core import Diagnostic, Example


class NeedsHeads(Diagnostic, code="SP0401", title="number of heads not given"):
    """A pattern that mentions `h` or `H` is compiled for a number of query heads, so the caller has to say it."""

    name: str
    message = "this pattern depends on `{name}`, and the number of query heads was not given"
    label = "depends on the heads"
    help = "pass `heads=...`, or on the command line `--heads ...`"
    example = Example("pattern p = past(2 ** h)\n")
    cure = "Pass `heads=8`."


class NeedsLayer(Diagnostic, code="SP0402", title="layer not given"):
    """A pattern that mentions `layer` is compiled for one layer, and one that mentions `L` for a number of layers."""

    name: str
    keyword: str
    message = "this pattern depends on `{name}`, which was not given"
    label = "depends on `{name}`"
    help = "pass `{keyword}=...`, or on the command line `--{keyword} ...`"
    example = Example("pattern p = match layer % 8 { 7 -> causal, else -> past(64) }\n")
    cure = "Pass `layer=0`."


class MissingArm(Diagnostic, code="SP0403", title="no arm"):
    """Every head, or layer, needs exactly one arm of a `match`."""

    values: str
    message = "no arm of this `match` takes {values}"
    label = "no arm for {values}"
    help = "add an arm `else -> ...`"
    example = Example("pattern p = match h { 0..4 -> causal }\n", heads=8)
    cure = "`pattern p = match h { 0..4 -> causal, else -> past(64) }`"


class OverlappingArms(Diagnostic, code="SP0404", title="overlapping arms"):
    """Every head, or layer, needs exactly one arm of a `match`; the order of arms means nothing."""

    value: str
    message = "two arms of this `match` take {value}"
    label = "takes {value} again"
    example = Example("pattern p = match h { 0..4 -> causal, 3..8 -> full }\n", heads=8)
    cure = "`pattern p = match h { 0..4 -> causal, 4..8 -> full }`"


class BadHeads(Diagnostic, code="SP0405", title="number of heads or layers out of range"):
    """`heads` lies between 1 and 4,096, `layers` is at least 1, and `layer` is at least 0 and below `layers`."""

    what: str
    range: str
    value: str
    message = "`{what}` must be an integer {range}, not {value}"
    example = Example("pattern p = past(2 ** h)\n", heads=0)
    cure = "Pass `heads=8`."
