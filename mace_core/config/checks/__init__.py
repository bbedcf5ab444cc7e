"""What can be known to be wrong before any compute: all of it, in one message.

Files are read with the readers of the run, and the engine is asked by the labelling worker itself,
so that what passes here is what the run will meet. No torch.
"""

from pathlib import Path

from mace_core.config.campaign import Config
from mace_core.config.checks import engine, files, settings
from mace_core.config.checks.findings import Findings, Frames
from mace_core.errors import UserError
from mace_core.label.theory import theory_id


def check(config: Config, base: str | Path = ".") -> Findings:
    """Everything that can be known to be wrong with a campaign before it runs; a second or two.

    Args:
        config: the campaign's.
        base: folder that relative paths start from.

    Returns:
        Notes, and what is right.

    Raises:
        UserError: all problems at once, each with key, value and mend.
    """
    found, frames, base = Findings(), Frames(), Path(base)
    files.structures(config, base, found, frames)
    files.labelled(config, base, found, frames)
    settings.seed_options(config, found, frames)
    engine.engine(config, found, frames)
    engine.electrons(config, found, frames)
    engine.e0s(config, found, frames)
    settings.model(config, found, frames)
    settings.numbers(config, found)
    settings.device(config, found)
    settings.places(config, base, found)
    settings.budget(config, base, found, frames)
    if found.problems:
        n = len(found.problems)
        raise UserError(
            f"{n} problem{'s' if n > 1 else ''} in the configuration:\n"
            + "\n".join(f"  - {problem}" for problem in found.problems)
        )
    return found


def doctor(config: Config, base: str | Path = ".") -> list[str]:
    """The checks' findings as lines to print; raises :class:`UserError` as :func:`check` does."""
    found = check(config, base)
    lines = [f"ok    {line}" for line in found.good]
    lines.append(f"ok    level of theory {theory_id(config.labeller)}")
    return [*lines, *(f"note  {line}" for line in found.notes)]
