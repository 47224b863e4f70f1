"""sparsec as an attention implementation of Hugging Face's transformers (5.5 and later): importing this registers it.

    import sparsec.transformers

    model = AutoModelForCausalLM.from_pretrained(name, attn_implementation="sparsec")  # the model's own masks
    sparsec.transformers.use(model, "pattern p = sinks(4) | past(512)")  # or a pattern of yours

No mask of n x n is made: what a layer may see is read from the mask function that transformers passes, and compiled.
Rows may have padding, on the left or on the right.  Whatever would change the result and is not done here (packed rows,
dropout, softcapping, biases) is refused.
"""

from __future__ import annotations

try:
    from transformers import AttentionInterface, AttentionMaskInterface
except ImportError as missing:
    if missing.name != "transformers":  # a package that transformers itself lacks
        raise
    hint = "[SP0705] sparsec.transformers needs transformers 5.5 or later: pip install transformers"
    raise ImportError(hint, name="transformers") from missing

from sparsec.transformers.attention import attention
from sparsec.transformers.masks import mask
from sparsec.transformers.models import use

__all__ = ["use"]

AttentionInterface.register("sparsec", attention)
AttentionMaskInterface.register("sparsec", mask)
