"""Models whose scores fall with distance: BLOOM and MPT (Press et al., 2022)."""

from __future__ import annotations

from sparsec.importers.fields import Fields, wrong

_SLOPES = 8  # the exponent of the last head's slope, 2 ** -8


def bloom(fields: Fields, pairs_only: bool) -> str:
    """The text of a BLOOM configuration."""
    heads = fields.integer("n_head")
    return _text(fields, "bloom", heads, pairs_only)


def mpt(fields: Fields, pairs_only: bool) -> str:
    """The text of an MPT configuration; its attention has a configuration of its own."""
    inner = Fields(fields.value("attn_config", {}), f"the `attn_config` of {fields.kind}")
    heads, has_alibi, most = fields.integer("n_heads"), inner.flag("alibi", True), inner.integer("alibi_bias_max", 8)
    if inner.flag("prefix_lm"):
        raise wrong(fields.kind, "with `prefix_lm` the prefix sees itself", "write `causal | k < prefix`")
    if most != _SLOPES and has_alibi and not pairs_only:
        hint = f"write a score: `s - 2 ** (-{most} * (h + 1) / H) * abs(q - k)`"
        raise wrong(fields.kind, f"`alibi_bias_max` is {most}, and `alibi` stands for {_SLOPES}", hint)
    return _text(fields, "mpt", heads, pairs_only or not has_alibi)


def _text(fields: Fields, name: str, heads: int, plain: bool) -> str:
    if heads & (heads - 1) and not plain:
        hint = "their slopes are those of two series; `from_config(config, pairs_only=True)` gives the pairs alone"
        raise wrong(fields.kind, f"it has {heads} heads, and `alibi` is about powers of 2", hint)
    score = "" if plain else " with alibi"
    return fields.comment("Every layer sees all of the past.") + f"pattern {name} =\n    causal{score}\n"
