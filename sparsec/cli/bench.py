"""`sparsec bench`: times of the operator and of its peers, on the best device here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sparsec.cli.given import Given, data_of_call
from sparsec.cli.inputs import Expression, Names, named, read
from sparsec.cli.options import Define, Layer, Layers, PatternName, choice
from sparsec.cli.output import report as say
from sparsec.cli.output import write
from sparsec.diagnostics import torch_for

if TYPE_CHECKING:
    from sparsec.ir.nodes import Pattern
    from sparsec.pipeline import Compiled

_PEERS = (
    "cudnn", "fa4", "fa4-deterministic", "flex", "flex-flash", "flex-mask", "nondeterministic", "plain", "sdpa",
    "sdpa-full",
)  # fmt: skip
_PACKED_PEERS = ("flex", "flex-mask", "varlen", "nested", "flash-attn", "fa4", "fa4-deterministic", "nondeterministic")
_LARGEST = 2**26


def run(
    files: Names,
    _: Expression = None,
    n: Annotated[
        str | None, typer.Option("--n", metavar="N,...", help="Numbers of keys and queries, separated by commas.")
    ] = None,
    growth: Annotated[
        str | None, typer.Option("--growth", metavar="FROM:TO", help="Instead of --n: lengths, each twice the last.")
    ] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, metavar="B", help="Batch size.")] = None,
    heads: Annotated[int | None, typer.Option("--heads", min=1, metavar="H", help="Query heads.")] = None,
    kv_heads: Annotated[int | None, typer.Option("--kv-heads", min=1, metavar="H", help="Key heads.")] = None,
    head_size: Annotated[
        int | None, typer.Option("--head-size", min=16, max=256, metavar="D", help="A multiple of 8.")
    ] = None,
    dtype: Annotated[Literal["fp32", "fp16", "bf16"] | None, typer.Option("--dtype", help="Of q, k and v.")] = None,
    against: Annotated[
        str | None, typer.Option("--against", metavar="PEERS", help=f"Of {', '.join(_PEERS)}; 'none' for none.")
    ] = None,
    documents: Annotated[
        str | None, typer.Option("--documents", metavar="COUNT|N,...", help="Packed in a row: how many, or lengths.")
    ] = None,
    given: Given = None,
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, metavar="N", help="Draws lengths for --documents COUNT, and inputs not given."),
    ] = 0,
    against_file: Annotated[
        Path | None,
        typer.Option("--against-file", metavar="FILE", help="The pattern by another sparsec: compile --standalone."),
    ] = None,
    repeats: Annotated[int | None, typer.Option("--repeats", min=1, metavar="N", help="Runs of each.")] = None,
    output: Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write everything as JSON.")] = None,
    define: Define = None,
    pattern: PatternName = None,
    layer: Layer = None,
    layers: Layers = None,
) -> None:
    """Race the operator against its peers, forward and backward.

    Defaults are those of a GPU (n 32768, 16 heads of size 128, bf16, 15 runs) or smaller ones for a CPU.  Of several
    lengths, what would take too long or too much memory, going by the shorter ones, is skipped and said to be.

    With --documents the row holds several sequences: so many, of log-uniform lengths that are printed, or of the
    lengths given.  Peers are then flex, flex-mask (its block mask made in each call), varlen, nested, flash-attn, fa4.

    Inputs of a pattern are those of --given, or drawn and said to be: ids of documents, scattered tokens, lists of
    positions.  flex-mask makes the block mask in each call, as other data asks for it.

    FlashAttention-4 (fa4, also with gradients that are the same from run to run) and cuDNN take part where they are
    installed and the pattern is one they know: dense, causal, and, for fa4, a window.

    On a Hopper GPU, plain is the operator itself without the kernels written for it, and nondeterministic the operator
    with deterministic=False: sums of gradients in any order.

    With --against-file the results of both are compared bit for bit, and the exit status is 1 where they differ.
    """
    lengths = _lengths(n, growth)
    told = None if documents is None else _documents(documents, lengths)
    if told and len(told) > 1:
        lengths = (sum(told),)
    if head_size and head_size % 8:
        raise typer.BadParameter("a multiple of 8", param_hint="--head-size")
    with torch_for("`sparsec bench`"):
        from sparsec.bench.run import bench, report
        from sparsec.bench.setting import defaults, drawn_documents
        from sparsec.testing.verify import best_device
    from sparsec import pipeline
    from sparsec.ir.inputs import refuse_score_inputs

    device = best_device()
    setting = defaults(
        device,
        n=lengths[0] if lengths else None,
        batch=batch,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        dtype=dtype,
        repeats=repeats,
        against=None if against is None and told is None else _peers(against, told is not None),
    )
    if told:
        if len(told) == 1 and told[0] > setting.n:
            raise typer.BadParameter(f"{told[0]} documents have more than {setting.n} tokens", param_hint="--documents")
        setting = replace(setting, documents=told if len(told) > 1 else drawn_documents(told[0], setting.n, seed))
        if setting.batch > 1:
            raise typer.BadParameter("documents are packed in one row", param_hint="--batch")
        drawn = "" if len(told) > 1 else f", drawn by seed {seed}"
        print(f"{len(setting.documents)} documents{drawn}: {', '.join(map(str, setting.documents))}")
    if setting.heads % setting.kv_heads:
        raise typer.BadParameter(f"must divide the {setting.heads} query heads", param_hint="--kv-heads")
    chosen = choice(define, pattern, setting.heads, layer, layers)
    made = [pipeline.compile(read(name).source, **chosen.keywords) for name in named(files)]
    if against is None and device.type == "cuda" and any(each.pattern.inputs for each in made):
        setting = replace(setting, against=(*setting.against, "flex-mask"))
    for each in made:
        refuse_score_inputs(each.pattern, "`sparsec bench`")
        if each.pattern.inputs and setting.documents:
            raise typer.BadParameter("with patterns that read no inputs", param_hint="--documents")
        say(each.warnings)

    def data(pattern: Pattern, n: int) -> tuple[Mapping[str, Any], dict[str, str]]:
        names = {each.name for each in (*pattern.inputs, *pattern.choice_inputs)}
        own = [text for text in given or () if len(made) == 1 or _name_of(text) in names]
        return data_of_call(pattern, own, seed, n, setting.batch, setting.heads, setting.head_size)

    other = None if against_file is None else _function_of(against_file, made)
    runs: list[dict[str, object]] = []
    found = report(setting, device, ["sparsec", *sys.argv[1:]], lengths) | {"runs": runs}
    print(f"On {found['device']}, medians of ms forward / backward:", flush=True)
    for result in bench(made, setting, device, lengths, other, data):
        runs.append(result)
        if output:
            write(Path(output), f"{json.dumps(found, indent=1)}\n".encode())
        print(_line(result), flush=True)
    raise typer.Exit(1 if any("wrong" in each or "failed" in each or _other_bits(each) for each in runs) else 0)


def _function_of(file: Path, made: list[Compiled]) -> Callable[..., Any]:
    """The function of the pattern in a module that another sparsec wrote."""
    from sparsec.cache.records import digest, module_name
    from sparsec.runtime.module import module

    def refused(why: str) -> typer.BadParameter:
        return typer.BadParameter(f"{str(file)!r} {why}", param_hint="--against-file")

    if len(made) != 1:
        raise typer.BadParameter(f"is about one pattern, and {len(made)} are given", param_hint="--against-file")
    text = read(str(file)).source.text
    try:
        loaded = module(text, module_name("against", digest(text.encode())), file)
    except Exception as error:
        raise refused(f"is no module that `sparsec compile --standalone` wrote: {error}") from None
    function = getattr(loaded, made[0].function, None)
    if not callable(function):
        raise refused(f"has no function {made[0].function}")
    return function


def _name_of(given: str) -> str:
    """The input that a text of --given is about."""
    return given.partition("=")[0].strip()


def _other_bits(run: dict) -> list[str]:
    """Which results differ from those of the other file."""
    same = run.get("racers", {}).get("file", {}).get("same_bits", {})
    return [name for name, alike in same.items() if not alike]


def _lengths(n: str | None, growth: str | None) -> tuple[int, ...]:
    """What --n or --growth ask for, rising; nothing where neither is given."""
    if n is not None and growth is not None:
        raise typer.BadParameter("--n gives the lengths already", param_hint="--growth")
    if n is not None:
        return tuple(sorted({_length(part, "--n") for part in n.split(",")}))
    if growth is None:
        return ()
    first, colon, last = growth.partition(":")
    if not colon:
        raise typer.BadParameter(f"{growth!r} is not FROM:TO, such as 8192:1048576", param_hint="--growth")
    start, end = _length(first, "--growth"), _length(last, "--growth")
    if start > end:
        raise typer.BadParameter(f"{start} is more than {end}", param_hint="--growth")
    return tuple(start << step for step in range((end // start).bit_length()))


def _length(text: str, option: str) -> int:
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and 1 <= int(digits) <= _LARGEST):
        raise typer.BadParameter(f"{text[:40]!r} is not a number from 1 to {_LARGEST}", param_hint=option)
    return int(digits)


def _documents(text: str, lengths: tuple[int, ...]) -> tuple[int, ...]:
    """How many documents, or the lengths of several."""
    if len(lengths) > 1:
        raise typer.BadParameter("one row of one length holds them: give a single --n", param_hint="--documents")
    found = tuple(_length(part, "--documents") for part in text.split(","))
    if len(found) > 1 and lengths and sum(found) != lengths[0]:
        raise typer.BadParameter(f"they have {sum(found)} tokens together, and --n is {lengths[0]}", param_hint="--n")
    return found


def _peers(text: str | None, packed: bool) -> tuple[str, ...]:
    known = _PACKED_PEERS if packed else _PEERS
    if text is None:
        return known
    names = () if text == "none" else tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in known]:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(known)}", param_hint="--against")
    return names


def _line(run: dict) -> str:
    """A run in one line, and a line for each peer that did not take part."""
    shape = f"{run['pattern']:<16} {run['n']:>8} {run['heads']:>3}/{run['kv_heads']:<3} {run['head_size']:>3}"
    if "failed" in run:
        return f"{shape}  FAILED: {run['failed'].splitlines()[-1][:200]}"
    if "skipped" in run:
        return f"{shape}  {run['skipped']}"
    if "wrong" in run:
        return f"{shape}  WRONG: {', '.join(run['wrong'])}"
    ours = run["racers"]["ours"]
    words = [_times("ours", ours)]
    if share := ours["floor_share"]:
        words.append(f"({100 * share['forward']:.0f} / {100 * share['backward']:.0f} % of the floor)")
    for name, peer in run["racers"].items():
        if name != "ours":
            ratio = [peer["ms"][kind]["median"] / ours["ms"][kind]["median"] for kind in ("forward", "backward")]
            digits = 3 if name == "file" else 2
            words.append(f"{_times(name, peer)} ({ratio[0]:.{digits}f} / {ratio[1]:.{digits}f} x)")
    if "file" in run["racers"]:
        other = _other_bits(run)
        words.append(f"OTHER BITS in {', '.join(other)}" if other else "the same bits")
    lines = [f"{shape}  {'  '.join(words)}"]
    lines += [f"  {name}: {told}" for name, told in run.get("given", {}).items()]
    lines += [f"  not compared with dense attention: {run['unchecked']}"] if "unchecked" in run else []
    lines += [f"  without {name}: {' '.join(note.split())[:160]}" for name, note in run["notes"].items()]
    return "\n".join(lines)


def _times(name: str, facts: dict) -> str:
    return f"{name} {facts['ms']['forward']['median']:.3f} / {facts['ms']['backward']['median']:.3f}"
