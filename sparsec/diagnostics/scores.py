"""SP0219 and on, SP0308: scores and real numbers."""

from __future__ import annotations

from sparsec.diagnostics.core import Diagnostic, Example


class MisplacedReal(Diagnostic, code="SP0219", title="a real number where none can be"):
    """Numbers with a point, `/` and functions such as `tanh` make real numbers, and these belong to scores.

    Positions, parameters and sets are made of integers.  In a score an integer stands where a real number is needed;
    nothing turns a real number into an integer, or into a set.
    """

    where: str
    wanted: str = "an integer"
    hint: str = ""
    message = "{where} needs {wanted}, and this is a real number"
    label = "a real number"
    help = "{hint}"
    example = Example("pattern p = past(64.5)\n")
    cure = "`pattern p = past(64)`"


class RealNeeded(Diagnostic, code="SP0220", title="a set where a real number is needed"):
    """A score is a real number for each pair.  A set chooses between two of them: `s if causal else s - 1.0`."""

    where: str
    message = "{where} needs a real number, and this is a set of pairs"
    label = "a set"
    help = "a set chooses between numbers: `s if SET else s - 1.0`; which pairs are kept is the pattern's to say"
    example = Example("score near = past(4)\npattern p = causal with near\n")
    cure = "`score near = s + (1.0 if past(4) else 0.0)`"


class MisplacedScore(Diagnostic, code="SP0221", title="a score where none can be"):
    """Scores are applied by `with`, to all of a pattern, or to an arm of its `match`: `pattern p = causal with alibi`.

    Set algebra knows no scores: of `(a with x) | b` nobody could say what a pair that both keep scores.  A set has
    none, and a pattern that has one is no part of another set.  What depends on the pair is said in the score itself:
    `s - 1.0 if past(64) else s`.
    """

    problem: str
    hint: str
    message = "{problem}"
    label = "here"
    help = "{hint}"
    example = Example("pattern p = (past(4) with softcap(50)) | sinks(4)\n")
    cure = "`pattern p = past(4) | sinks(4) with softcap(50)`"


class NotAScore(Diagnostic, code="SP0222", title="not a score"):
    """Behind `with` stand scores: names that `score` declares, with their arguments."""

    name: str
    hint: str = ""
    message = "`{name}` is {what}, and `with` applies scores"
    what: str
    label = "not a score"
    help = "{hint}"
    example = Example("pattern p = causal with past(4)\n")
    cure = "`pattern p = causal & past(4)`, or declare a score: `score capped = 50 * tanh(s / 50)`."


class ScoreReads(Diagnostic, code="SP0223", title="a score that reads tables or choices"):
    """A score is arithmetic on `s`, positions, the head, numbers and inputs, and its conditions are about these.

    Tables (`blocks`, `random_blocks`, `random_keys`) and sets that are chosen by content (`selected`, `top_blocks`,
    `lsh`, ...) can't stand in it in this version.
    """

    what: str
    message = "a score can't read {what} in this version"
    label = "read here"
    help = "a score is made of `s`, `q`, `k`, `n`, `h`, `H`, numbers and inputs of float, int and bool"
    example = Example("score far = s if random_blocks(16, 2, seed = 1) else s - 1.0\npattern p = causal with far\n")
    cure = "Say it by positions or an input: `input group: int[n]`, then `s if group[q] == group[k] else s - 1.0`."


class NotFinite(Diagnostic, code="SP0308", title="not a finite number"):
    """What is made of numbers alone is worked out when the text is read: it can't be infinite, nor without a value."""

    part: str
    message = "`{part}` is no finite number"
    label = "a division by 0, a logarithm of 0, or too large"
    example = Example("score bad = s / 0\npattern p = causal with bad\n")
    cure = "`score bad = s / 8`"
