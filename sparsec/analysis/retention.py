"""What of a decoder's cache may be dropped, proved from the pattern's sets: slots, pages, and keys that are kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparsec.ir import nodes as ir
from sparsec.ir import vector
from sparsec.ir.approximate import affine_over, exact
from sparsec.sets import budgets, kv_cache
from sparsec.sets.context import OutOfBudget, budget, within

_MOST_POSITIONS = 1 << 20  # of a set of keys that are looked at, before it repeats


@dataclass(frozen=True, eq=False)
class Keys:
    """A set of keys that repeats: key k >= start is in it where k + period is.

    `known`: bool, whether each of the first start + period keys is in it.
    """

    known: np.ndarray
    period: int

    @property
    def start(self) -> int:
        return len(self.known) - self.period

    @property
    def first(self) -> np.ndarray:
        """The keys below `start`."""
        return np.flatnonzero(self.known[: self.start])

    @property
    def each_period(self) -> int:
        """How many of `period` keys in a row, from `start` on."""
        return int(self.known[self.start :].sum())

    @property
    def number(self) -> int | None:
        """How many keys there are; None without end."""
        return None if self.each_period else len(self.first)

    def contains(self, keys: np.ndarray) -> np.ndarray:
        """Whether each key is in the set, bool."""
        return self.known[self._folded(keys)]

    def below(self, keys: np.ndarray) -> np.ndarray:
        """How many keys of the set are below each key: the rank of those that are in it."""
        folded = self._folded(keys)
        counts = np.concatenate([[0], np.cumsum(self.known)])
        return counts[folded] + (keys - folded) // self.period * self.each_period

    def ranked(self, ranks: np.ndarray) -> np.ndarray:
        """The keys with these ranks, which are below `number`."""
        listed = np.flatnonzero(self.known)
        periods = np.maximum(ranks - len(self.first), 0) // max(1, self.each_period)
        return listed[ranks - periods * self.each_period] + periods * self.period

    def up_to(self, n: int) -> np.ndarray:
        """Those below n, rising."""
        return self.ranked(np.arange(int(self.below(np.asarray(n)))))

    def most_among(self, width: int) -> int:
        """The most keys of the set among so many in a row."""
        begins = np.arange(len(self.known))
        return int((self.below(begins + width) - self.below(begins)).max(initial=0))

    def _folded(self, keys: np.ndarray) -> np.ndarray:
        """The key among the known ones that says whether a key is in the set."""
        return np.where(keys < self.start, keys, self.start + (keys - self.start) % self.period)


_ALL = Keys(np.ones(1, bool), 1)
_NONE = Keys(np.zeros(1, bool), 1)


@dataclass(frozen=True, eq=False)
class Retention:
    """Which keys of a decoder's cache later rows still see, for every length; `attend.retention()` returns it.

    n is a number of keys in the cache, 0 .. n - 1; the row of the next step is row n, whose own key is n.  A key is
    needed where row n or a later one sees it.  What is needed for all heads together is said; tables, choices and data
    of a call count as all that they could say, and then `exact` is False: no key is dropped that some row sees.

    `forever`: keys that are needed from their own row on without end, such as sinks.  `passing`: keys that are needed
    for a while.  `window`: passing keys are needed by rows less than so many positions behind them and by no others; 0
    where no key passes, and None where no number bounds it.
    """

    forever: Keys
    passing: Keys
    window: int | None
    exact: bool
    _held: ir.Set | None  # whether key k < n is held at the step with n keys; None where it is too long to be printed

    @property
    def bounded(self) -> bool | None:
        """Whether one number of keys bounds the cache at every length; None where tables or data leave it open."""
        if self.capacity is not None:
            return True
        return False if self.exact else None

    @property
    def pinned(self) -> int | None:
        """The number of keys that are never dropped; None where ever more keys are."""
        return self.forever.number

    @property
    def ring(self) -> int | None:
        """Slots that keys take in turn, for those that are needed for a while; None where no number suffices."""
        return None if self.window is None else self.passing.most_among(self.window)

    @property
    def capacity(self) -> int | None:
        """Slots that suffice at every length, the row's own key among them; None where the cache grows."""
        return None if self.pinned is None or self.ring is None else self.pinned + self.ring

    def held(self, n: int) -> np.ndarray:
        """The keys below n that row n or a later one sees: int64, rising."""
        n = _checked(n)
        kept = self.forever.up_to(n)
        oldest = 0 if self.window is None else max(0, n + 1 - self.window)
        near = np.arange(oldest, n)
        near = near[self.passing.contains(near)]
        if self._held is not None:
            near = near[np.broadcast_to(vector.holds(self._held, {"n": n + 1, "k": near}), near.shape)]
        return np.sort(np.concatenate([kept, near]))

    def pages(self, n: int, page: int) -> np.ndarray:
        """Which pages of so many keys each are still needed: numbers of pages, rising.

        Page i holds the keys i * page and following.  Of the pages that have keys below n, those with a key that row n
        or a later one sees, and a last one that is not yet full.
        """
        n, page = _checked(n), _checked(page, "page", 1)
        needed = vector.distinct(self.held(n) // page)
        last = n // page
        return np.append(needed, last) if n % page and last not in needed[-1:] else needed

    def skipped(self, n: int, page: int = 1) -> np.ndarray:
        """Which pages may be freed: those that have keys below n and are not among `pages(n, page)`; or which keys."""
        n, page = _checked(n), _checked(page, "page", 1)
        kept = np.zeros(-(-n // page), bool)
        kept[self.pages(n, page)] = True
        return np.flatnonzero(~kept)

    def prefix(self, n: int) -> int:
        """How many of the first keys no row from n on sees, sinks and others that stay for ever not counted.

        What page managers that free from the front alone may free, behind the pages with a key of `forever`.
        """
        held = self.held(n)
        passing = held[~self.forever.contains(held)]
        return int(passing[0]) if len(passing) else _checked(n)

    def slots(self, n: int) -> int | None:
        """How many slots a cache has at the step of row n, its own key among them; None where no ring suffices.

        `capacity`, or as many as keys below n + 1 stay for ever, and the ring.
        """
        if self.capacity is not None:
            return self.capacity
        return None if self.ring is None else self.ring + int(self.forever.below(np.asarray(_checked(n) + 1)))

    def slot(self, keys: np.ndarray | int) -> np.ndarray:
        """The slot of each key, -1 for keys that no later row sees.  ValueError where no ring suffices.

        Keys that stay for ever come first and then the ring, or where they are ever more, the ring comes first.  No two
        keys that are needed at the same step share a slot.
        """
        keys = np.asarray(keys, np.int64)
        if keys.size and keys.min() < 0:
            raise ValueError(f"[SP0601] keys are numbered from 0, got {keys.min()}")
        ring = self._ring_there()
        before_ring, before_pinned = (0, ring) if self.pinned is None else (self.pinned, 0)
        in_ring = before_ring + self.passing.below(keys) % max(1, ring)
        pinned = before_pinned + self.forever.below(keys)
        return np.where(self.forever.contains(keys), pinned, np.where(self.passing.contains(keys), in_ring, -1))

    def keys_of_slots(self, n: int) -> np.ndarray:
        """The key below n in each of `slots(n)` that row n or a later one sees, -1 in slots that hold none: int64."""
        self._ring_there()
        held = self.held(n)
        found = np.full(self.slots(n) or 0, -1, np.int64)
        found[self.slot(held)] = held
        return found

    def _ring_there(self) -> int:
        if self.ring is None:
            raise ValueError(
                "[SP0601] no ring suffices: how long keys are needed has no bound; `bounded` says so beforehand"
            )
        return self.ring

    def __str__(self) -> str:
        parts = []
        if self.pinned:
            parts.append(f"{self.pinned} pinned")
        elif self.pinned is None:
            share, of = self.forever.each_period, self.forever.period
            parts.append("every key for ever" if share == of else f"{share} of {of} keys for ever")
        if self.ring:
            parts.append(f"a ring of {self.ring}")
        if self.ring is None:
            parts.append("keys for a time that no number bounds")
        size = "grows with the text" if self.capacity is None else f"at most {self.capacity} keys"
        known = "" if self.exact else ", as far as is known without tables and data"
        return f"{size}{': ' if parts else ''}{' and '.join(parts)}{known}"


def _checked(number: int, name: str = "n", least: int = 0) -> int:
    if not isinstance(number, int | np.integer) or isinstance(number, bool) or number < least:
        raise ValueError(f"[SP0601] {name} must be an integer, {least} or more, got {number!r}")
    return int(number)


@within(budgets.CACHE)
def retention(*patterns: ir.Pattern) -> Retention:
    """What decoding needs of a cache that layers with these patterns share."""
    written = [condition for pattern in patterns for condition in pattern.conditions]
    conditions = tuple(dict.fromkeys(map(affine_over, written)))
    known = all(exact(leaf) for each in written for leaf in ir.leaves(each))
    try:
        with budget(budgets.CACHE // 2):
            found = kv_cache.lifetimes(conditions)
            parts = _keys(found.forever), _keys(found.passing), found.oldest
    except OutOfBudget:
        return _by_age(conditions)
    try:
        with budget(budgets.CACHE // 4):
            held = kv_cache.held_condition(conditions)
    except OutOfBudget:
        held, known = None, False
    return Retention(*parts, known, held)


def _by_age(conditions: tuple[ir.Set, ...]) -> Retention:
    """The last keys alone, as far back as the oldest one that is held; or all of them."""
    try:
        with budget(budgets.CACHE // 4):
            ages = [kv_cache.oldest(condition) for condition in conditions]
    except OutOfBudget:
        ages = [None]
    if None in ages:
        return Retention(_ALL, _NONE, 0, False, None)
    return Retention(_NONE, _ALL, max(age for age in ages if age is not None), False, None)


def _keys(found: kv_cache.Repeating) -> Keys:
    size = found.start + found.period
    if size > _MOST_POSITIONS:
        raise OutOfBudget
    return Keys(np.broadcast_to(vector.holds(found.condition, {"k": np.arange(size)}), size), found.period)
