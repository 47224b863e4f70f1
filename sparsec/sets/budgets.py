"""How much work each question may take: the one table of budgets of the set library and of what counts with it.

The unit is a step: an operation of isl, or as much work of our own; a million take about a second.  Steps are counted,
never seconds, so that every machine gets the same answers.  `context.budget` gives steps to one question, which is left
unanswered (or gets a coarser answer) where they do not suffice; `context.allowance` gives them to all questions of a
command together, since each of many may be cheap and all of them not.  What is not found in time is not said.
"""

from sparsec.ir import nodes as ir

_FEW_DIVISIONS = 8  # up to so many, a step takes a microsecond


def scaled(operations: int, *conditions: ir.Set) -> int:
    """The steps that take as long as `operations` usually do, for questions about all of these conditions.

    Each division is a column of every row that isl reduces, so the time of a step grows with their square.
    """
    return max(1, operations * _FEW_DIVISIONS**2 // max(_FEW_DIVISIONS, _divisions(*conditions)) ** 2)


def many_divisions(condition: ir.Set) -> bool:
    """Whether so many divisions meet in one term of a union that each step of its set takes longer."""
    return _meeting(condition) > _FEW_DIVISIONS


def _meeting(condition: ir.Set) -> int:
    match condition:
        case ir.And(parts):
            return sum(map(_meeting, parts))
        case ir.Or(parts):
            return max(map(_meeting, parts), default=0)
        case ir.Not(part):
            return _meeting(part)
    return _divisions(condition)


def _divisions(*conditions: ir.Set) -> int:
    return sum(isinstance(node, ir.Mod | ir.FloorDiv) for each in conditions for node in ir.walk(each))


# ---------------------------------------------------------------- allowances: all of a command's questions

COMPLEXITY = 1_000_000  # the class of a pattern: half a dozen counts of each of its parts
COST = 450_000  # the numbers of all conditions of a pattern
ADVICE = 2_500_000  # about all patterns of a file
BESIDE = 150_000  # what `cost` says beside the numbers: causality, what a decoder holds
LAYOUT = 50_000  # the share that the layouts of one condition waste
TILES = 500_000  # advice about numbers beside multiples of a tile: a plan and a count for each changed pattern
DECODING = 400_000  # advice about sinks, caches without bound and the first queries

# ---------------------------------------------------------------- counts

CLOSED_FORM = 150_000  # a formula of one count: those that people can read are found in far fewer
COUNT = 200_000  # the points of one set at one length
COUNT_BY_ISL = 20_000  # isl's own count, one point after the other: quick or of no use
CACHE = 100_000  # what a decoder holds: a formula that people can read, or one bound
LOOK_CHECK = 20_000  # looking at the pairs of one short length, to check a formula
LOOK_FIRST = 300_000  # looking at pairs before sets are asked: soon done at usual lengths, and whatever the sets
LOOK_LONG = 100_000  # looking at long sequences, where sets would have many divisions: intervals may decide most boxes
LOOK = 2_000_000  # looking at pairs as the last resort

# ---------------------------------------------------------------- proofs about one condition

FACT = 1_000_000  # what `diff`, `verify` and the tests ask for
WARNING = 50_000  # a proof behind a warning: patterns that people write need a tenth
QUESTION = 200_000  # a question of advice about decoding
DIFFERENCE = 400_000  # a pair that two patterns tell apart
ROWS = 300_000  # rows of which a mask says something
BLOCKS = 1_000_000  # the blocks of a mask for another library
REACH = 3_000_000  # composing layers, asked for by its own option
TOUCHED = 300_000  # the keys that a run of queries sees, for all runs and lengths
PICTURE = 300_000  # the cells of one picture
FLOORS = 20_000  # writing out the floors of a set: soon done, or its numbers grow and every step takes longer

# ---------------------------------------------------------------- plans, whose coarser answer costs run time

PRECISION = 150_000  # one precision of a cover, from the exact one down
SIMPLIFY = 50_000  # dropping what the rest of a condition implies
GIVEN = 50_000  # dropping what is known where a condition is asked
CLASSES = 20_000  # whether a layout by residues pays, for each number tried
BOUND = 20_000  # one bound of an interval
CLOSURE = 20_000  # whether a part is made of whole blocks
ORIGINS = 150_000  # the terms that the segments of a region come from, for comments
NEATER = 10_000  # a shorter way of writing, for which the longer one stands in
