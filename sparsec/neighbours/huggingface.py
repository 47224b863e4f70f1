"""Configurations of Hugging Face's transformers as .spat text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from sparsec.neighbours.fields import Fields, wrong


def mistral(fields: Fields) -> str:
    """The last `sliding_window` keys, or all of the past without one (Jiang et al., 2023, arXiv:2310.06825)."""
    if fields.value("sliding_window", None) is None:
        return fields.comment("Without a window every layer sees all of the past.") + "pattern mistral =\n    causal\n"
    w = fields.integer("sliding_window")
    remark = "The query's own position is one of the keys in the window: q - k < sliding_window."
    return fields.comment(remark) + f"pattern mistral(w = {w}) =\n    past(w)\n"


def gemma(fields: Fields) -> str:
    """All of the past in every layer."""
    _refuse_bidirectional(fields)
    return fields.comment("Every layer sees all of the past.") + "pattern gemma =\n    causal\n"


def gemma2(fields: Fields) -> str:
    """Windows, and all of the past in every second layer (Gemma Team, 2024, arXiv:2408.00118)."""
    return _alternating(fields, "gemma2", 2)


def gemma3_text(fields: Fields) -> str:
    """Windows, and all of the past in every sixth layer (Gemma Team, 2025, arXiv:2503.19786)."""
    return _alternating(fields, "gemma3", fields.integer("sliding_window_pattern", 6))


def gemma3(fields: Fields) -> str:
    """The text model of the multimodal configuration."""
    inner = Fields(fields.value("text_config"), "a transformers config of type gemma3_text")
    remark = "# The text model of Gemma 3.  In an image its tokens also see each other, which depends on the data.\n"
    return remark + gemma3_text(inner)


def longformer(fields: Fields, global_tokens: int) -> str:
    """A window of `attention_window // 2` on either side in each layer (Beltagy et al., 2020, arXiv:2004.05150)."""
    layers = fields.integer("num_hidden_layers")
    widths = fields.value("attention_window")
    widths = (
        fields.integers("attention_window")
        if isinstance(widths, list | tuple)
        else [fields.integer("attention_window")]
    )
    if len(widths) not in (1, layers) or any(width % 2 for width in widths):
        raise wrong(fields.kind, f"`attention_window` is {widths}", "it is one even number, or one for each layer")
    remarks = ["Longformer's global tokens have projections of their own, which are the model's business."]
    if global_tokens == 0:
        remarks.append("No token is global; `from_config(config, global_tokens=1)` makes the first one so.")
    head = f"pattern longformer(g = {global_tokens})" if global_tokens else "pattern longformer"
    bodies = [f"window({width})" + (" | global(g)" if global_tokens else "") for width in widths]
    return fields.comment(*remarks) + _by_layer(head, bodies)


def big_bird(fields: Fields, seed: int | None) -> str:
    """First and last block global, three blocks around, and random ones (Zaheer et al., 2020, arXiv:2007.14062)."""
    decoder = fields.flag("is_decoder")
    if fields.choice("attention_type", ("block_sparse", "original_full"), "block_sparse") == "original_full":
        return fields.comment() + f"pattern big_bird =\n    {'causal' if decoder else 'full'}\n"
    if decoder:
        raise wrong(fields.kind, "a decoder has no block-sparse attention", "set `attention_type` to 'original_full'")
    b, r = fields.integer("block_size"), fields.integer("num_random_blocks", least=0)
    remarks = [
        "The first and the last block see, and are seen by, all.",
        f"Up to (5 + 2 * num_random_blocks) * block_size = {(5 + 2 * r) * b} tokens transformers takes full attention.",
        "Without that line the backward pass has simpler ranges: leave it out where every text is longer.",
    ]
    parts = [
        "block_window(b, 3)",
        "q // b in {0, (n - 1) // b}",
        "k // b in {0, (n - 1) // b}",
        f"n <= {(5 + 2 * r) * b}",
    ]
    parameters = f"b = {b}"
    if r:
        parts.append("random_blocks(b, r, seed)")
        parameters += f", r = {r}, seed = {check_seed(fields, seed)}"
        remarks.append(
            "Random blocks: as many, drawn by sparsec's generator from all blocks; transformers draws others,"
        )
        remarks.append("for each head and layer anew, and none that the row sees already.")
    return fields.comment(*remarks) + f"pattern big_bird({parameters}) =\n      {_lines(parts)}\n"


def check_seed(fields: Fields, seed: int | None) -> int:
    """The seed that the caller gave, who thereby takes other random blocks than the configuration's own."""
    if seed is None:
        raise wrong(
            fields.kind,
            "its random blocks come from another generator, and can't be repeated exactly",
            "`from_config(config, seed=0)` takes as many random blocks of sparsec's own",
        )
    return seed


def _lines(parts: Sequence[str]) -> str:
    return "\n    | ".join(parts)


def _refuse_bidirectional(fields: Fields) -> None:
    if fields.flag("use_bidirectional_attention"):
        raise wrong(
            fields.kind,
            "with `use_bidirectional_attention` its window counts differently from version to version",
            "write `abs(q - k) < w` for the layers with a window, `full` for the others",
        )


def _alternating(fields: Fields, name: str, period: int) -> str:
    _refuse_bidirectional(fields)
    w, kinds = fields.integer("sliding_window"), _kinds(fields, period)
    bodies = ["past(w)" if kind == "sliding_attention" else "causal" for kind in kinds]
    remark = "Where layers differ it is compiled with `layer=`, counted from 0.  In a window q - k < sliding_window."
    return fields.comment(remark) + _by_layer(f"pattern {name}(w = {w})", bodies)


def _kinds(fields: Fields, period: int) -> list[str]:
    """What each layer is; where the configuration does not say, every `period`-th is full."""
    layers = fields.integer("num_hidden_layers")
    if fields.value("layer_types", None) is None:
        return ["full_attention" if (layer + 1) % period == 0 else "sliding_attention" for layer in range(layers)]
    kinds = list(fields.value("layer_types"))
    if len(kinds) != layers or not set(kinds) <= {"sliding_attention", "full_attention"}:
        hint = "known are sliding_attention and full_attention, one for each of num_hidden_layers"
        raise wrong(fields.kind, f"`layer_types` is {kinds}", hint)
    return kinds


def _by_layer(head: str, bodies: Sequence[str]) -> str:
    """A pattern whose layer i has body i; a rhythm of the layers is found."""
    count = len(bodies)
    period = next(p for p in range(1, count + 1) if all(bodies[i] == bodies[i % p] for i in range(count)))
    if period == 1:
        return f"{head} =\n    {bodies[0]}\n"
    value = "layer" if 2 * period > count else f"layer % {period}"
    arms: dict[str, list[str]] = {}
    for body, run in groupby(range(period if value != "layer" else count), key=bodies.__getitem__):
        first, *rest = run
        arms.setdefault(body, []).append(f"{first}..{rest[-1] + 1}" if rest else str(first))
    heads = {body: " | ".join(each) for body, each in arms.items()}
    width = max(map(len, heads.values()))
    lines = "".join(f"        {each:{width}} -> {body}\n" for body, each in heads.items())
    return f"{head} =\n    match {value} {{\n{lines}    }}\n"
