"""Sets chosen by content, by turns with what else computes the same: times of forward and backward.

    python docs/benchmarks/content.py docs/benchmarks/raw/content_NAME.json [--alone] [--warm] [RACE ...]

on a GPU that nobody else uses writes the raw results that table.py draws, after each race.  fla-core and attn-gym are
raced where they are installed; with --alone no peer but dense attention is.  With --warm all that is compiled is
compiled, and nothing timed.  Random lists: each query, or block of 64 queries, has its own blocks of the past;
correlated ones: 32 queries side by side have the same.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from cells import rows

_BLOCK, _LISTED = 64, 16
_NSA = f"input sel: blocks[1, {_BLOCK}, t] pattern nsa = causal & selected(sel)"
_TOP = f"pattern top = top_blocks({_LISTED}, {_BLOCK}, among = causal, over = group)"
_VSA = f"input sel: blocks[{_BLOCK}, {_BLOCK}, t] pattern vsa = selected(sel)"
_UNION = "causal & past(512) | sinks(4) | top_blocks(16, 64, bq = 64, among = causal \\ past(512))"
_KEYS = "input sel: keys[t] pattern keys = past(512) | selected(sel)"
_LSH = "pattern hashed = causal & (past(64) | lsh(buckets = {buckets}, rounds = 4, chunk = 64, seed = 0))"
_ROUTED = "input mu: centroids[c] pattern clustered = causal & (past(64) | routed(mu, {clusters}))"


@dataclass
class Race:
    """What is timed by turns: a name says who and which pass, `nsa forward`."""

    what: str
    runs: dict[str, Callable[[], Any]]
    facts: dict[str, Any] = field(default_factory=dict)


def is_content(report: dict) -> bool:
    return "content" in report


def tables(report: dict) -> Iterator[str]:
    """Lines of Markdown."""
    body = []
    for race in report["content"]:
        facts = "; ".join(
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}".split("\n", 1)[0]
            for name, value in race["facts"].items()
        )
        for name, times in race["ms"].items():
            body.append([race["what"], name, f"{times['median']:#.3g}".rstrip("."), facts])
    yield from rows(["race", "run", "ms", "besides"], body)


def main() -> None:
    import torch

    from sparsec.bench.race import Clock

    path, wanted = sys.argv[1], [each for each in sys.argv[2:] if each[:2] != "--"]
    device = torch.device("cuda")
    report: dict[str, Any] = {
        "command": ["python", *sys.argv],
        "time": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "device": torch.cuda.get_device_name(),
        "versions": {"torch": torch.__version__},
        "content": [],
    }
    begun = time.perf_counter()
    for name in wanted or RACES:
        try:
            race = RACES[name]()
            clock, ms = Clock(device), {each: list[float]() for each in race.runs}
            with torch.no_grad():
                for turn in range(1 if "--warm" in sys.argv else 2 + _REPEATS):
                    for each, run in race.runs.items():
                        _, taken, host = clock(run)
                        clock.pause_ms = max(clock.pause_ms, 2 * min(host, 30.0)) if turn == 1 else clock.pause_ms
                        if turn > 1:
                            ms[each].append(taken)
            times = {each: {"median": statistics.median(some), "all": some} for each, some in ms.items() if some}
            report["content"].append({"race": name, "what": race.what, "ms": times, "facts": race.facts})
            said = {each: round(some["median"], 3) for each, some in times.items()}
        except Exception as error:  # the next one may be there
            said = {"failed": f"{type(error).__name__}: {error}"[:500]}
            report["content"].append({"race": name, "what": "", "ms": {}, "facts": said})
        print(f"{time.perf_counter() - begun:6.1f} s  {name}: {said}", flush=True)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)
        race = None  # its tensors
        torch.cuda.empty_cache()


_REPEATS = 5


def _with_peers() -> None:
    if "--alone" in sys.argv:
        raise ImportError("--alone")


# ---------------------------------------------------------------- tensors


def _drawn(*shape: int, seed: int = 0) -> Any:
    import torch

    return torch.randn(shape, device="cuda", dtype=torch.bfloat16, generator=torch.Generator("cuda").manual_seed(seed))


def _lists(heads: int, lists: int, n: int, rows: int, alike: int, causal: bool = True, listed: int = _LISTED) -> Any:
    """int32 [1, heads, lists, listed]: distinct blocks, up to that of the first of `alike` lists; -1 for no block."""
    import torch

    scores = torch.rand(heads, -(-lists // alike), -(-n // _BLOCK), device="cuda")
    if causal:
        own = torch.arange(scores.shape[1], device="cuda") * alike * rows // _BLOCK
        scores.masked_fill_(torch.arange(scores.shape[2], device="cuda") > own[:, None], -1.0)
    best = scores.topk(listed)
    found = torch.where(best.values < 0, -1, best.indices).int().sort(-1).values
    return found.repeat_interleave(alike, 1)[None, :, :lists].contiguous()


def _passes(name: str, attend: Callable[..., Any], q: Any, k: Any, v: Any, g: Any) -> dict[str, Callable[[], Any]]:
    """Forward and backward of an attention of q, k and v, by name."""
    import torch

    def forward() -> Any:
        return attend(q, k, v)

    with torch.enable_grad():
        inputs = [x.detach().requires_grad_() for x in (q, k, v)]
        out = attend(*inputs)

    def backward() -> Any:
        return torch.autograd.grad(out, inputs, g, retain_graph=True)

    return {f"{name} forward": forward, f"{name} backward": backward}


def _far(one: Any, other: Any) -> float:
    """The relative difference of two results."""
    return float((one.float() - other.float()).norm() / other.float().norm())


def _transposed(run: Callable[..., Any]) -> Callable[..., Any]:
    """An attention of [B, n, H, D] as one of [B, H, n, D] that lie as it wants."""
    return lambda q, k, v: run(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2)


def _lying(x: Any) -> Any:
    """The same [B, H, n, D], as [B, n, H, D] in memory."""
    return x.transpose(1, 2).contiguous().transpose(1, 2)


# ---------------------------------------------------------------- races


def _nsa(alike: int) -> Race:
    import torch

    import sparsec

    n, heads, kv_heads, size = 65_536, 64, 4, 128
    q, k, v, g = (_drawn(1, each, n, size, seed=i) for i, each in enumerate((heads, kv_heads, kv_heads, heads)))
    sel, attend = _lists(kv_heads, n, n, 1, alike), sparsec.compile(_NSA)
    runs = _passes("ours", partial(attend, sel=sel), q, k, v, g)
    facts: dict[str, Any] = {"TFLOP of a product": 4 * heads * n * _LISTED * _BLOCK * size / 1e12}
    try:
        _with_peers()
        from fla.ops.nsa.parallel import ParallelNSAFunction

        given = sel.transpose(1, 2).contiguous()
        peer = _transposed(lambda q, k, v: ParallelNSAFunction.apply(q, k, v, given, _LISTED, _BLOCK, size**-0.5, None))
        of_peer = [_lying(x) for x in (q, k, v, g)]
        runs |= _passes("fla-core", peer, *of_peer)
        with torch.no_grad():
            late = slice(n // 2, None)  # where all lists are full
            facts["difference of fla-core"] = _far(peer(*of_peer[:3])[:, :, late], attend(q, k, v, sel=sel)[:, :, late])
    except ImportError as error:
        facts["without fla-core"] = str(error)
    lists = "each query its own blocks" if alike == 1 else f"{alike} queries alike"
    return Race(f"NSA's selected blocks, H 64/4, D 128, bk 64, t 16, n 65,536; {lists}", runs, facts)


def _selection() -> Race:
    import sparsec

    n, heads, kv_heads, size = 65_536, 64, 4, 128
    q, k = _drawn(1, heads, n, size), _drawn(1, kv_heads, n, size, seed=1)
    attend = sparsec.compile(_TOP)
    runs: dict[str, Callable[[], Any]] = {"ours": lambda: attend.choices(q, k)}
    facts: dict[str, Any] = {}
    try:
        _with_peers()
        from fla.ops.nsa.parallel import parallel_nsa_topk

        of_peer, keys = _lying(q).transpose(1, 2), _lying(k).transpose(1, 2)

        def peer() -> Any:
            pooled = keys.unflatten(1, (-1, _BLOCK)).mean(2)
            return parallel_nsa_topk(of_peer, pooled, n, None, _LISTED, _BLOCK, size**-0.5)

        runs["fla-core"] = peer
    except ImportError as error:
        facts["without fla-core"] = str(error)
    return Race("its choice of blocks: means of keys, and the best 16 for each query and key head", runs, facts)


def _vsa() -> Race:
    import torch
    from torch.nn.attention.flex_attention import BlockMask, flex_attention

    import sparsec

    n, heads, size, listed = 109_632, 7, 128, 64
    q, k, v, g = (_drawn(1, heads, n, size, seed=i) for i in range(4))
    sel, attend = _lists(heads, n // _BLOCK, n, _BLOCK, 1, False, listed), sparsec.compile(_VSA)
    runs = _passes("ours", partial(attend, sel=sel), q, k, v, g)
    counts = torch.full(sel.shape[:3], listed, dtype=torch.int32, device="cuda")
    blocks = torch.full((*sel.shape[:3], n // _BLOCK), 0, dtype=torch.int32, device="cuda")
    blocks[..., :listed] = sel
    mask = BlockMask.from_kv_blocks(torch.zeros_like(counts), blocks, counts, blocks, BLOCK_SIZE=_BLOCK)
    compiled = torch.compile(flex_attention, dynamic=False)
    forward, of_keys = {"BLOCK_M": 64, "BLOCK_N": 64}, {"BLOCK_M1": 32, "BLOCK_N1": 64}  # its own do not divide blocks
    options = forward | of_keys | {"BLOCK_M2": 64, "BLOCK_N2": 32}
    flex = partial(compiled, block_mask=mask, kernel_options=options)
    flop = 4 * heads * n * listed * _BLOCK * size
    facts = {"TFLOP forward": flop / 1e12}
    try:
        _with_peers()
        runs |= _passes("FlexAttention", flex, q, k, v, g)
        with torch.no_grad():
            facts["difference of FlexAttention"] = _far(flex(q, k, v), attend(q, k, v, sel=sel))
    except Exception as error:
        facts["without FlexAttention"] = f"{type(error).__name__}: {error}"[:300]
    return Race("blocks of 64 x 64, t 64, n 109,632, H 7, D 128", runs, facts)


def _dense(heads: int, kv_heads: int, n: int) -> Callable[..., Any]:
    from torch.nn.functional import scaled_dot_product_attention

    return partial(scaled_dot_product_attention, is_causal=True, enable_gqa=heads != kv_heads)


def _union() -> Race:
    import sparsec

    n, heads, kv_heads, size = 65_536, 32, 4, 128
    q, k, v, g = (_drawn(1, each, n, size, seed=i) for i, each in enumerate((heads, kv_heads, kv_heads, heads)))
    attend = sparsec.compile(f"pattern union = {_UNION}")
    runs = _passes("ours", attend, q, k, v, g) | {"ours, its choice": lambda: attend.choices(q, k)}
    runs |= _passes("dense causal", _dense(heads, kv_heads, n), q, k, v, g)
    return Race(f"`{_UNION}`, H 32/4, D 128, n 65,536".replace("|", "\\|"), runs)


def _grouped(kind: str, n: int, dense: bool, buckets: int = 0) -> Race:
    """Reformer's n / 128 buckets, or `buckets`; the Routing Transformer's square root of n clusters, equally large."""
    import sparsec

    heads, size = 8, 128
    q, k, v, g = (_drawn(1, heads, n, size, seed=i) for i in range(4))
    clusters = math.isqrt(n)
    text = _LSH.format(buckets=buckets or n // 128) if kind == "lsh" else _ROUTED.format(clusters=clusters)
    attend = sparsec.compile(text)
    given = {} if kind == "lsh" else {"mu": _drawn(heads, clusters, size, seed=9)}
    runs = _passes("ours", partial(attend, **given), q, k, v, g)
    runs["ours, its choice"] = lambda: attend.choices(q, k, **given)
    if dense:
        runs |= _passes("dense causal", _dense(heads, heads, n), q, k, v, g)
    return Race(f"{kind}: `{text.split(' = ', 1)[1]}`, H 8, D 128, n {n:,}".replace("|", "\\|"), runs)


def _keys(kv_heads: int) -> Race:
    import torch

    import sparsec

    batch, n, heads, size, window = 8, 4096, 32, 128, 512
    q, g = (_drawn(batch, heads, n, size, seed=i) for i in (0, 3))
    k = _drawn(batch, kv_heads, n, size, seed=1)
    random = torch.rand(batch, 1, n, n, device="cuda").masked_fill_(
        torch.arange(n, device="cuda") > torch.arange(n, device="cuda")[:, None] - window, -1.0
    )
    best = random.topk(_LISTED)
    sel = torch.where(best.values < 0, -1, best.indices).int()
    del random, best
    sinks, attend = torch.randn(heads, device="cuda"), sparsec.compile(_KEYS)
    runs = _passes("ours", partial(attend, sel=sel, sinks=sinks), q, k, k, g)
    facts: dict[str, Any] = {}
    try:
        _with_peers()
        from attn_gym.sparse.gather_attn.api import gather_attn

        given, options = sel[:, 0].contiguous(), {"backend": "triton"}

        def peer(q: Any, k: Any, _: Any) -> Any:
            more = {"sliding_window_size": window, "kernel_options": options}
            return gather_attn(q, k, k, given, sinks, **more)

        runs |= {"attn-gym forward": lambda: peer(q, k, None)}
        with torch.no_grad():
            facts["difference of attn-gym"] = _far(peer(q, k, None), attend(q, k, k, sel=sel, sinks=sinks))
    except ImportError as error:
        facts["without attn-gym"] = str(error)
    shape = f"B 8, H 32/{kv_heads}, D 128, n 4,096"
    return Race(f"window 512, 16 chosen keys, a learned sink; {shape}, keys are values", runs, facts)


def _index() -> Race:
    """Both choose the keys of a causal indexer; that of attn-gym leaves ties open."""
    import torch

    from sparsec.nn import lightning_indexer

    n, heads, size, listed = 32_768, 64, 128, 2048
    q, k, weights = _drawn(1, heads, n, size), _drawn(1, n, size, seed=1), _drawn(1, heads, n, seed=2)
    runs: dict[str, Callable[[], Any]] = {"ours": lambda: lightning_indexer(q, k, weights, listed)}
    facts: dict[str, Any] = {"TFLOP": heads * n * n * size / 1e12}
    try:
        _with_peers()
        from attn_gym.sparse.indexer.api import lightning_indexer as of_attn_gym

        of_peer, w = q.transpose(1, 2).contiguous(), weights.mT.contiguous()
        options = {"causal": True, "kernel_options": {"backend": "triton"}}
        runs["attn-gym"] = lambda: of_attn_gym(of_peer, k, w, listed, **options)
        some = slice(n // 2, n // 2 + 64)
        ours, theirs = runs["ours"]()[0, 0, some], runs["attn-gym"]()[0, some].sort(-1).values
        facts["rows chosen alike"] = float((ours == theirs).all(-1).double().mean())
        del ours, theirs
        torch.cuda.empty_cache()
    except ImportError as error:
        facts["without attn-gym"] = str(error)
    return Race("an indexer's keys: 64 heads, D 128, n 32,768, t 2,048, causal", runs, facts)


RACES: dict[str, Callable[[], Race]] = {
    "selection": _selection,
    "union": _union,
    "nsa correlated": partial(_nsa, 32),
    "nsa random": partial(_nsa, 1),
    "vsa": _vsa,
    "lsh": partial(_grouped, "lsh", 65_536, True),
    "routed": partial(_grouped, "routed", 65_536, True),
    "keys": partial(_keys, 32),
    "shared keys": partial(_keys, 1),
    "index": _index,
    "lsh 262,144, 512 buckets": partial(_grouped, "lsh", 262_144, False, 512),
    **{f"{kind} {n:,}": partial(_grouped, kind, n, False) for n in (16_384, 262_144) for kind in ("lsh", "routed")},
}


if __name__ == "__main__":
    main()
