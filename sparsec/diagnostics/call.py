"""SP06xx: the call of an operator.  The messages say what was expected and what came."""

from __future__ import annotations

from sparsec.diagnostics.core import Diagnostic, Example


def _call(arguments: str, pattern: str = "pattern p = causal", **keywords: int) -> Example:
    """A call of an operator with tensors of the given shapes."""
    given = "".join(f", {name}={value}" for name, value in keywords.items())
    return Example(
        "import sparsec\nfrom torch import rand\n\n"
        f'attend = sparsec.compile("{pattern}"{given})\nattend({arguments})\n',
        language="python",
    )


class WrongShape(Diagnostic, code="SP0601", title="wrong shape"):
    """q is [B, H, n_q, D], k [B, H_kv, n, D] and v [B, H_kv, n, D_v]; D and D_v are multiples of 8 from 16 to 256."""

    argument: str
    expected: str
    found: str
    message = "`{argument}` must be {expected}, and is {found}"
    example = _call("rand(1, 2, 8, 16), rand(1, 2, 8, 16), rand(1, 2, 9, 16)")
    cure = "Pass tensors of the shapes named."


class WrongDtype(Diagnostic, code="SP0602", title="wrong dtype"):
    """q, k and v share one dtype: float32, float16 or bfloat16, or float64 on the CPU."""

    argument: str
    expected: str
    found: str
    message = "`{argument}` must be {expected}, and is {found}"
    example = _call("rand(1, 2, 8, 16), rand(1, 2, 8, 16), rand(1, 2, 8, 16).double()")
    cure = "Convert it with `.to(dtype)`."


class WrongDevice(Diagnostic, code="SP0603", title="wrong device"):
    """q, k and v are on one device: the CPU or a GPU."""

    argument: str
    expected: str
    found: str
    message = "`{argument}` must be on {expected}, and is on {found}"
    example = _call("rand(1, 2, 8, 16), rand(1, 2, 8, 16), rand(1, 2, 8, 16, device='meta')")
    cure = "Move it with `.to(device)`."


class WrongHeads(Diagnostic, code="SP0604", title="wrong number of heads"):
    """The number of query heads is a multiple of the number of key heads; a pattern that depends on the heads is
    called with as many as it was compiled for.
    """

    expected: str
    found: str
    message = "expected {expected}, and there are {found}"
    example = _call("rand(1, 6, 8, 16), rand(1, 4, 8, 16), rand(1, 4, 8, 16)")
    cure = "Pass tensors with matching heads, or compile the pattern with another `heads=`."


class OffsetNeeded(Diagnostic, code="SP0605", title="more queries than keys"):
    """Queries stand at the end of the keys: row i is position i + n - n_q.  With more queries than keys that would be
    negative, so the caller has to say where the first query stands.
    """

    n_q: int
    n_k: int
    message = "{n_q} queries and {n_k} keys: the position of the first query is not known"
    help = "pass `q_offset=0` (`--q-offset 0` to a command), or whatever the first query's position is"
    example = _call("rand(1, 2, 9, 16), rand(1, 2, 8, 16), rand(1, 2, 8, 16)")
    cure = "Pass `q_offset=...`."


class WrongArgument(Diagnostic, code="SP0606", title="wrong argument"):
    """An argument beside the tensors, such as `scale` or `q_offset`, is not what it has to be."""

    argument: str
    expected: str
    found: str
    message = "`{argument}` must be {expected}, and is {found}"
    example = _call("rand(1, 2, 8, 16), rand(1, 2, 8, 16), rand(1, 2, 8, 16), scale='big'")
    cure = "Pass a value of the kind named."


class NotDifferentiable(Diagnostic, code="SP0607", title="no such derivative"):
    """The operator has a backward pass; it has no derivative of that pass, and no forward-mode derivative."""

    what: str
    message = "{what} of sparse attention is not supported"
    help = "only first derivatives, in reverse mode, are"
    example = Example(
        "import sparsec\nimport torch\n\n"
        'attend = sparsec.compile("pattern p = causal")\n'
        "q = torch.rand(1, 2, 8, 16, requires_grad=True)\n"
        "(grad,) = torch.autograd.grad(attend(q, q, q).sum(), q, create_graph=True)\n"
        "grad.sum().backward()\n",
        language="python",
    )
    cure = "Use first derivatives in reverse mode, or dense attention."


class NotImportable(Diagnostic, code="SP0608", title="a mask_mod without an exact form"):
    """`sparsec.from_mask_mod` turns a function into a condition on positions, exactly or not at all.  It calls the
    function with objects that record what is done with them; look-ups by several positions, the batch index outside of
    look-ups, floats, and `if`, `and` and `or`, which ask for one answer for all pairs, have no such form.
    """

    construct: str
    hint: str = ""
    message = "{construct} can't be imported exactly"
    help = "{hint}"
    example = Example(
        "import sparsec\n\nsparsec.from_mask_mod(lambda b, h, q, k: q >= k and q - k < 512)\n", language="python"
    )
    cure = "`(q >= k) & (q - k < 512)`"


class WrongConfig(Diagnostic, code="SP0609", title="a configuration without an exact form"):
    """`sparsec.from_config` reads configurations of other programs, of the kinds that it knows, exactly or not at
    all: a field that is missing, misspelt or contradicts another is refused, and so is what no text can repeat, such
    as scores that are capped.
    """

    kind: str
    problem: str
    hint: str = ""
    message = "{kind}: {problem}"
    help = "{hint}"
    example = Example(
        'import sparsec\n\nsparsec.from_config({"mode": "fixed", "num_local_block": 4})\n', language="python"
    )
    cure = '`{"mode": "fixed", "num_local_blocks": 4}`'


class ModelAsksMore(Diagnostic, code="SP0610", title="a model asks for more than a pattern"):
    """`sparsec.transformers` is the attention of a model of transformers: softmax of scaled scores over the keys that a
    pattern keeps.  What a model asks for beyond that (biases, weights), and masks that are no condition on
    positions, documents and padding on one side, are refused: left out, they would change the result in silence.
    """

    where: str
    asked: str
    hint: str = ""
    message = "{where} asks for {asked}, which a pattern can't give"
    help = "{hint}"
    example = Example(
        "import torch\n"
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "import sparsec.transformers\n\n"
        "config = LlamaConfig(vocab_size=8, hidden_size=32, intermediate_size=32, num_hidden_layers=1,\n"
        "                     num_attention_heads=2)\n"
        "model = LlamaForCausalLM(config)\n"
        'sparsec.transformers.use(model, "pattern p = past(4)")\n'
        "model(torch.ones(1, 8, dtype=int), output_attentions=True)\n",
        language="python",
    )
    cure = '`model.set_attn_implementation("eager")`'


class ForeignArgument(Diagnostic, code="SP0611", title="an argument of another attention function"):
    """A call takes q, k and v, and by keyword `scale`, `sinks`, `dropout_p`, `generator`, `dropout_seed`, `q_offset`,
    `k_offset`, `documents`, `lengths`, `q_lengths` and `return_lse`.  What other functions take beside them is
    part of the pattern here (masks, windows, causality), has another name (padding, packed rows), is true by
    itself (shared key heads), or is not there (biases); the message says which.
    """

    name: str
    hint: str
    message = "a call takes no `{name}`: {hint}"
    example = _call("rand(1, 2, 8, 16), rand(1, 2, 8, 16), rand(1, 2, 8, 16), is_causal=True")
    cure = "Say it in the text of the pattern, or leave it out."


class WrongData(Diagnostic, code="SP0612", title="wrong documents, lengths or offsets"):
    """Where sequences of a call begin and end is said by tensors of int32 or int64 on the device of q: `documents` is
    cu_seqlens [documents + 1] of one packed row, or start [B, n]; `lengths`, `q_lengths`, `q_offset` and `k_offset`
    have a number for each row of the batch.  What `attend.work` made is about the lengths that it was given, as they
    were then.  Values of CPU tensors are checked at every call; those on a GPU where the environment variable
    SPARSEC_CHECK is 1, since a look at them waits for the GPU.
    """

    argument: str
    expected: str
    found: str
    message = "`{argument}` must be {expected}, and is {found}"
    example = Example(
        "import sparsec\nfrom torch import rand, tensor\n\n"
        'attend = sparsec.compile("pattern p = causal")\n'
        "q = rand(1, 2, 8, 16)\n"
        "attend(q, q, q, documents=tensor([0, 5, 3, 8]))\n",
        language="python",
    )
    cure = "`documents=tensor([0, 3, 5, 8])`"


class NoSteps(Diagnostic, code="SP0623", title="a pattern without steps of decoding"):
    """A step of `attend.decode` is a row of the attention over the whole sequence, from the cache alone.  Data of a
    call (inputs, blocks chosen by content) is not in the cache, and `random_blocks` and `random_keys` draw other keys
    at every length, so that no row stays what it was.
    """

    reason: str
    hint: str
    message = "{reason}"
    help = "{hint}"
    example = Example(
        "import sparsec\nfrom torch import rand, tensor\n\n"
        'attend = sparsec.compile("pattern p = past(8) | causal & random_keys(2, 1)")\n'
        "attend.decode(rand(1, 2, 16), rand(1, 2, 9, 16), rand(1, 2, 9, 16), tensor([9]))\n",
        language="python",
    )
    cure = "`past(8) | causal & random_past_blocks(1, 2, 1)`"
