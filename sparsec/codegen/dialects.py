"""Nodes -> Python text, in three dialects.

`Triton` for kernels: integer division truncates there, so floors of what may be negative are spelled out.
`Torch` for masks on tensors of positions, `Scalar` for plain Python integers.
"""

from __future__ import annotations

from sparsec.codegen.arguments import DataArguments
from sparsec.codegen.printer import PRODUCT, Printer
from sparsec.codegen.row_classes import MANY, RowClasses, row_classes
from sparsec.ir import nodes as ir
from sparsec.ir.inputs import Input, inputs_read, reads
from sparsec.ir.ranges import interval, needs_more

_SHORT_ROW = 16  # entries of a table's row that a kernel compares one by one


def width(leaf: ir.Table) -> int:
    """The most entries of a row of a table."""
    return max(map(len, leaf.rows), default=0) if isinstance(leaf, ir.Blocks) else leaf.count


class Triton(Printer):
    """Scalars and tensors inside a kernel, 32-bit unless the values may not fit."""

    conjunction, disjunction = " & ", " | "

    def __init__(self, leaves: tuple[ir.Table, ...] = (), data: DataArguments | None = None) -> None:
        super().__init__(leaves)
        self.data = data
        self.wide = False

    def _compare(self, node: ir.Compare) -> str:
        match node:
            case ir.Compare(ir.Mod(left, divisor), "==" | "!=" as op, ir.Const(0)):
                # The remainder of a truncating division is zero exactly when that of a flooring one is.
                with_c = f"{self._at(left, PRODUCT)} % {divisor} {op} 0"
                return with_c if not needs_more(left, 32) else super()._compare(node)
        outer = self.wide
        self.wide = outer or needs_more(node.left, 32) or needs_more(node.right, 32)
        text = super()._compare(node)
        self.wide = outer
        return text

    def position(self, node: ir.Int) -> str:
        """A bound of positions: 32-bit, also where a value on the way to it may not fit."""
        if not needs_more(node, 32):
            return self.integer(node)
        self.wide = True
        text = self.integer(node)
        self.wide = False
        return f"sk.to_int32({text})"

    def _variable(self, name: str) -> str:
        return f"{name}.to(tl.int64)" if self.wide else name

    def _floor_div(self, left: ir.Int, divisor: int) -> str:
        if interval(left)[0] >= 0:
            return super()._floor_div(left, divisor)
        return f"sk.floor_div({self.integer(left)}, {divisor})"

    def _mod(self, left: ir.Int, divisor: int) -> str:
        if interval(left)[0] >= 0:
            return super()._mod(left, divisor)
        return f"sk.floor_mod({self.integer(left)}, {divisor})"

    def _abs(self, value: ir.Int) -> str:
        return f"tl.abs({self.integer(value)})"

    def _extreme(self, kind: str, left: ir.Int, right: ir.Int) -> str:
        return f"tl.{kind}imum({self.integer(left)}, {self.integer(right)})"

    def _not(self, leaf: ir.Leaf) -> str:
        return f"({self.condition(leaf)} == 0)"

    def _leaf(self, leaf: ir.Table, index: int) -> str:
        height = "n" if leaf.size == 1 else f"tl.cdiv(n, {leaf.size})"
        if isinstance(leaf, ir.Blocks):
            height = str(len(leaf.rows))
        row, column = ("q", "k") if leaf.size == 1 else (f"q // {leaf.size}", f"k // {leaf.size}")
        most = width(leaf)
        function, bound = ("in_table_row", most) if most <= _SHORT_ROW else ("in_long_table_row", most.bit_length())
        return f"sk.{function}(STARTS_{index}, TABLE_{index}, {row}, {height}, {column}, {bound})"

    def _data_parts(self, leaf: ir.DataTest) -> list[str]:
        assert self.data is not None
        inside = []
        for read in reads(leaf):
            if isinstance(read, ir.Read) and read.index is not None:
                index = self.wide_integer(read.index)
                if self.data.by_position(read.name):
                    inside.append(f"sk.is_position(at, {index}, n)")
                else:
                    inside.append(f"sk.is_listed({self.data.of_entries(read.name)}, {index})")
        if isinstance(leaf.test, ir.ElementOf):
            use, own = self.data.of_members(leaf.test.name)
            held = f"sk.is_{use}({own}, {self.wide_integer(leaf.test.value)})"
        elif isinstance(leaf.test, ir.Chosen):
            held = f"sk.is_chosen({self.data.of_chosen(leaf.test, 'chosen')})"
        elif isinstance(leaf.test, ir.Grouped):
            held = f"sk.is_in_group_of({self.data.of_grouped(leaf.test)})"
        else:
            held = self.condition(leaf.test)
        return [*inside, held]

    def wide_integer(self, node: ir.Int) -> str:
        """An integer in 64 bits where it may not fit 32."""
        outer, self.wide = self.wide, self.wide or needs_more(node, 32)
        text = self.integer(node)
        self.wide = outer
        return text

    def _read(self, node: ir.Read) -> str:
        assert self.data is not None
        own = self.data.of_entries(node.name)
        if node.index is None:
            text = f"sk.read_number({own})"
        elif self.data.by_position(node.name):
            reads = "read_own" if isinstance(node.index, ir.Var) else "read_position"
            text = f"sk.{reads}({own}, {self.wide_integer(node.index)}, n)"
        else:
            text = f"sk.read_listed({own}, {self.wide_integer(node.index)})"
        return f"{text}.to(tl.int64)" if self.wide else text

    def _select(self, condition: ir.Set, then: ir.Int, other: ir.Int) -> str:
        return f"tl.where({self._bare(condition)}, {self.integer(then)}, {self.integer(other)})"


class Torch(Printer):
    """int64 tensors of positions, the integers `n` and `n_q`; divisions of tensors round down, as Python's.

    Unions of many parts that hold in different rows become tables, which the module has to define: `tables`, by name.
    """

    conjunction, disjunction = " & ", " | "
    tensors = frozenset(("q", "k", "q_lo", "q_hi", "k_lo", "k_hi", "residue"))

    def __init__(self, leaves: tuple[ir.Table, ...] = (), suffix: str = "", inputs: tuple[Input, ...] = ()) -> None:
        super().__init__(leaves)
        self.suffix = suffix
        self.inputs = {each.name: f"INPUT_{number}" for number, each in enumerate(inputs)}
        self.tables: dict[RowClasses, str] = {}

    def condition(self, node: ir.Set) -> str:
        if not isinstance(node, ir.Or) or len(node.parts) < MANY or ir.leaves(node):
            return super().condition(node)
        classes, left = row_classes(node.parts, self._bare)
        texts = [self._by_row(each) for each in classes] + list(map(self.condition, left))
        return f"({self.disjunction.join(texts)})"

    def _operand(self, node: ir.Set, lead: str) -> list[str]:
        text = self.condition(node)
        return [lead + text] if "sk.in_row_class" in text else super()._operand(node, lead)

    def _by_row(self, classes: RowClasses) -> str:
        name = self.tables.setdefault(classes, f"_ROWS{self.suffix.upper()}_{len(self.tables)}")
        return f"sk.in_row_class(q, {name}, lambda {classes.names}: {classes.text})"

    def _extreme(self, kind: str, left: ir.Int, right: ir.Int) -> str:
        tensors = [bool(ir.names(side) & self.tensors or inputs_read(side)) for side in (left, right)]
        if all(tensors):
            return f"torch.{kind}imum({self.integer(left)}, {self.integer(right)})"
        if not any(tensors):
            return f"{kind}({self.integer(left)}, {self.integer(right)})"
        tensor, scalar = (left, right) if tensors[0] else (right, left)
        return f"torch.clamp({self.integer(tensor)}, {(kind == 'max' and 'min') or 'max'}={self.integer(scalar)})"

    def _not(self, leaf: ir.Leaf) -> str:
        return f"~{self.condition(leaf)}"

    def _leaf(self, leaf: ir.Table, index: int) -> str:
        row, column = ("q", "k") if leaf.size == 1 else (f"q // {leaf.size}", f"k // {leaf.size}")
        return f"sk.in_listed_row(TABLE_{index}, {row}, {column})"

    def _data_parts(self, leaf: ir.DataTest) -> list[str]:
        test, inside = leaf.test, []
        for read in reads(leaf):
            if isinstance(read, ir.Read) and read.index is not None:
                inside.append(f"sk.is_inside({self.inputs[read.name]}, {self.integer(read.index)})")
        if isinstance(test, ir.ElementOf):
            held = f"sk.is_entry({self.inputs[test.name]}, {self.integer(test.value)})"
        elif isinstance(test, ir.Chosen):
            held = f"sk.is_listed_block({self.inputs[test.name]}, q, k, {test.rows}, {test.size})"
        elif isinstance(test, ir.Grouped):
            held = f"sk.is_in_group({self.inputs[test.name]}, q, k, n, {test.near})"
        else:
            held = self.condition(test)
        return [*inside, held]

    def _read(self, node: ir.Read) -> str:
        index = "" if node.index is None else f", {self.integer(node.index)}"
        return f"sk.entry({self.inputs[node.name]}{index})"

    def _select(self, condition: ir.Set, then: ir.Int, other: ir.Int) -> str:
        text = self._bare(condition)
        text = text if ir.names(condition) & self.tensors else f"torch.tensor({text})"
        return f"torch.where({text}, {self.integer(then)}, {self.integer(other)})"


class Scalar(Printer):
    """Plain Python integers and booleans."""

    conjunction, disjunction = " and ", " or "

    def _extreme(self, kind: str, left: ir.Int, right: ir.Int) -> str:
        return f"{kind}({self.integer(left)}, {self.integer(right)})"

    def _select(self, condition: ir.Set, then: ir.Int, other: ir.Int) -> str:
        return f"({self.integer(then)} if {self._bare(condition)} else {self.integer(other)})"
