"""How many threads a process computes on."""

import os

from mace_core.errors import UserError


def threads_or_default(threads: int | None = None) -> int:
    """``threads``, else those of ``OMP_NUM_THREADS``, else one.

    A job of the workflow has the variable from its rule's ``threads``. One is the default, because
    other jobs have their share of the cores.

    Raises:
        UserError: not a positive number.
    """
    given, where = threads, "threads"
    if threads is None:
        # OpenMP allows a list, of which the first is for the outermost level.
        given = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip() or 1
        where = "OMP_NUM_THREADS"
    try:
        number = int(given)
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        raise UserError(f"{given!r} is no number of threads", where=where, mend="1 or more")
    return number
