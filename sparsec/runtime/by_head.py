"""Nodes of several heads that differ at most in numbers and in what stands below them."""

from __future__ import annotations

from collections.abc import Mapping

from sparsec.ir import nodes as ir

ByHead = Mapping[int, ir.Node]


def alike(nodes: ByHead) -> list[ByHead]:
    """The heads in groups whose nodes differ at most in numbers and in what stands below them."""
    groups: dict[object, dict[int, ir.Node]] = {}
    for head, node in nodes.items():
        groups.setdefault(_outline(node), {})[head] = node
    return list(groups.values())


def _outline(node: ir.Node) -> object:
    match node:
        case ir.Compare(op=op):
            return ir.Compare, op
        case ir.Member(members=items) | ir.And(parts=items) | ir.Or(parts=items):
            return type(node), len(items)
    return node if isinstance(node, ir.Var | ir.Bool | ir.Leaf) else type(node)


def field(nodes: ByHead, name: str) -> dict:
    return {head: getattr(node, name) for head, node in nodes.items()}


def item(nodes: ByHead, name: str, index: int) -> dict:
    return {head: getattr(node, name)[index] for head, node in nodes.items()}
