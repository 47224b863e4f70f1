"""The pieces of text that templates receive; templates/README.md describes every name."""

from __future__ import annotations

from dataclasses import dataclass

_TOGETHER = 8  # residue classes, at most: their rows are neighbours, 2 KB of 16-bit rows of 128


@dataclass(frozen=True, slots=True)
class SegmentText:
    """A segment as half-open bounds, in three dialects: of kernels, of plain Python, and of tensors over tiles."""

    first: str
    stop: str
    bounded: bool  # `stop` is a position; otherwise it is the length of the sequence
    scalar_first: str
    scalar_stop: str
    tiles_first: str
    tiles_stop: str


@dataclass(frozen=True, slots=True)
class CoverText:
    why: str
    segments: tuple[SegmentText, ...]
    exchanges: tuple[tuple[int, int], ...]  # pairs to compare and swap until the ranges are in order
    names: frozenset[str]  # variables of the bounds
    tables: tuple[int, ...]  # leaves whose tiles come after the ranges, from a list made for the length
    rising: bool  # later tiles have more to do, and start first


@dataclass(frozen=True, slots=True)
class LeafText:
    """A table: key blocks of each block of queries."""

    index: int
    size: int
    doc: str
    width: int  # the most entries of a row
    rows: str  # the entries as Python lists, "" for tables that are drawn
    body: str  # of the function that makes some of its rows


@dataclass(frozen=True, slots=True)
class PartText:
    """A part, with a kernel for dk and dv; see sparsec.plan.nodes.Part."""

    suffix: str
    why: str
    listed: bool
    layout: str  # "natural", "residue", "columns", "scattered"
    stride: int
    comb: tuple[int, int, int] | None  # period, first, width
    adds: bool  # dk and dv: adds to what earlier parts left
    combs: tuple[tuple[str, tuple[int, int, int]], ...]  # suffix and comb of the gathered parts whose sums it adds
    finishes: bool  # dk and dv: writes the result itself
    keeps: bool  # False: kernels do not evaluate the condition, which is `true` or has its pairs listed
    keep: list[str]
    keep_torch: list[str]
    never_full: bool
    edges: frozenset[str]  # tile edges that `full` asks for
    full: list[str]
    full_scalar: list[str]
    tables: tuple[int, ...]  # leaves of the condition
    table_arguments: str  # ", STARTS_0, TABLE_0, ...", of kernels
    table_names: str  # ", TABLE_0, ...", of the torch path
    rows: CoverText
    columns: CoverText
    long_keys: int  # keys below it see so many queries that several programs share a tile; 0: none
    block: int  # whole blocks of at least the shortest tile, whose tiles need no mask; 1: none
    table_full: bool  # where a table has every pair of a tile, the tile is full

    def lists(self, side: str) -> list[str]:
        """Names of the tensors of tables, and of lists of what they name, that kernels of a side read."""
        lists = ["LIST_STARTS", "LIST"] if getattr(self, side).tables else []
        if self.layout == "scattered":
            return [*lists, "SEEN"]
        return [*(f"{x}_{index}" for index in self.tables for x in ("STARTS", "TABLE")), *lists]

    @property
    def together(self) -> int:
        """How many residue classes take turns, of which the programs run at the same time: a divisor of the stride."""
        return max(count for count in range(1, _TOGETHER + 1) if self.stride % count == 0)

    @property
    def arguments(self) -> str:
        """Names of the tensors that the kernel for dk and dv takes besides."""
        return ", ".join([*(["HEADS", "KV_HEADS", "FIRST_HEAD"] if self.listed else []), *self.lists("columns")])


@dataclass(frozen=True, slots=True)
class WalkText:
    """The parts that one forward kernel and one dq kernel go through; see sparsec.plan.walks."""

    suffix: str
    parts: tuple[PartText, ...]
    first: bool  # starts the softmax, computes delta
    last: bool  # stores the result
    long: int  # queries below it see so many keys that several programs share a tile; 0: none

    @property
    def listed(self) -> bool:
        """Whether it serves a list of heads."""
        return self.parts[0].listed

    @property
    def layout(self) -> str:
        """How its queries stand: "natural" also beside gathered keys."""
        return "natural" if self.parts[0].layout == "columns" else self.parts[0].layout

    @property
    def stride(self) -> int:
        """Of its residue classes."""
        return self.parts[0].stride

    @property
    def together(self) -> int:
        """PartText.together of its parts."""
        return self.parts[0].together

    @property
    def block(self) -> int:
        """PartText.block of the part that has one."""
        return max(part.block for part in self.parts)

    @property
    def rising(self) -> bool:
        """Whether later tiles of queries have more to do, and start first."""
        return any(part.rows.rising for part in self.parts) and not self.long

    @property
    def fills_rows(self) -> bool:
        """Whether it stores or reads numbers of rows in the natural order; classes alone keep theirs class by class."""
        return self.layout != "residue" or not (self.first and self.last)

    @property
    def names(self) -> frozenset[str]:
        """Edges of its tiles of queries that some part asks for."""
        return frozenset().union(*(part.rows.names | part.edges for part in self.parts))

    @property
    def tensors(self) -> str:
        """Names of the keys and values that it walks over."""
        return ", ".join(f"{x}_COMB{part.suffix.upper()}" if part.comb else x for part in self.parts for x in "KV")

    @property
    def arguments(self) -> str:
        """Names of the tensors that its kernels take besides."""
        lists = [name for part in self.parts for name in part.lists("rows")]
        return ", ".join([*(["HEADS"] if self.listed else []), *lists])


@dataclass(frozen=True, slots=True)
class ChoiceText:
    least_n: int
    walks: tuple[WalkText, ...]

    @property
    def parts(self) -> tuple[PartText, ...]:
        """Those of all walks."""
        return tuple(part for walk in self.walks for part in walk.parts)


@dataclass(frozen=True, slots=True)
class GroupText:
    """The query heads that share a condition ("None": all heads)."""

    heads: str
    choices: tuple[ChoiceText, ...]
