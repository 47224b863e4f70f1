"""DeepSpeed's sparsity configurations as .spat text, block by block as its layouts are.

A layout keeps whole blocks, also on the diagonal of a unidirectional one; DeepSpeed's users mask the later tokens
within a block themselves, and `causal & ...` does so here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sparsec.importers.encoders import check_seed
from sparsec.importers.fields import Fields, wrong

_BLOCKS = "n is a multiple of block, as DeepSpeed asks."
_DIAGONAL = "Blocks on the diagonal are kept whole: for tokens that see no later one, add `causal &`."


def dense(fields: Fields, seed: int | None) -> str:
    return fields.comment() + "pattern dense =\n    full\n"


def fixed(fields: Fields, seed: int | None) -> str:
    """Windows of blocks, and from each the blocks that represent it (Child et al., 2019, arXiv:1904.10509)."""
    w, g = fields.integer("num_local_blocks", 4), fields.integer("num_global_blocks", 1)
    past, per_head = _past(fields), fields.flag("different_layout_per_head")
    across = fields.flag("horizontal_global_attention")
    patterns = fields.integer("num_different_global_patterns", 1)
    if w % g or patterns > (w // g if per_head else 1) or (past and across):
        hint = "DeepSpeed refuses it: see num_global_blocks, num_different_global_patterns, horizontal_global_attention"
        raise wrong(fields.kind, "its fields contradict each other", hint)
    first = "w - (1 + h % patterns) * g" if patterns > 1 else "w - g"
    parameters = f"b = {_block(fields)}, w = {w}, g = {g}" + (f", patterns = {patterns}" if patterns > 1 else "")
    local = "(same_block(b * w) & k // b <= q // b)" if past else "same_block(b * w)"
    parts = [local, f"chosen(k // b, {'q // b' if past else 'n'}, n // b, w, {first}, g)"]
    if across:
        parts.append(f"chosen(q // b, n, n // b, w, {first}, g)")
    chosen = (
        '"""Block c represents its window of w blocks, or the short one at the end, for block r of queries."""\n'
        "set chosen(c, r, m, w, first, g, last = min(m // w * w + first, m - g)) =\n"
        "      c < m // w * w & c % w in first..first + g & r >= c // w * w + first\n"
        "    | m % w > 0 & r >= last & c in last..last + g\n"
    )
    remarks = [f"{_BLOCKS[:-1]}, and has num_global_blocks at least.", *([_DIAGONAL] if past else [])]
    return fields.comment(*remarks) + chosen + "\n" + _pattern("fixed", parameters, parts)


def variable(fields: Fields, seed: int | None) -> str:
    """Windows of chosen lengths, chosen global blocks, and random blocks."""
    windows, past = fields.integers("local_window_blocks", [4]), _past(fields)
    across, spans = fields.flag("horizontal_global_attention"), _global_spans(fields)
    if past and across:
        raise wrong(fields.kind, "horizontal_global_attention goes with bidirectional attention only")
    parts, start = [], 0
    for width in windows[:-1]:
        parts.append(f"q // b in {start}..{start + width} & k // b in {start}..{start + width}")
        start += width
    last = f"(q // b - {start}) // {windows[-1]} == (k // b - {start}) // {windows[-1]}"
    parts.append(f"q // b >= {start} & k // b >= {start} & {last}" if start else last)
    if past:
        parts = [f"({part} & k // b <= q // b)" for part in parts]
    parts += [f"k // b in {a}..{e}" + (f" & q // b >= {a}" if past and a else "") for a, e in spans]
    parts += [f"q // b in {a}..{e}" for a, e in spans if across]
    random, parameters, remarks = _random(fields, seed, 0, "random_blocks")
    remarks = [_BLOCKS, *([_DIAGONAL] if past else []), *remarks]
    return fields.comment(*remarks) + _pattern("variable", f"b = {_block(fields)}{parameters}", parts + random)


def big_bird(fields: Fields, seed: int | None) -> str:
    """Sliding, global and random blocks (Zaheer et al., 2020, arXiv:2007.14062)."""
    past, w = _past(fields), fields.integer("num_sliding_window_blocks", 3)
    g = fields.integer("num_global_blocks", 1)
    random, parameters, remarks = _random(fields, seed, 1, "random_past_blocks" if past else "random_blocks")
    parts = ["block_window(b, w)", "q // b < g", "k // b < g", *random]
    remarks = [_BLOCKS, *([_DIAGONAL] if past else []), *remarks]
    text = _pattern("bigbird", f"b = {_block(fields)}, w = {w}, g = {g}{parameters}", parts, past)
    return fields.comment(*remarks) + text


def longformer(fields: Fields, seed: int | None) -> str:
    """Sliding blocks and chosen global ones (after Beltagy et al., 2020, arXiv:2004.05150)."""
    past, w = _past(fields), fields.integer("num_sliding_window_blocks", 3)
    parts = ["block_window(b, w)"]
    parts += [f"{side} // b in {a}..{e}" for a, e in _global_spans(fields) for side in "qk"]
    remarks = [_BLOCKS, *([_DIAGONAL] if past else [])]
    return fields.comment(*remarks) + _pattern("bslongformer", f"b = {_block(fields)}, w = {w}", parts, past)


def local_sliding_window(fields: Fields, seed: int | None) -> str:
    """Sliding blocks alone; DeepSpeed has it as a class, and not as a mode of its configuration file."""
    past, w = _past(fields, "unidirectional"), fields.integer("num_sliding_window_blocks", 3)
    remarks = [f"{_BLOCKS[:-1]}, and has num_sliding_window_blocks at least.", *([_DIAGONAL] if past else [])]
    text = _pattern("local_sliding_window", f"b = {_block(fields)}, w = {w}", ["block_window(b, w)"], past)
    return fields.comment(*remarks) + text


MODES: dict[str, Callable[[Fields, int | None], str]] = {
    "dense": dense,
    "fixed": fixed,
    "variable": variable,
    "bigbird": big_bird,
    "bslongformer": longformer,
    "local_sliding_window": local_sliding_window,
}
_COMMON = {"mode", "num_heads", "block", "different_layout_per_head", "attention"}


def text(config: object, mode: str, seed: int | None) -> str:
    """The text of one mode.  Fields of a dict that it does not have are refused: they may be misspelt."""
    fields = Fields(config, f"a DeepSpeed sparsity configuration, {mode}")
    written = MODES[mode](fields, seed)
    unknown = set(config) - set(fields.read) - _COMMON if isinstance(config, Mapping) else set()
    if unknown:
        raise wrong(fields.kind, f"it has no field `{min(unknown)}`", f"known are {', '.join(fields.read)}")
    return written


def _block(fields: Fields) -> int:
    return fields.integer("block", 16)


def _past(fields: Fields, default: str = "bidirectional") -> bool:
    return fields.choice("attention", ("unidirectional", "bidirectional"), default) == "unidirectional"


def _global_spans(fields: Fields) -> list[tuple[int, int]]:
    """Half-open ranges of global blocks."""
    starts = fields.integers("global_block_indices", [0], least=0)
    if fields.value("global_block_end_indices", None) is None:
        return [(start, start + 1) for start in starts]
    ends = fields.integers("global_block_end_indices")
    if len(starts) != len(ends) or any(start >= end for start, end in zip(starts, ends, strict=True)):
        raise wrong(fields.kind, "`global_block_end_indices` must end each of `global_block_indices` after its start")
    return list(zip(starts, ends, strict=True))


def _random(fields: Fields, seed: int | None, default: int, name: str) -> tuple[list[str], str, list[str]]:
    """The part for random blocks, its parameters, and what to say about them."""
    r = fields.integer("num_random_blocks", default, least=0)
    if r == 0:
        return [], "", []
    by_head = " + h" if fields.flag("different_layout_per_head") else ""
    remark = "Random blocks: as many, drawn by sparsec's generator; DeepSpeed's come from Python's, anew in each run."
    return [f"{name}(b, r, seed{by_head})"], f", r = {r}, seed = {check_seed(fields, seed)}", [remark]


def _pattern(name: str, parameters: str, parts: list[str], past: bool = False) -> str:
    if past:
        return f"pattern {name}({parameters}) =\n    k // b <= q // b & (\n          {_joined(parts, 8)}\n    )\n"
    return f"pattern {name}({parameters}) =\n      {_joined(parts, 4)}\n"


def _joined(parts: list[str], indent: int) -> str:
    return ("\n" + " " * indent + "| ").join(parts)
