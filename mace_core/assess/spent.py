"""Label calls in words: how many were computed, and how many the label store answered.

Both count against ``stop.max_labels``, so that a rebuilt campaign buys no new labels.
"""


def calls_said(calls: int, found: int | None, what: str = "calls") -> str:
    """``28 calls (20 computed, 8 found in the store)``.

    Args:
        calls: computed or found.
        found: in the store; None where it is not known (files of earlier versions).
        what: the calls are called.
    """
    said = computed_said(calls, found)
    return f"{calls} {what} ({said})" if said else f"{calls} {what}"


def computed_said(calls: int, found: int | None) -> str:
    """``20 computed, 8 found in the store``; nothing where it is not known or there was no call."""
    if found is None or not calls:
        return ""
    if found == 0:
        return "all computed"
    if found == calls:
        return "all found in the store"
    return f"{calls - found} computed, {found} found in the store"
