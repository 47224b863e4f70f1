"""How a pattern shows itself in a notebook."""

from __future__ import annotations

from dataclasses import replace
from html import escape

from sparsec.ir.approximate import bounded
from sparsec.ir.nodes import Pattern
from sparsec.show.raster import whole
from sparsec.show.scale import telling_length
from sparsec.show.svg import svg

_MOST = 4  # distinct masks


def notebook_svg(pattern: Pattern) -> str:
    """The first distinct masks, at a length at which their structure is seen; all that data of a call can keep."""
    pattern = bounded(pattern)
    shown = replace(pattern, conditions=pattern.conditions[:_MOST])
    n = telling_length(shown)
    return svg(shown, n, whole(n))


def notebook_html(pattern: Pattern) -> str:
    """The same with the text of the pattern below, and how many masks are left out."""
    left = len(bounded(pattern).conditions) - _MOST
    more = f"<p>and {left} more masks</p>" if left > 0 else ""
    return f"<div>{notebook_svg(pattern)}{more}<pre>{escape(pattern.text)}</pre></div>"
