"""Attention over a pattern as the inner attention of torchtitan's models (torchtitan 0.3).

    import sparsec.torchtitan

    sparsec.torchtitan.use(model_config, "mine.spat", w=4096)  # before the trainer builds the model

Documents that are packed in a row are attended to each as if it stood alone, as torchtitan's own attention does it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from sparsec.diagnostics import ModelAsksMore, SparsecError, torch_for

try:
    with torch_for("sparsec.torchtitan"):
        import spmd_types as spmd
        from spmd_types.runtime import get_local_type, get_partition_spec
        from torchtitan.distributed.utils import get_spmd_backend
        from torchtitan.models.common.attention import VarlenAttention, VarlenMetadata
        from torchtitan.protocols.module import Module
except ImportError as missing:
    if missing.name not in ("torchtitan", "spmd_types"):  # a package that torchtitan itself lacks
        raise
    hint = "[SP0705] sparsec.torchtitan needs torchtitan 0.3: pip install torchtitan"
    raise ImportError(hint, name=missing.name) from missing

from sparsec.runtime.attend import Attend
from sparsec.runtime.fitting import fitting
from sparsec.runtime.load import compile


class InnerAttention(VarlenAttention):
    """The attention of one layer over a pattern, without parameters.

    A kind of torchtitan's varlen attention, so that its trainer hands over where documents begin; no mask is made.
    """

    @dataclass(kw_only=True, slots=True)
    class Config(VarlenAttention.Config):
        """`text` is a .spat text, compiled for layer `layer` of `layers`, with `keywords` of `sparsec.compile`."""

        text: str
        layer: int = 0
        layers: int = 1
        keywords: dict[str, Any] = field(default_factory=dict)

    def __init__(self, config: Config) -> None:
        Module.__init__(self)  # that of varlen attention sets up kernels of its own
        if config.window_size != (-1, 0):
            raise _refused(f"`window_size={config.window_size}`", "the pattern says which keys a query sees")
        self.attend: Attend = compile(config.text, layer=config.layer, layers=config.layers, **config.keywords)

    def forward(
        self,
        q_BLNH: Tensor,
        k_BLNH: Tensor,
        v_BLNH: Tensor,
        *,
        attention_masks: VarlenMetadata | None = None,
        scale: float | None = None,
        enable_gqa: bool = False,
        out_transform: Callable[[Tensor, Tensor], Tensor] | None = None,
        **others: object,
    ) -> Tensor:
        """q [B, L, N, H]; k, v [B, L, N_kv, H] -> [B, L, N, H], or what `out_transform` makes of it.

        `out_transform(out, lse)` gets the log-sum-exp [B, L, N], too.
        `attention_masks`: where documents begin in the B rows one after the other; None where each row is one text.
        Grouped heads need no `enable_gqa`.  Raises SparsecError for any other argument that would change the result.
        """
        for name, given in others.items():
            if given is not None:
                raise _refused(f"`{name}`", "what changes scores or what is seen is said in the pattern")
        if q_BLNH.shape[2] % k_BLNH.shape[2] == 0 and q_BLNH.shape[2] != k_BLNH.shape[2] and not enable_gqa:
            raise _refused("grouped heads without `enable_gqa`", "torchtitan's attention says that heads are grouped")
        rows, size = q_BLNH.shape[:2], v_BLNH.shape[-1]
        placed = _documents(attention_masks)
        scale = q_BLNH.shape[-1] ** -0.5 if scale is None else scale
        with spmd.no_typecheck():
            q, k, v = (_heads_first(x, packed=bool(placed)) for x in fitting(q_BLNH, k_BLNH, v_BLNH)[:3])
            out, lse = self.attend(q, k, v, scale=scale, return_lse=True, **placed)
            out = out[..., :size].transpose(1, 2).reshape(*rows, -1, size)
            lse = lse.transpose(1, 2).reshape(*rows, -1)
        if get_spmd_backend() == "spmd_types" and spmd.is_type_checking():
            local, parts = get_local_type(q_BLNH), get_partition_spec(q_BLNH)
            spmd.assert_type(out, local, parts)
            spmd.assert_type(lse, local, None if parts is None else spmd.PartitionSpec(*parts[:-1]))
        return out if out_transform is None else out_transform(out, lse)

    def extra_repr(self) -> str:
        return repr(self.attend.pattern)


def use(model_config: Any, pattern: str | os.PathLike[str], /, **keywords: Any) -> Any:
    """Let every attention layer of a model attend by a pattern; returns the configuration, which is changed.

        sparsec.torchtitan.use(model_config, "mine.spat", w=4096)
        sparsec.torchtitan.use(model_config, "pattern p(w = 512) = sinks(4) | past(w)", w=256)

    `pattern` is a text or the path of a .spat file, compiled when the model is built, for each layer with `layer`,
    `layers` and the keywords of `sparsec.compile`.  Texts with `use` have to be one file.  Call it before the trainer
    sets the sharding of inner attention.

    Raises SparsecError for configurations without layers of attention with an inner one.
    """
    text = Path(pattern).read_text(encoding="utf-8") if _is_path(pattern) else str(pattern)
    layers = list(getattr(model_config, "layers", ()))
    found = [(number, layer.attention) for number, layer in enumerate(layers) if _has_inner(layer)]
    if not found:
        hint = "`use` takes a decoder's configuration, whose `layers` have an `attention` with an `inner_attention`"
        raise _refused("layers of its own kind", hint)
    for number, attention in found:
        before = attention.inner_attention
        attention.inner_attention = InnerAttention.Config(
            text=text, layer=number, layers=len(layers), keywords=dict(keywords),
            param_init=before.param_init, sharding_config=before.sharding_config,
        )  # fmt: skip
    return model_config


def _has_inner(layer: object) -> bool:
    return getattr(getattr(layer, "attention", None), "inner_attention", None) is not None


def _is_path(pattern: str | os.PathLike[str]) -> bool:
    return not isinstance(pattern, str) or (pattern.endswith(".spat") and "\n" not in pattern)


def _documents(masks: VarlenMetadata | None) -> Mapping[str, Tensor]:
    """Where documents begin, as the operator takes it; values of queries and keys are compared on a CPU."""
    if masks is None:
        return {}
    if not isinstance(masks, VarlenMetadata):
        hint = "the pattern is the mask; beside it stands where documents begin"
        raise _refused(f"`attention_masks` of {type(masks).__name__}", hint)
    of_queries, of_keys = masks.cu_seq_q, masks.cu_seq_k
    if of_keys is not of_queries:
        looks = of_keys.device.type == "cpu"
        if of_keys.shape != of_queries.shape or (looks and not of_keys.equal(of_queries)):
            raise _refused("`cu_seq_q` and `cu_seq_k` that differ", "queries and keys are the same tokens")
    return {"documents": of_queries}


def _heads_first(x: Tensor, packed: bool) -> Tensor:
    """[B, L, N, H] -> [B, N, L, H], or where rows are packed [1, N, B * L, H]; a view."""
    return (x.flatten(0, 1)[None] if packed else x).transpose(1, 2)


def _refused(asked: str, hint: str) -> SparsecError:
    return SparsecError(ModelAsksMore(where="torchtitan", asked=asked, hint=hint))
