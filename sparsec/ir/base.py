"""What all nodes of `nodes.py` have in common: a type to ask for, and a hash that is worked out once."""

from __future__ import annotations

from typing import ClassVar, TypeVar


class Base:
    """What all nodes are; `_hash` is that of the node, once somebody has asked for it."""

    __slots__ = ("_hash",)
    __match_args__: ClassVar[tuple[str, ...]] = ()  # the fields
    _hash: int


class BaseLeaf(Base):
    """What no affine condition can say.  Its meaning never depends on what stands beside it."""

    __slots__ = ()


_Kind = TypeVar("_Kind", bound=Base)


def hashed_once(kind: type[_Kind]) -> type[_Kind]:
    """Trees are keys of all that is remembered, and the hash of a dataclass goes through the whole tree each time."""
    of_fields = kind.__hash__

    def __hash__(self: _Kind) -> int:
        try:
            return self._hash
        except AttributeError:
            found = hash((kind.__name__, of_fields(self)))
            object.__setattr__(self, "_hash", found)  # a node does not change
            return found

    kind.__hash__ = __hash__  # type: ignore[method-assign,assignment]
    return kind
