"""The one exception that is a message for a person, and what messages must not say."""

import re
from typing import Any


class UserError(Exception):
    """Bad input, said so that its reader can mend it.

    Args:
        what: what is wrong, naming the key or file and its value.
        where: the file, key or frame in which it stands.
        mend: what to do about it.

    The command line and the Snakefile print it without a traceback.
    """

    def __init__(self, what: str, *, where: str = "", mend: str = ""):
        self.what, self.where, self.mend = what, where, mend
        super().__init__(
            "\n".join(
                line
                for line in (
                    what,
                    f"  where: {where}" if where else "",
                    f"  mend:  {mend}" if mend else "",
                )
                if line
            )
        )


def without_passwords(value: Any) -> Any:
    """``value`` with the password of every URI in it hidden."""
    if isinstance(value, str):
        return re.sub(r"(://[^:/@\s]*):[^@/\s]*@", r"\1:***@", value)
    if isinstance(value, dict):
        return {key: without_passwords(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_passwords(item) for item in value]
    return value
