"""What can be known to be wrong before any compute: all of it, in one message.

Files are read with the readers of the run, and the engine is asked by the labelling worker itself,
so that what passes here is what the run will meet. No torch.
"""

from pathlib import Path

from mace_core.config.campaign import Config
from mace_core.config.checks import engine, files, places, settings
from mace_core.config.checks.findings import Findings, Frames


def findings(config: Config, base: str | Path = ".") -> Findings:
    """Everything that can be known of a campaign before it runs; a second or two.

    Args:
        config: the campaign's.
        base: folder that relative paths start from.
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
    places.places(config, base, found)
    places.tracking(config, found)
    settings.budget(config, base, found, frames)
    return found


def check(config: Config, base: str | Path = ".") -> Findings:
    """The findings, if nothing is wrong.

    Raises:
        UserError: all problems at once, each with key, value and mend.
    """
    found = findings(config, base)
    found.raise_problems()
    return found
