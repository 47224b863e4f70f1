"""Hints for names and sorts that are wrong: what is written here for the names of other attention libraries and of
Python (FlexAttention, transformers, flash-attn, xformers, NATTEN, DeepSpeed, Pallas' splash attention, torch, numpy).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sparsec import diagnostics as say
from sparsec.diagnostics import Diagnostic, Fix
from sparsec.lower.scope import INTEGERS, Scope
from sparsec.lower.signatures import BUILT_IN
from sparsec.source import Span
from sparsec.syntax import ast
from sparsec.syntax.errors.borrowed import RANGE
from sparsec.syntax.errors.near import near
from sparsec.syntax.later import way_around

_INTEGERS = {
    "the batch is no part of a pattern: all its texts have the same": "b B bs batch batch_idx batch_index",
    "the query's position is `q`": "i Q qi q_idx q_index q_i q_pos q_position query query_idx query_index query_pos",
    "the key's position is `k`": """
        j K kj kv kv_idx kv_index kv_i kv_pos k_idx k_index k_pos k_position key key_idx key_index key_pos""",
    "the number of keys is `n`": """
        N len seq_len seqlen seq_length sequence_length length total_len total_length kv_len kv_length kv_seq_len k_len
        k_length key_len seqlen_k seqlen_kv n_k n_kv n_keys num_keys max_len max_length context_length S T KV_LEN""",
    "queries already stand at the end of the keys: `q` counts from the first key, so the past is `k <= q`": """
        n_q n_queries num_queries q_len q_length query_len query_length seqlen_q q_offset offset query_offset
        cache_position cache_len past_len past_length past_kv_len past_key_values_length Q_LEN""",
    "the query head is `h`": "head head_idx head_index head_id h_idx hq q_head query_head",
    "the number of heads is `H`": "heads num_heads n_heads nheads n_head num_attention_heads",
    "the layer is `layer`": "layer_idx layer_index layer_id",
    "the number of layers is `L`": "layers num_layers n_layers n_layer num_hidden_layers",
    "`//` rounds down; rounded up, `a // b` is `(a + b - 1) // b`": "floor int trunc round floor_divide div cdiv ceil",
    "the remainder is `a % b`": "remainder fmod modulo mod",
    "between two bounds is `min(max(x, first), last)`": "clamp clip clamp_min clamp_max",
    "roots are not needed: `(q - k) ** 2 <= 25` is `abs(q - k) <= 5`": "sqrt square pow",
    RANGE: "range arange",
}  # fmt: skip
_SETS = {
    "every pair is `full`": """
        True true all ones dense noop noop_mask no_mask full_mask full_attention bidirectional bidirectional_mask
        noncausal non_causal acausal anticausal not_causal FullMask DenseSparsityConfig""",
    "no pair is `~full`": "False false none None null nothing empty zeros",
    "keys up to the query are `causal`": """
        causal_mask causal_attention causal_mask_function is_causal tril lower_triangular autoregressive CausalMask
        LowerTriangularMask LowerTriangularFromBottomRightMask make_causal_mask""",
    "keys from the query on are `k >= q`, keys behind it `k > q`": "future ahead triu upper_triangular anti_causal",
    "each query's own key is `k == q`": "diagonal diag eye identity self_only",
    "a window is `past(w)`, or on both sides `window(w)`": """
        local local_mask local_window local_attention local_causal sliding sliding_window sliding_window_mask
        sliding_window_attention sliding_window_causal sliding_window_causal_mask sliding_window_overlay
        sliding_window_causal_mask_function sliding_window_bidirectional_mask_function swa band banded
        LocalSlidingWindowSparsityConfig make_local_attention_mask""",
    "a window of `left` keys before the query and `right` behind it is `-right <= q - k <= left`": """
        window_size window_left window_right LocalMask LocalAttentionFromBottomRightMask BlockDiagonalCausalLocalMask
        left_window_size right_window_size""",
    "in one dimension `window(w)`; on rows of c tokens `abs(q // c - k // c) <= r & abs(q % c - k % c) <= r`": """
        na1d na2d na3d natten neighborhood neighbourhood neighborhood_attention kernel_size generate_natten""",
    "chunks of c tokens are `causal & same_block(c)`": """
        chunked chunk chunks chunk_size chunked_mask chunked_attention chunked_overlay chunked_causal_mask_function
        attention_chunk_size ChunkedCausalMask make_chunk_attention_mask BlockDiagonalCausalFromBottomRightMask""",
    "a prefix that all see is `causal | k < prefix`, with `prefix` a parameter": """
        prefix_lm prefix_lm_mask prefix_lm_causal_mask prefix_mask generate_prefix_lm_mask prefix_length prefix_len""",
    "keys that all later queries see are `sinks(s)`": "sink attention_sink attention_sinks sink_tokens sink_size",
    "tokens that see all and are seen by all are `global(g)`": "global_mask global_attention global_tokens",
    "sets are joined by `a & b`": "and_masks intersection intersect logical_and bitwise_and LogicalAnd both",
    "sets are joined by `a | b`": "or_masks union logical_or bitwise_or LogicalOr either",
    "what is not in a set is `~a`": "not_mask logical_not complement invert negate",
    "for pairs in exactly one of two sets write `(a \\ b) | (b \\ a)`": "logical_xor symmetric_difference xor_masks",
    "this pattern is read from its configuration by `sparsec.from_config`": """
        FixedSparsityConfig VariableSparsityConfig BigBirdSparsityConfig BSLongformerSparsityConfig SparsityConfig""",
    "a FlexAttention mask function is read by `sparsec.from_mask_mod`": """
        mask_mod create_block_mask create_mask BlockMask flex_attention torch np jnp""",
    "documents are data of the call: declare `input doc: int[n]`, then `doc[q] == doc[k]`": """
        doc docs document documents doc_id doc_ids document_id document_ids document_mask segment_id segment_ids
        SegmentIds segment_mask seq_id seq_ids sequence_id sequence_ids sample_id cu_seqlens cu_seqlens_q cu_seqlens_k
        cu_seqlens_q_k cu_seq_lens max_seqlen max_seqlen_q max_seqlen_k offsets packed packed_sequence_mask
        packed_sequence_mask_function varlen BlockDiagonalMask BlockDiagonalCausalMask
        BlockDiagonalCausalWithOffsetPaddedKeysMask same_document same_doc""",
    "the length of each row is data of the call: declare `input length: int[B]`, then `k < length`": """
        padding pad padding_mask pad_mask key_padding_mask src_key_padding_mask attention_mask attn_mask is_pad lengths
        seq_lens kv_lens kv_seqlens padding_mask_function PaddingMask PaddedKeysMask""",
    "a cap of scores is applied by `with`: `pattern p = causal with softcap(50)`": """
        soft_cap softcapping logit_softcap logits_soft_cap attn_logit_softcapping tanh_softcap""",
    "scores are declared and applied by `with`: `score half = 0.5 * s`, `pattern p = causal with half`": """
        scores score_mod temperature softmax scale""",
    "a choice by position is `(a & b) | (c \\ a)`": "where",
}  # fmt: skip
_MAYBE_OWN = {"b", "B", "offset", "length", "max_len", "max_length", "i", "j"}  # that people also choose themselves


def _by_word(groups: dict[str, str]) -> dict[str, str]:
    return {word: hint for hint, words in groups.items() for word in words.split()}


_INTEGER_HINTS, _SET_HINTS = _by_word(_INTEGERS), _by_word(_SETS)


def foreign(name: str, wanted: str) -> str:
    """What is written here for a name of another library, where an int or a set is `wanted`, or either; else empty."""
    return _INTEGER_HINTS.get(name, "") or (_SET_HINTS.get(name, "") if wanted != "int" else "")


def may_be_own(name: str) -> bool:
    """Whether a name of other libraries is as likely a parameter that was forgotten."""
    return name in _MAYBE_OWN


_OTHERWISE = ("_", "default", "otherwise")
_SET_OPERATORS = {"+": "|", "-": "\\", "*": "&"}  # of sets, in numpy and elsewhere -> ours


def unknown(
    node: ast.Call, scope: Scope, definition: ast.Definition, known: Sequence[str], wanted: str, search: bool
) -> Diagnostic:
    """The name of a call that nothing defines.  `known` are the parameters so far; `search`: look for names like it."""
    span = Span(node.span.source, node.span.start, node.span.start + len(node.name))
    if way := way_around(node.name):
        return say.NotYet(what=f"`{node.name}`", hint=way, span=node.span)
    if node.arguments and (source := scope.input(node.name)):
        return _in_square_brackets(node, source)
    names = near(node.name, _candidates(node, scope, known, wanted)) if search else []
    hint = foreign(node.name, wanted)
    if not hint and names:
        hint = f"did you mean `{names[0]}`?"
    elif not hint or may_be_own(node.name):
        hint = "; or ".join(filter(None, [hint, _parameter(node, scope, definition, known, wanted)]))
    fixes = () if foreign(node.name, wanted) else tuple(Fix(f"change to `{name}`", span, name) for name in names)
    return say.UnknownName(name=node.name, hint=hint, span=span, fixes=fixes)


def _candidates(node: ast.Call, scope: Scope, known: Sequence[str], wanted: str) -> list[str]:
    """The names of what could stand there: integers, sets, or both where either could."""
    integers = [] if node.arguments else [*known, *INTEGERS, *scope.inputs, *scope.used_inputs]
    built_in = [name for name, signature in BUILT_IN.items() if wanted in ("", signature.sort)]
    return [*(integers if wanted != "set" else ()), *built_in, *(scope.names() if wanted != "int" else ())]


def _parameter(node: ast.Call, scope: Scope, definition: ast.Definition, known: Sequence[str], wanted: str) -> str:
    """How an unknown name could be a parameter."""
    own = [parameter.name for parameter in definition.parameters]
    in_default = len(known) < len(own)
    if node.name in own:
        return f"a default may name the parameters before it: declare `{node.name}` first" if in_default else ""
    if any(node.name == parameter.name for entry in scope.own.values() for parameter in entry.definition.parameters):
        return f"a {definition.kind} sees its own parameters only: add `{node.name}` to them"
    if wanted != "int" or node.arguments:
        return ""
    declared = f"{node.name} = 64"
    if own:
        declared = f"{declared}, ..." if in_default else f"..., {declared}"
    return f"declare it as a parameter: `{definition.kind} {definition.name}({declared})`"


_RESERVED = {
    "q": ("the query's position", "rows"), "k": ("the key's position", "keys"), "n": ("the number of keys", "size"),
    "h": ("the query head", "height"), "H": ("the number of heads", "height"), "layer": ("the layer", "depth"),
    "L": ("the number of layers", "length"), "s": ("the score itself, in scores", "width"),
    "pattern": ("a keyword of `sparsec.load`", "name"),
    "heads": ("a keyword of `sparsec.load`", "count"), "layers": ("a keyword of `sparsec.load`", "depth"),
}  # fmt: skip


def reserved(name: str) -> str:
    """What a reserved name means everywhere, and a name that is free."""
    meaning, free = _RESERVED[name]
    return f"`{name}` is {meaning} everywhere; choose another name, `{free}` say"


def otherwise_arm(head: ast.Expr, parameters: Sequence[str]) -> Diagnostic | None:
    """`_ -> ...` is `else -> ...` here, unless it is a parameter."""
    if isinstance(head, ast.Name) and head.name in _OTHERWISE and head.name not in parameters:
        fix = Fix("write `else`", head.span, "else")
        return say.WrongSymbol(found=head.name, right="else", span=head.span, fixes=(fix,))
    return None


def in_round_brackets(node: ast.Index) -> Diagnostic:
    """`past[4]` of a set that takes arguments."""
    inside = node.span.text.partition("[")[2].rpartition("]")[0]
    right = f"{node.name}({inside})"
    fix = Fix("write `(...)`", node.span, right, safe=True)
    return say.WrongSymbol(found=f"{node.name}[...]", right=f"{node.name}(...)", span=node.span, fixes=(fix,))


def _in_square_brackets(node: ast.Call, source: ast.Input) -> Diagnostic:
    """`doc(q)` of an input, whose entries are read by `doc[q]`, or which is a set by `selected(doc)`."""
    inside = ", ".join(each.value.span.text for each in node.arguments)
    chosen = source.kind in ("blocks", "keys")
    right = f"selected({node.name})" if chosen else f"{node.name}[{inside}]"
    fix = Fix(f"write `{right}`", node.span, right)
    shown = right if chosen else f"{node.name}[...]"
    return say.WrongSymbol(found=f"{node.name}(...)", right=shown, span=node.span, fixes=(fix,))


def undeclared(node: ast.Index, scope: Scope, in_score: bool) -> Diagnostic:
    """`doc[q]` where no input is called `doc`."""
    names = near(node.name, [*scope.inputs, *scope.used_inputs])
    span = Span(node.span.source, node.span.start, node.span.start + len(node.name))
    axes = "n, n" if len(node.indices) == 2 else "n"
    declared = f"input {node.name}: {'float' if in_score else 'int'}[{axes}]"
    hint = f"did you mean `{names[0]}`?" if names else f"declare it as data of the call: `{declared}`"
    fixes = tuple(Fix(f"change to `{name}`", span, name) for name in names)
    return say.UnknownName(name=node.name, hint=hint, span=span, fixes=fixes)


def misplaced_container(node: ast.Expr) -> Diagnostic:
    """What stands behind `in` and is neither a range nor numbers in braces; `range(0, 4)` can be written."""
    hint = ""
    fixes: tuple[Fix, ...] = ()
    if isinstance(node, ast.Call) and node.name == "range":
        hint = RANGE
        bounds = [each.value.span.text for each in node.arguments if each.name is None]
        plain = all(isinstance(each.value, ast.Number | ast.Name | ast.Binary | ast.Unary) for each in node.arguments)
        if len(bounds) in (1, 2) and plain and "\n" not in node.span.text:
            written = "..".join(bounds if len(bounds) == 2 else ["0", *bounds])
            hint = f"write `in {written}`"
            if not node.span.source.text[: node.span.start].rstrip().endswith("("):  # no range stands in brackets
                fixes = (Fix(f"write `{written}`", node.span, written),)
        elif len(bounds) == 3:
            hint = "a range has no step: write `k in 0..8 & k % 2 == 0`"
    expected = "a range `first..end`, numbers in braces or a list given as an input"
    return say.UnexpectedText(expected=expected, found="an expression", hint=hint, span=node.span, fixes=fixes)


def comments(node: ast.Binary) -> bool:
    """Does a set stand before `//` or `--`, with which comments begin elsewhere?"""
    return node.op == "//" or (node.op == "-" and _operator(node, "--") is not None)


def written_as_set(node: ast.Binary) -> Diagnostic | None:
    """The symbol for sets in the place of one for integers, between two sets."""
    span, ours = _operator(node, node.op), _SET_OPERATORS.get(node.op)
    if span is None or ours is None:
        return None
    return say.WrongSymbol(found=node.op, right=ours, span=span, fixes=(Fix(f"write `{ours}`", span, ours),))


def divided(node: ast.Binary) -> Diagnostic | None:
    """`/` between integers."""
    span = _operator(node, "/")
    if span is None:
        return None
    return say.WrongSymbol(found="/", right="//", span=span, fixes=(Fix("write `//`", span, "//"),))


def _operator(node: ast.Binary, symbol: str) -> Span | None:
    """Where the symbol stands between both sides, behind brackets and comments."""
    source, start = node.span.source, node.left.span.end
    between = re.compile(rf"(?:[\s)]|#[^\n]*)*({re.escape(symbol)})")
    found = between.match(source.text, start)
    return source.span(*found.span(1)) if found else None


def as_set(node: ast.Expr) -> str:
    """How an integer could have been meant as a set."""
    if isinstance(node, ast.Number):
        return f"for one key write `k == {node.value}`"
    return "compare it: `... == 0`"


def compared(node: ast.Expr) -> tuple[Fix, ...]:
    if isinstance(node, ast.Number):
        return (Fix(f"write `k == {node.value}`", node.span, f"k == {node.value}"),)
    return ()


def loose(node: ast.Expr) -> str:
    """`&` and its like bind looser than comparisons, which surprises people who come from C or numpy."""
    if isinstance(node, ast.Chain | ast.Membership):
        return "comparisons chain without brackets: `0 <= q - k < w`"
    return ""


def unknown_word(node: ast.Expr, where: str, words: str, kind: str = "") -> list[Diagnostic]:
    """What is wrong with an argument that has to be one of some words, or an input of a `kind`."""
    if isinstance(node, ast.Name) and node.name in words.split():
        return []
    listed = ", ".join(f"`{word}`" for word in words.split()) + (f" or an input of {kind}" if kind else "")
    return [say.UnknownWord(where=where, words=listed, given=node.span.brief, span=node.span)]
