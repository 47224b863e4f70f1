"""Encoders of transformers whose layers see windows, global tokens or blocks."""

from __future__ import annotations

from collections.abc import Sequence

from sparsec.importers import relative
from sparsec.importers.fields import Fields, wrong
from sparsec.importers.layers import by_layer


def longformer(fields: Fields, global_tokens: int) -> str:
    """A window of `attention_window // 2` on either side in each layer (Beltagy et al., 2020, arXiv:2004.05150)."""
    return _windows(fields, "longformer", fields.integer("num_hidden_layers"), global_tokens)


def led(fields: Fields, global_tokens: int) -> str:
    """The encoder of a Longformer encoder-decoder."""
    remark = "# The encoder; its decoder sees all of the past, and all that was encoded.\n"
    return remark + _windows(fields, "led", fields.integer("encoder_layers"), global_tokens)


def _windows(fields: Fields, name: str, layers: int, global_tokens: int) -> str:
    widths = fields.value("attention_window")
    widths = (
        fields.integers("attention_window")
        if isinstance(widths, list | tuple)
        else [fields.integer("attention_window")]
    )
    if len(widths) not in (1, layers) or any(width % 2 for width in widths):
        raise wrong(fields.kind, f"`attention_window` is {widths}", "it is one even number, or one for each layer")
    remarks = ["Global tokens have projections of their own, which are the model's business."]
    if global_tokens == 0:
        remarks.append("No token is global; `from_config(config, global_tokens=1)` makes the first one so.")
    head = f"pattern {name}(g = {global_tokens})" if global_tokens else f"pattern {name}"
    bodies = [f"window({width})" + (" | global(g)" if global_tokens else "") for width in widths]
    return fields.comment(*remarks) + by_layer(head, bodies)


def big_bird(fields: Fields, seed: int | None, name: str = "big_bird") -> str:
    """First and last block global, three blocks around, and random ones (Zaheer et al., 2020, arXiv:2007.14062)."""
    decoder = fields.flag("is_decoder")
    if fields.choice("attention_type", ("block_sparse", "original_full"), "block_sparse") == "original_full":
        return fields.comment() + f"pattern {name} =\n    {'causal' if decoder else 'full'}\n"
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
    return fields.comment(*remarks) + f"pattern {name}({parameters}) =\n      {_joined(parts)}\n"


def bigbird_pegasus(fields: Fields, seed: int | None) -> str:
    """The encoder of a BigBird encoder-decoder."""
    remark = "# The encoder; its decoder sees all of the past, and all that was encoded.\n"
    return remark + big_bird(fields, seed, "bigbird_pegasus")


def longt5(fields: Fields, pairs_only: bool) -> str:
    """The encoder's `local_radius` tokens on each side (Guo et al., 2021, arXiv:2112.07916)."""
    if fields.choice("encoder_attention_type", ("local", "transient-global"), "local") != "local":
        hint = "transient-global attention adds keys that are sums of blocks, which no position has"
        raise wrong(fields.kind, "`encoder_attention_type` is 'transient-global'", hint)
    return relative.longt5(fields, fields.integer("local_radius"), pairs_only)


def moonshine_streaming(fields: Fields) -> str:
    """Each layer of the encoder sees a number of frames before and after its own."""
    windows, layers = fields.value("sliding_windows"), fields.integer("num_hidden_layers")
    if len(windows) != layers or not all(_is_window(each) for each in windows):
        raise wrong(fields.kind, f"`sliding_windows` is {windows}", "it is two numbers of at least 0 for each layer")
    remarks = [
        "The encoder, where it is given an attention mask; without one transformers applies no window.",
        "Left counts the frame itself, right the first one after it as 1: `right` of 4 are three later frames.",
    ]
    bodies = [f"past({left})" if right < 2 else f"q - k < {left} & k - q < {right}" for left, right in windows]
    return fields.comment(*remarks) + by_layer("pattern moonshine_streaming", bodies)


def _is_window(sizes: Sequence[object]) -> bool:
    numbers = [size for size in sizes if isinstance(size, int)]
    return len(sizes) == len(numbers) == 2 and numbers[0] >= 1 and numbers[1] >= 0


def check_seed(fields: Fields, seed: int | None) -> int:
    """The seed that the caller gave, who thereby takes other random blocks than the configuration's own."""
    if seed is None:
        raise wrong(
            fields.kind,
            "its random blocks come from another generator, and can't be repeated exactly",
            "`from_config(config, seed=0)` takes as many random blocks of sparsec's own",
        )
    return seed


def _joined(parts: list[str]) -> str:
    return "\n    | ".join(parts)
