"""sparsec as an attention implementation of Hugging Face's transformers (5.5 and later): importing this registers it.

    import sparsec.transformers

    model = AutoModelForCausalLM.from_pretrained(name, attn_implementation="sparsec")  # the model's own masks
    sparsec.transformers.use(model, "pattern p = sinks(4) | past(512)")  # or a pattern of yours
    print(sparsec.transformers.verify(model))

Longformer and BigBird have attention of their own, which `patch` replaces; `capture` writes queries and keys down for
`sparsec fit`.

No mask of n x n is made: what a layer may see is read from the mask function that transformers passes, and compiled.
Rows may be packed or have padding, on the left or on the right.  Whatever would change the result and is not done here
(biases, attention weights) is refused.
"""

from __future__ import annotations

try:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask
except ImportError as missing:
    if missing.name != "transformers":  # a package that transformers itself lacks
        raise
    hint = "[SP0705] sparsec.transformers needs transformers 5.5 or later: pip install 'sparsec[transformers]'"
    raise ImportError(hint, name="transformers") from missing

from sparsec.transformers.attention import attention
from sparsec.transformers.cache import Cache
from sparsec.transformers.capture import capture
from sparsec.transformers.dense import NAME, dense_attention
from sparsec.transformers.masks import mask
from sparsec.transformers.models import use
from sparsec.transformers.patch import patch
from sparsec.transformers.prepared import prepared_masks
from sparsec.transformers.verify import Report, verify

__all__ = ["Cache", "Report", "capture", "patch", "prepared_masks", "use", "verify"]

AttentionInterface.register("sparsec", attention)
AttentionMaskInterface.register("sparsec", mask)
AttentionInterface.register(NAME, dense_attention)
AttentionMaskInterface.register(NAME, eager_mask)
