"""The pieces of text that templates receive; templates/README.md describes every name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_SPLIT = ["split_tiles", "splits"]
_SIZES = ["GROUP", "HEAD_DIM", "BLOCK_M", "BLOCK_N", "BLOCK_D", "PRECISION", "TMA", "OWN_TMA"]
_TOGETHER = 8  # residue classes, at most: their rows are neighbours, 2 KB of 16-bit rows of 128


def _parameters(tensors: list[str], strided: str, numbers: list[str], constants: list[str]) -> str:
    """The parameters of a kernel, in lines: tensors, strides, numbers, constants.

    `strided`: letters of Q, K, V, of g, the gradient of the output, of o, the output read again, and of r, the result.
    """
    strides = [f"{x}_{axis}" for x in strided for axis in ("bhn" if x in "kv" else "bhm")]
    typed = [f"{name}: tl.constexpr" for name in [*_SIZES, *constants]]
    return "\n".join(line for some in (tensors, [*strides, *numbers], typed) for line in _filled(some))


def _tuple(items: Iterable[str]) -> str:
    return f"({', '.join(items)},)"


def _filled(names: list[str]) -> list[str]:
    lines = [""]
    for name in names:
        lines = [*lines, ""] if len(lines[-1]) + len(name) > 110 else lines
        lines[-1] += f"{' ' if lines[-1] else ''}{name},"
    return lines


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
    tables: tuple[int, ...]  # leaves whose tiles come after the ranges, from a list made for the length
    longest_last: bool  # later tiles have more to do, and start first

    @property
    def turns(self) -> list[tuple[str, str]]:
        """For each range after the first: the step at which it begins, and how many tiles are skipped there."""
        return [(f"turn_{index}", f"skip_{index}") for index in range(1, len(self.segments))]

    @property
    def walk(self) -> list[str]:
        """What the answer returns."""
        return ["steps", "begin", *(name for turn in self.turns for name in turn)]


@dataclass(frozen=True, slots=True)
class LeafText:
    """A table: key blocks of each block of queries."""

    index: int
    doc: str
    body: str  # makes it


@dataclass(frozen=True, slots=True)
class PartText:
    """A part, with a kernel for dk and dv; see sparsec.plan.nodes.Part."""

    suffix: str
    why: str
    listed: bool
    layout: str  # "natural", "residue", "columns", "scattered"
    stride: int
    gathered: tuple[int, int, int] | None  # period, first, width
    adds: bool  # dk and dv: adds to what earlier parts left
    collects: tuple[tuple[str, tuple[int, int, int]], ...]  # names of the gathered parts whose sums it adds
    finishes: bool  # dk and dv: writes the result itself
    keeps: bool  # False: kernels do not evaluate the condition, which is `true` or has its pairs listed
    keep: list[str]
    keep_torch: list[str]
    never_full: bool
    full: list[str]
    full_scalar: list[str]
    tables: tuple[tuple[int, int], ...]  # leaves of the condition: their numbers in kernels, and in the module
    table_arguments: str  # ", STARTS_0, TABLE_0, ...", of kernels
    table_names: str  # ", TABLE_0, ...", on a CPU
    rows: CoverText
    columns: CoverText
    long_keys: int  # keys below it see so many queries that several programs share a tile; 0: none
    block: int  # whole blocks of at least the shortest tile, whose tiles need no mask; 1: none
    table_full: bool  # where a table has every pair of a tile, the tile is full
    numbers: str  # ", NUMBERS" where heads that differ in numbers share the kernels, else ""

    def lists(self, side: str) -> list[str]:
        """Names of the tensors of tables, and of lists of what they name, that kernels of a side read."""
        lists = ["LIST_STARTS", "LIST"] if getattr(self, side).tables else []
        if self.layout == "scattered":
            return [*lists, "SEEN"]
        return [*(f"{x}_{index}" for index, _ in self.tables for x in ("STARTS", "TABLE")), *lists]

    @property
    def together(self) -> int:
        """How many residue classes take turns, of which the programs run at the same time: a divisor of the stride."""
        return max(count for count in range(1, _TOGETHER + 1) if self.stride % count == 0)

    @property
    def more(self) -> str:
        """What answers take besides positions and lengths."""
        return f"{', residue' if self.stride > 1 else ''}{self.numbers}"

    @property
    def numbers_typed(self) -> str:
        """`numbers` as a parameter of device functions."""
        return f"{self.numbers}: tl.constexpr" if self.numbers else ""

    @property
    def more_typed(self) -> str:
        """`more` as parameters of device functions."""
        return f"{', residue' if self.stride > 1 else ''}{self.numbers_typed}"

    @property
    def properties(self) -> list[tuple[str, object]]:
        """What its Region says besides kernels and answers, where that is not the usual."""
        numbers = {"stride": self.stride, "block": self.block}
        said: dict[str, object] = {name: value for name, value in numbers.items() if value > 1}
        said |= {"gathered": self.gathered} if self.gathered else {}
        said |= {"scattered": True} if self.layout == "scattered" else {}
        said |= {} if self.finishes else {"finishes": False}
        said |= {"long_keys": self.long_keys} if self.long_keys else {}
        if self.tables:
            said["tables"] = _tuple(f"({own}, _TABLE_{index})" for own, index in self.tables)
        for side, answer in (("rows", "keys_visited"), ("columns", "queries_visited")):
            if tables := getattr(self, side).tables:
                said[f"{side}_tables"] = _tuple(f"_TABLE_{index}" for index in tables)
                said[answer] = f"_{answer}{self.suffix}"
        return list(said.items())

    @property
    def asks_full(self) -> bool:
        """Whether kernels ask if a tile is full."""
        return self.keeps and not self.never_full

    @property
    def answers(self) -> list[tuple[str, CoverText, str, str]]:
        """(name, cover, parameters, what positions are counted from) of what kernels ask about tiles to visit."""
        asked = [
            ("keys", self.rows, f"q_lo, q_hi, n, length{self.more_typed}", ""),
            ("queries", self.columns, f"k_lo, k_hi, n, length, shift{self.more_typed}", "shift"),
        ]
        return [each for each in asked if each[1].segments]

    @property
    def dkdv_arguments(self) -> str:
        """The parameters of its kernel for dk and dv; launches bind them by name."""
        carries = not (self.finishes or self.gathered)
        tensors = ["Q", "K", "V", "ROW_STATS", "DO"]
        tensors += ["PARTIAL_DK", "PARTIAL_DV", "PARTIAL_TOP"] if self.adds else []
        tensors += ["DK", "DV", *(["DKDV_TOP"] if carries else [])]
        tensors += ["DK_SPLITS", "DV_SPLITS"] if self.long_keys else []
        tensors += [f"{x}_GATHERED{suffix.upper()}" for suffix, _ in self.collects for x in ("DK", "DV")]
        tensors += [*(["HEADS", "KV_HEADS", "FIRST_HEAD"] if self.listed else []), *self.lists("columns")]
        numbers = ["heads", "n_q", "n_rows", "n", "q_offset", "scale", "scale_log2"]
        numbers += _SPLIT if self.long_keys else []
        constants = ["WHOLE"] if self.block > 1 else []
        constants += ["SHARED"] if self.listed and self.finishes else []
        constants += ["NUMBERS"] if self.numbers else []
        return _parameters(tensors, f"qkvg{'' if carries else 'r'}", numbers, constants)


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
    def longest_last(self) -> bool:
        """Whether later tiles of queries have more to do, and start first."""
        return any(part.rows.longest_last for part in self.parts) and not self.long

    @property
    def asks_edges(self) -> bool:
        """Whether it asks for the first and the last position of a tile of queries."""
        return any(part.rows.segments or part.asks_full for part in self.parts)

    @property
    def fills_rows(self) -> bool:
        """Whether it stores or reads numbers of rows in the natural order; classes alone keep theirs class by class."""
        return self.layout != "residue" or not (self.first and self.last)

    @property
    def forward_arguments(self) -> str:
        """The parameters of its forward kernel; launches bind them by name."""
        carried = [] if self.first else ["PARTIAL", "PARTIAL_TOP"]
        stored = ["OUT", *([] if self.last else ["OUT_TOP"]), "LSE", *(["SPLITS", "SPLITS_LSE"] if self.long else [])]
        numbers = ["heads", "n_q", "n", "q_offset", "scale_log2", *(_SPLIT if self.long else [])]
        tensors = ["Q", *self._moving, *carried, *stored, *self._besides]
        return _parameters(tensors, f"qkv{'r' if self.last else ''}", numbers, self._constants)

    @property
    def dq_arguments(self) -> str:
        """The parameters of its kernel for dq."""
        read = ["OUT", "LSE", "DO", "DLSE"] if self.first else ["DO", "PARTIAL", "PARTIAL_TOP"]
        classes = self.layout == "residue"
        stats = [*(["ROW_STATS"] if self.fills_rows else []), *(["CLASS_STATS"] if classes else [])]
        stored = ["DQ", *([] if self.last else ["DQ_TOP"]), *(["SPLITS"] if self.long else [])]
        rows = [*(["n_rows"] if self.fills_rows else []), *(["n_class_rows"] if classes else [])]
        numbers = ["heads", "n_q", *rows, "n", "q_offset", "scale", "scale_log2", *(_SPLIT if self.long else [])]
        tensors = ["Q", *self._moving, *read, *stats, *stored, *self._besides]
        strided = f"qkvg{'o' if self.first else ''}{'r' if self.last else ''}"
        return _parameters(tensors, strided, numbers, [*self._constants, *(["HAS_DLSE"] if self.first else [])])

    @property
    def _moving(self) -> list[str]:
        """Names of the keys and values that it walks over."""
        return [f"{x}_GATHERED{part.suffix.upper()}" if part.gathered else x for part in self.parts for x in "KV"]

    @property
    def _besides(self) -> list[str]:
        """Names of the lists of heads and tables that its kernels read."""
        lists = [name for part in self.parts for name in part.lists("rows")]
        return [*(["HEADS"] if self.listed else []), *lists]

    @property
    def _constants(self) -> list[str]:
        whole, numbers = self.block > 1, bool(self.parts[0].numbers)
        return [*(["WHOLE"] if whole else []), *(["NUMBERS"] if numbers else [])]


@dataclass(frozen=True, slots=True)
class ChoiceText:
    least_n: int
    walks: tuple[WalkText, ...]
    numbers: tuple[int, ...] = ()  # that its kernels take as constants

    @property
    def parts(self) -> tuple[PartText, ...]:
        """Those of all walks."""
        return tuple(part for walk in self.walks for part in walk.parts)
