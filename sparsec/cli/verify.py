"""`sparsec verify`: compile, run, and compare with dense attention on this machine."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from sparsec.cli.inputs import read
from sparsec.cli.options import (
    Define,
    FileName,
    Heads,
    Layer,
    Layers,
    PatternName,
    QueryCount,
    QueryOffset,
    choice,
    queries_of,
)
from sparsec.cli.output import report

if TYPE_CHECKING:
    from sparsec.runtime.verify import Case, Tried

_LARGEST = 2**22  # keys


def run(
    file: FileName,
    n: Annotated[
        int,
        typer.Option(
            "--n", min=1, max=_LARGEST, help="Number of keys, odd at best; a few cases of up to 203 run besides."
        ),
    ] = 4999,
    n_q: QueryCount = None,
    q_offset: QueryOffset = None,
    define: Define = None,
    pattern: PatternName = None,
    heads: Heads = None,
    layer: Layer = None,
    layers: Layers = None,
) -> None:
    """Run the operator forward and backward on the best device here, and compare with dense attention."""
    chosen = choice(define, pattern, heads, layer, layers)
    queries = queries_of(n, n_q, q_offset)
    asked = n_q is not None or q_offset is not None
    from sparsec import pipeline

    made = pipeline.compile(read(file).source, **chosen.keywords)
    report(made.warnings)
    from sparsec.runtime.index import digest, module_name
    from sparsec.runtime.module import module
    from sparsec.runtime.verify import best_device, cases, device_name, telling, verify
    from sparsec.show import View, page, supported

    generated = module(made.source, module_name(made.function, digest(made.source.encode())))
    attend, device = getattr(generated, made.function), best_device()
    width = shutil.get_terminal_size().columns
    view = View((queries.start, queries.stop), (0, n))
    print(page(made.pattern, n, width=width, colours=supported(sys.stdout, os.environ), view=view), end="\n\n")
    print(f"On {device_name(device)}, the largest error of each output / its bound:")
    print(
        "  n_q     n_k  q_offset  heads    D  dtype    "
        + "".join(f"{name:<19}" for name in ("out", "lse", "dq", "dk", "dv"))
    )
    wrong = empty = done = 0
    for case in cases(made.pattern.heads, n, device, queries):
        if not (asked and case.n_k == n):
            case = telling(case, made.pattern)
        found = verify(attend, made.pattern, case, device)
        wrong, empty, done = wrong + (not found.holds), empty + (not found.pairs), done + 1
        print(_line(case, found), flush=True)
    if empty == done:
        print("Nothing is verified: no case keeps a pair; --n, --n-q and --q-offset choose a call that does.")
    elif empty:
        print(f"Of {done} cases {empty} keep no pair, marked with -: that these give zeros proves little.")
    if wrong:
        print(f"NOT dense attention: {wrong} of the cases above, marked with !, have errors beyond their bounds.")
    elif empty < done:
        print("Dense attention over the pattern, forward and backward: every error is within its bound.")
    raise typer.Exit(1 if wrong or empty == done else 0)


def _line(case: Case, found: Tried) -> str:
    call = f"{case.n_q:>5} {case.n_k:>7} {case.queries.start:>9}"
    shape = f"{call}  {case.heads:>3}/{case.kv_heads:<3} {case.head_size:>3}"
    errors = (f"{each.error:.1e} / {each.bound:.1e}{' ' if each.holds else '!'} " for each in found.comparisons)
    mark = " " if found.pairs else "-"
    return f"{shape}  {str(case.dtype).removeprefix('torch.'):<8}{mark}{''.join(errors)}".rstrip()
