"""SP0214 to SP0218, SP0224, SP0225, SP0620, SP0621, SP0622, SP0915 and SP0916: inputs, data given at the call."""

from __future__ import annotations

from sparsec.diagnostics.core import Diagnostic, Example


class BadInput(Diagnostic, code="SP0214", title="an input that can't be declared"):
    """An input is of `bool` or `int`.  Its axes are those it has of `B`, rows of the batch, `H`, query heads, and last
    either `n`, one entry for each position, or another name for the length of a list: `int`, `int[B]`, `int[n]`,
    `bool[B, n]`, `int[B, H, t]`.  Or it lists what is chosen for `selected`: `blocks[64, 64, t]`, t blocks of 64 keys
    for each block of 64 queries, or `keys[t]`, t keys for each query.  In scores an input may be of `float`, and of
    `n, n`, an entry for each query and key.  Real numbers, by which an operator chooses, are `scores[64, 64]` of
    blocks, for `top_blocks`, and `centroids[c]`, for `routed`.
    """

    problem: str
    hint: str = ""
    message = "{problem}"
    label = "not an input's"
    help = "{hint}"
    example = Example("input doc: int[n, n]\npattern p = causal & doc[q] == doc[k]\n")
    cure = "`input doc: int[n]`"


class WrongIndex(Diagnostic, code="SP0215", title="an input that is read otherwise"):
    """How an input is read follows from its axes.  The row of the batch is the call's own and is never written; the
    head's own entry is `w` or `w[h]`; entries of positions and of lists take an integer, `doc[q]`, `reach[h, q]`.
    """

    name: str
    declared: str
    line: int
    hint: str
    message = "`{name}` is declared `{declared}` in line {line}, and is not read like this"
    label = "not how it is declared"
    help = "{hint}"
    example = Example("input doc: int[n]\npattern p = causal & doc == doc[k]\n")
    cure = "`doc[q] == doc[k]`"


class NotChosen(Diagnostic, code="SP0216", title="not an input that lists what is chosen"):
    """`selected` takes the name of an input that lists blocks of keys, or keys: the set of all pairs that it lists."""

    what: str
    hint: str
    message = "`selected` takes an input that lists blocks or keys, and {what}"
    label = "no list of blocks or keys"
    help = "{hint}"
    example = Example("input doc: int[n]\npattern p = causal & selected(doc)\n")
    cure = "`doc[q] == doc[k]`; or `input sel: blocks[64, 64, t]`, then `selected(sel)`"


class UnknownWord(Diagnostic, code="SP0217", title="an unknown word"):
    """Some arguments are one of a few words: `score = mean`, `over = group`."""

    where: str
    words: str
    given: str
    message = "{where} is one of {words}, not `{given}`"
    label = "not one of them"
    example = Example("pattern p = top_blocks(16, 64, score = median, among = causal)\n")
    cure = "`score = mean`"


class NotAmong(Diagnostic, code="SP0218", title="a set that can't be chosen among"):
    """`among` and `keep` say by positions alone which blocks may be chosen and which always are, since candidates are
    ranges that are known before a call's data are looked at.  What is chosen itself can't decide it, nor can tables and
    data of the call; beside the choice these are sets like any other.  Documents need none of it: in a call with
    `documents` each chooses among its own keys.  What else is to be chosen among, a model chooses itself, and gives the
    lists to `selected`.
    """

    name: str
    of: str
    what: str
    hint: str
    message = "`{name}` of `{of}` holds {what}"
    label = "holds {what}"
    help = "{hint}"
    example = Example("pattern p = top_blocks(4, 64, among = top_blocks(16, 64, among = causal))\n")
    cure = "`top_blocks(4, 64, among = causal)`"


class NotReal(Diagnostic, code="SP0224", title="not an input of real numbers"):
    """`routed` takes the name of an input of centroids; `score` of `top_blocks` is a word, or the name of an input of
    scores.  Both are tensors of real numbers, by which the operator chooses.  `relative` takes the name of a list of
    float, a number for each distance.
    """

    word: str
    kind: str
    what: str
    hint: str
    message = "`{word}` takes an input of {kind}, and {what}"
    label = "no input of {kind}"
    help = "{hint}"
    example = Example("input mu: int[n]\npattern p = causal & routed(mu, 64)\n")
    cure = "`input mu: centroids[16]`"


class OtherBlocks(Diagnostic, code="SP0225", title="scores of other blocks"):
    """An input of scores holds one number for each block of queries and block of keys; those that choose by it have the
    sizes of its declaration.
    """

    name: str
    declared: str
    rows: int
    size: int
    message = "`{name}` is declared `{declared}`, and these are blocks of {rows} queries and {size} keys"
    label = "scores of blocks of other sizes"
    help = "the keys of a block are `bk`, its queries `bq`, 1 unless given"
    example = Example("input s: scores[64, 64]\npattern p = top_blocks(8, 64, score = s)\n")
    cure = "`top_blocks(8, 64, 64, score = s)`"


class WrongInput(Diagnostic, code="SP0620", title="wrong input"):
    """A call gives every input that its pattern reads, and no other, by keyword: a tensor on the device of q, of bool,
    or of int32 or int64, with the axes of its declaration.  `B` is the rows of q, `H` its heads, `n` the keys.
    """

    name: str
    expected: str
    found: str
    message = "`{name}` must be {expected}, and is {found}"
    example = Example(
        "import sparsec\nfrom torch import arange, rand\n\n"
        'attend = sparsec.compile("input doc: int[n] pattern p = causal & doc[q] == doc[k]")\n'
        "attend(rand(1, 2, 8, 16), rand(1, 2, 8, 16), rand(1, 2, 8, 16), doc=arange(9))\n",
        language="python",
    )
    cure = "`doc=arange(8)`"


class NeedsData(Diagnostic, code="SP0621", title="a pattern that reads data"):
    """What a pattern with inputs keeps depends on the data of a call: what asks for its pairs needs that data, too."""

    what: str
    inputs: str
    hint: str = ""
    message = "{what} needs the data that the pattern reads: {inputs}"
    help = "{hint}"
    example = Example(
        "import sparsec\n\n"
        'attend = sparsec.compile("input doc: int[n] pattern p = causal & doc[q] == doc[k]")\n'
        "attend.pattern.mask(8, 8)\n",
        language="python",
    )
    cure = "`attend.pattern.mask(8, 8, doc=numpy.zeros(8, int))`"


class ListsOfRows(Diagnostic, code="SP0622", title="keys chosen where some of them are not there"):
    """An operator chooses among all keys of a sequence.  Where the first ones are not passed (`k_offset` above 0), it
    can't say whether these would have been chosen; nor can a rank of a sharded call, to which the documents of others
    are unknown.
    """

    problem: str
    message = "{problem}"
    example = Example(
        "import sparsec\nfrom torch import rand\n\n"
        'attend = sparsec.compile("pattern p = causal & top_keys(3)")\n'
        "attend(rand(1, 2, 8, 16), rand(1, 2, 8, 16), rand(1, 2, 8, 16), k_offset=4)\n",
        language="python",
    )
    cure = "pass all keys, `attend(q, k, v)`"


class UnusedInput(Diagnostic, code="SP0915", title="an input that is not read", severity="warning"):
    """No set and no pattern of the file reads the input, so no call can give it."""

    name: str
    message = "`{name}` is declared and never read"
    label = "read by nothing here"
    example = Example("input doc: int[n]\npattern p = causal\n")
    cure = "Read it, or remove it."


class NumberForEachPair(Diagnostic, code="SP0916", title="an input as large as dense scores", severity="warning"):
    """An input has a number for each query and key, and so has its gradient: memory grows with the square of n, which
    a sparse pattern is there to avoid.
    """

    name: str
    n: int
    size: str
    message = "`{name}` has a number for each query and key: with n = {n}, {size} in float32, and its gradient again"
    label = "n times n numbers"
    help = "by distance it is `float[H, distances]`, read as `{name}[q - k]`; of keys `float[H, n]`, as `{name}[k]`"
    example = Example("input b: float[H, n, n]\nscore biased = s + b[q, k]\npattern p = causal with biased\n")
    cure = "`input b: float[H, distances]` and `score biased = s + b[q - k]`, where distances decide."
