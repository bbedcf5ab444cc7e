# One configuration file: the one that --configfile names, or else the demo's. It is read here and not
# by `configfile:`, which would merge the two and hand on a campaign that is in neither file.

import sys
from pathlib import Path

from mace_core.config import load_config
from mace_core.deferred import defer
from mace_core.errors import UserError
from mace_core.layout import SCORED, Layout


def give_up(error):
    """End snakemake with a message and no traceback."""
    print(f"maceloop: {error}", file=sys.stderr, flush=True)
    sys.exit(2)


def the_configuration():
    """Path and content of the configuration, checked once, by the process that the user started."""
    files = list(workflow.config_settings.configfiles)
    if len(files) > 1:
        raise UserError(
            f"{len(files)} configuration files: {', '.join(map(str, files))}",
            mend="a campaign has one: give --configfile once",
        )
    if workflow.config_settings.config:
        raise UserError(
            f"--config {', '.join(workflow.config_settings.config)}: single keys cannot be overridden",
            mend="write them into a configuration file and give it with --configfile",
        )
    path = Path(files[0]) if files else Path(workflow.basedir) / "config" / "config.yaml"
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    settings = load_config(path)
    if workflow.is_main_process:
        from mace_core.config.checks import check

        check(settings)
    return str(path), settings


defer()
try:
    CONFIG_FILE, CONFIG = the_configuration()
except UserError as err:
    give_up(err)

LAYOUT = Layout(CONFIG.campaign.results_dir, CONFIG.campaign.name)
CAMPAIGN = str(LAYOUT.root)
GEN = f"{CAMPAIGN}/gen_{{gen}}"
