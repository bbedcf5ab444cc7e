# The active-learning loop. `snakemake --cores N --configfile config/my.yaml` runs a campaign, or goes on
# with it; without --configfile it is the demo. docs/contracts.md says what each rule reads and writes.

from snakemake.utils import min_version

min_version("9.0")


include: "workflow/rules/configuration.smk"
include: "workflow/rules/common.smk"
include: "workflow/rules/relay.smk"
include: "workflow/rules/guard.smk"
include: "workflow/rules/queue.smk"
include: "workflow/rules/messages.smk"


wildcard_constraints:
    gen="[0-9][0-9]+",
    member="[0-9]+",
    walker="[0-9]+",
    batch="[0-9]+",


# A moment's work each: not worth a place in a cluster's queue.
localrules:
    all,
    plan,
    build_dataset,
    merge_labels,
    track_generation,
    report,


# Inputs only: a target with an output file would end a campaign for good. And here, not in an included
# file: only the root Snakefile sets the default target.
rule all:
    input:
        assessments,
        tracked,
        reports,


include: "workflow/rules/seed.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/explore.smk"
include: "workflow/rules/label.smk"
include: "workflow/rules/assess.smk"
include: "workflow/rules/track.smk"


onstart:
    if not workflow.local_exec:
        QUEUE_USED.touch()
        relay.start()


onsuccess:
    relay.finish()
    say_what_came_out()


onerror:
    relay.finish()
    say_what_failed()
