"""SP063x: a sequence that is cut over several ranks."""

from __future__ import annotations

from sparsec.diagnostics.core import Diagnostic, Example


class NotSharded(Diagnostic, code="SP0630", title="a sequence that can't be cut over ranks as asked"):
    """`sparsec.distributed.shard` works out from the pattern and the lengths which rank needs which key, before any
    data is there.  So every rank passes the tokens that the layout gives it, and data of the whole sequence; what
    chooses among the queries of all ranks is not known to any of them.
    """

    problem: str
    way_out: str
    message = "{problem}"
    help = "{way_out}"
    example = Example(
        "import sparsec\nimport sparsec.distributed\n\n"
        'attend = sparsec.compile("pattern p = past(4)")\n'
        'mesh = None  # init_device_mesh("cuda", (8,))\n'
        'sparsec.distributed.shard(attend, mesh, layout="ring")\n',
        language="python",
    )
    cure = 'Cut it in a way that is known: `layout="contiguous"`.'
