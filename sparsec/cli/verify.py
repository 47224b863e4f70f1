"""`sparsec verify`: compile, run, and compare with dense attention on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from sparsec.cli.inputs import Expression
from sparsec.cli.layered import Layered, by_layers
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
from sparsec.cli.picture import title
from sparsec.diagnostics import torch_for
from sparsec.lower.layers import named
from sparsec.terminal import GREEN, RED, coloured, painter

if TYPE_CHECKING:
    from sparsec.source import Source
    from sparsec.testing.verify import Case, Tried

_LARGEST = 2**22  # keys
_OUTPUTS = "".join(f"{name + ' error / bound':<19}" for name in ("out", "lse", "dq", "dk", "dv"))
_HEADING = f"  n_q     n_k  q_offset  heads    D  dtype    {_OUTPUTS}".rstrip()


def run(
    file: FileName,
    _: Expression = None,
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
    """Run the operator forward and backward on the best device here, and compare with dense attention.

    Inputs of the pattern are drawn at random.
    """
    chosen = choice(define, pattern, heads, layer, layers)
    queries = queries_of(n, n_q, q_offset)
    asked = n_q is not None or q_offset is not None
    with torch_for("`sparsec verify`"):
        import sparsec.testing.verify  # noqa: F401, said before anything is printed
    tree, groups = by_layers(file, chosen)
    well = [_verified(tree.source, group, n, queries, asked) for group in groups]
    raise typer.Exit(0 if all(well) else 1)


def _verified(source: Source, group: Layered, n: int, queries: range, asked: bool) -> bool:
    """Try all calls of one pattern and print what came of it; whether it is right."""
    from sparsec import pipeline
    from sparsec.cache.records import digest, module_name
    from sparsec.runtime.module import module
    from sparsec.testing.verify import best_device, cases, device_name, telling, verify

    made = pipeline.compile(source, **group.chosen.keywords)
    generated = module(made.source, module_name(made.function, digest(made.source.encode())))
    attend, device = getattr(generated, made.function), best_device(made.pattern)
    tried: list[tuple[Case, Tried]] = []
    planned = cases(made.pattern.heads, n, device, queries)
    with _progress(len(planned)) as told:
        for case in planned:
            if not (asked and case.n_k == n):
                case = telling(case, made.pattern)
            told(len(tried), case)
            tried.append((case, verify(attend, made.pattern, case, device)))
    name = ", ".join(filter(None, (title(made.pattern), named(group.layers))))
    well, lines = _verdict(name, device_name(device), [found for _, found in tried])
    print(painter(coloured(sys.stdout, os.environ))(lines[0], GREEN if well else RED))
    print(*lines[1:], _HEADING, *(_line(case, found) for case, found in tried), sep="\n")
    return well


def _verdict(name: str, device: str, found: list[Tried]) -> tuple[bool, list[str]]:
    """Whether it is right, and what to say."""
    wrong, empty = sum(not each.holds for each in found), sum(not each.pairs for each in found)
    remark = [f"Of {len(found)} calls {empty} keep no pair, marked with -: that these give zeros proves little."]
    remark = remark if empty else []
    if wrong:
        text = f"{name} is NOT dense attention on {device}: {wrong} of these calls, marked with !, exceed their bounds."
        return False, [text, *remark]
    if empty == len(found):
        text = "Nothing is verified: no call keeps a pair; --n, --n-q and --q-offset choose one that does."
        return False, [text]
    text = f"{name} equals dense attention on {device}, forward and backward: every error is within its bound."
    return True, [text, *remark]


@contextmanager
def _progress(count: int) -> Iterator[Callable[[int, Case], None]]:
    """Tells on the error stream, where it is a terminal, which call runs; the line is gone in the end."""
    shown = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def tell(done: int, case: Case) -> None:
        if shown:
            text = f"call {done + 1} of {count}: n_q = {case.n_q:,}, n_k = {case.n_k:,}"
            print(f"\r{text:<78}", end="", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        if shown:
            print(f"\r{'':<78}\r", end="", file=sys.stderr, flush=True)


def _line(case: Case, found: Tried) -> str:
    call = f"{case.n_q:>5} {case.n_k:>7} {case.queries.start:>9}"
    shape = f"{call}  {case.heads:>3}/{case.kv_heads:<3} {case.head_size:>3}"
    errors = (f"{each.error:.1e} / {each.bound:.1e}{' ' if each.holds else '!'} " for each in found.comparisons)
    mark = " " if found.pairs else "-"
    return f"{shape}  {str(case.dtype).removeprefix('torch.'):<8}{mark}{''.join(errors)}".rstrip()
