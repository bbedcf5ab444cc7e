"""Opens the compiled kernels: the best variant that was built and that this processor runs."""

import ctypes
import functools
import hashlib
import os
import warnings
from pathlib import Path

#: ``off``, or the variant to take (``v2``, ``v3``, ``v4``, ``native``) instead of the best one.
SWITCH = "MACELOOP_NATIVE"


def variants(folder: Path = Path(__file__).parent) -> dict[str, Path]:
    """The variants that were built, with their files."""
    found = {}
    for path in sorted(folder.glob("_kernels_*")):
        if path.suffix in (".so", ".dylib"):
            found[path.name.split(".")[0].removeprefix("_kernels_")] = path
    return found


@functools.cache
def library() -> ctypes.CDLL | None:
    """The kernels for this processor; None, said once, where there are none.

    The variable ``MACELOOP_NATIVE`` chooses a variant, or switches the kernels ``off``.
    """
    wanted = os.environ.get(SWITCH, "")
    if wanted == "off":
        return None
    found = variants()
    try:
        if not wanted and "native" not in found:
            lowest = ctypes.CDLL(str(found["v2"]))
            wanted = max(v for v in found if int(v[1:]) <= lowest.maceloop_cpu_level())
        return ctypes.CDLL(str(found[wanted or "native"]))
    except (KeyError, OSError) as err:
        why = err if isinstance(err, OSError) else f"{wanted or 'they'} were not compiled"
        warnings.warn(
            f"no native kernels ({why}): everything runs on torch, slower. With a C++ compiler, "
            f"`make install` (or pip install) builds them.",
            stacklevel=2,
        )
        return None


def fits(kernels: ctypes.CDLL, folder: Path = Path(__file__).parent) -> bool:
    """Whether ``kernels`` were compiled from the tables.h in ``folder``, if that can be told.

    With another one they would take what Python hands over for something else.
    """
    if not hasattr(kernels, "maceloop_interface"):
        return False
    kernels.maceloop_interface.restype = ctypes.c_char_p
    compiled, header = kernels.maceloop_interface().decode(), folder / "tables.h"
    if not compiled or not header.exists():  # by hand; installed without sources
        return True
    return compiled == hashlib.sha256(header.read_bytes()).hexdigest()[:16]


def vector_bytes() -> int:
    """Width of a vector of the loaded variant; arrays are padded and aligned to it."""
    kernels = library()
    return kernels.maceloop_vector_bytes() if kernels else 64
