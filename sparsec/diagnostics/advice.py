"""SP0907 to SP0911, and SP0914: what `sparsec check --lint` adds.  The pattern is right; another might serve better."""

from __future__ import annotations

from sparsec.diagnostics.core import Diagnostic, Example


class SplitsTiles(Diagnostic, code="SP0907", title="a number that splits tiles", severity="warning"):
    """With this number the tiles that a GPU works on hold few kept pairs; with the other they hold far more, and no
    more tiles are visited.

    Said by `sparsec check --lint`.  Counted are kept pairs, and the tiles of 64 x 64 that the plan visits, at n = 8192.
    """

    written: int
    better: int
    useful: int  # percent
    better_useful: int
    where: str = ""
    message = "{useful} % of the work in visited tiles is useful work{where}"
    label = "{written} -> {better} makes {better_useful} % of the work useful work"
    example = Example("pattern p = causal & stride(96)\n")
    cure = "`pattern p = causal & stride(64)`, where the model allows another number."


class NoSink(Diagnostic, code="SP0908", title="a stream without sinks", severity="warning"):
    """Queries forget the first key.  Models put much of their attention there and lose quality when it goes.

    Said by `sparsec check --lint` of patterns with which a decoder keeps a bounded number of keys (StreamingLLM, Xiao
    et al., 2023, arXiv:2309.17453).
    """

    name: str
    n: int
    most: int
    where: str = ""
    message = "`{name}` drops its first key{where}: from n = {n} on no query sees key 0"
    label = "forgets key 0"
    help = "add `| k < 4 & k <= q`: then every query sees it, and a decoder keeps at most {most} keys"
    example = Example("pattern p = past(512)\n")
    cure = "`pattern p = past(512) | sinks(4)`, where the model was not trained without."


class Unreachable(Diagnostic, code="SP0909", title="tokens out of reach", severity="warning"):
    """So many layers of the pattern do not carry information from every token to every query.

    Said by `sparsec check --lint --depth L`.  In causal patterns, tokens up to the query's own count.
    """

    depth: int
    n: int
    q: int
    k: int
    reached: str
    where: str = ""
    message = "{depth} such layers do not reach everything{where}: with n = {n}, query {q} does not depend on key {k}"
    label = "reaches too near"
    help = "{reached}"
    example = Example("pattern p = past(512)\n")
    cure = "More layers, or `pattern p = past(512) | causal & stride(512)`, which reaches everything in two."


class FewLookAhead(Diagnostic, code="SP0910", title="some tokens break causality", severity="warning"):
    """The pattern is causal but for a few of the first queries, as those of global tokens.  Generating text, they look
    ahead.

    Said by `sparsec check --lint` where at n = 8192 at most one in eight of the queries that see a key looks ahead.
    """

    last: int
    q: int
    k: int
    where: str = ""
    message = "causal but for queries up to {last}{where}: query {q} sees the later key {k}"
    label = "looks ahead in a few rows"
    help = "write `k <= q & (...)`, which is causal, or leave it so where the first tokens are given"
    example = Example("pattern p = past(512) | global(4)\n")
    cure = "`pattern p = causal & (past(512) | global(4))`"


class UnboundedCache(Diagnostic, code="SP0911", title="a cache without bound", severity="warning"):
    """Not all keys are seen, and yet a decoder has to keep ever more of them, since later queries see some again.

    Said by `sparsec check --lint` of causal patterns.
    """

    keys: int
    n: int
    bound: str
    where: str = ""
    message = "a decoder keeps ever more keys{where}: {keys} at n = {n}"
    label = "needs keys of any age"
    help = "{bound}"
    example = Example("pattern p = past(64) | causal & stride(64)\n")
    cure = "`pattern p = past(64) | past(4096) & stride(64)`"


class NoFasterThanDense(Diagnostic, code="SP0914", title="no faster than dense attention", severity="warning"):
    """Few pairs are kept, and yet nearly every tile holds some: a GPU works on whole tiles, and gains nothing.

    Said by `sparsec check --lint` where at most half of the pairs are kept (of those up to the query, where the pattern
    is causal) and the planner predicts no gain at n = 8192.
    """

    pairs: int  # percent
    tiles: int  # percent
    where: str = ""
    message = "{pairs} % of the pairs are kept, and {tiles} % of the tiles of 64 x 64 hold one{where}"
    label = "predicted to run no faster than dense attention"
    help = "keep pairs side by side, or a fixed stride apart: `sparsec cost` says what each layout would visit"
    example = Example("pattern p = causal & (q - k) % 7 < 3\n")
    cure = "`pattern p = causal & (q - k) % 448 < 192`, where the model allows longer runs."
