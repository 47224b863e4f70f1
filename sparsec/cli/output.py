"""Where text goes: diagnostics to the error stream, coloured where somebody looks."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from sparsec.diagnostics import Diagnostic, render


def report(diagnostics: Iterable[Diagnostic]) -> None:
    """Print diagnostics to the error stream, a blank line after each."""
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    for diagnostic in diagnostics:
        print(render(diagnostic, colour), end="\n\n", file=sys.stderr)
