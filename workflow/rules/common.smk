# Input functions. What they say about a generation comes from its frozen plan, and from the
# configuration only while there is no plan yet.

import functools
import os
import shutil

from mace_core import plan as planning

# Jobs find the `maceloop` beside this snakemake even when its venv is not activated.
if not shutil.which("maceloop"):
    os.environ["PATH"] += os.pathsep + str(Path(sys.executable).parent)


def configuration():
    """The configuration as it is now: what is changed during a run holds from the next plan on."""
    try:
        now = os.stat(CONFIG_FILE)
        return configuration_of(now.st_ino, now.st_size, now.st_mtime_ns)
    except (UserError, OSError):
        return CONFIG  # `maceloop plan` will say what is wrong with it


# Asked for some times a job: read again only when the file has changed.
@functools.cache
def configuration_of(*version):
    return load_config(CONFIG_FILE)


def sizes(gen):
    """How many members, walkers and label batches a generation has."""
    g = int(gen)
    return sizes_of(g, *map(version, [CONFIG_FILE, LAYOUT.plan(g), LAYOUT.assess(g - 1)]))


# Before there is a plan, the sizes take a decision about the generation before.
@functools.cache
def sizes_of(g, *versions):
    return planning.sizes(configuration(), LAYOUT, g)


def version(path):
    try:
        now = os.stat(path)
    except OSError:
        return None
    return now.st_ino, now.st_size, now.st_mtime_ns


def numbered(pattern, gen, count):
    """`pattern` for 0, 1, … below the generation's size `count`."""
    return [pattern.format(gen=gen, n=n) for n in range(sizes(gen)[count])]


# For rule all only. Elsewhere Snakemake can hand a resumed run the checkpoint's own file in place of
# what the function returns.
def assessments(wildcards):
    """Every generation's assessment; while the campaign goes on, the checkpoint is asked for the next."""
    action, g, *_ = planning.next_action(configuration(), LAYOUT)
    if action == "run":
        checkpoints.assess_generation.get(gen=f"{g:02d}")
    return [LAYOUT.assess(h) for h in range(g + 1)]


# No checkpoint in these two: they ask for what can be had, so that it appears while the campaign runs.
def tracked(wildcards):
    return [LAYOUT.tracked(g) for g in LAYOUT.assessed_generations()]


def reports(wildcards):
    return [LAYOUT.report(g) for g in LAYOUT.assessed_generations()]


def previous_assessment(wildcards):
    g = int(wildcards.gen)
    return ancient(LAYOUT.assess(g - 1)) if g else []


def merged_before(wildcards):
    return [LAYOUT.merged(g) for g in range(int(wildcards.gen))]


# The doubts about the labels merged. Named as files, not asked of the checkpoint; ancient, because an
# assessment that is made once more must not train all generations anew.
def assessed_before(wildcards):
    return [ancient(LAYOUT.assess(g)) for g in range(int(wildcards.gen))]


def each_assessment(wildcards, input):
    return [word for path in input.assess for word in ("--assess", path)]


# Whether a frame is held out was said once. Ancient, as the assessments are.
def ledger_before(wildcards):
    g = int(wildcards.gen)
    return ancient(LAYOUT.dataset(g - 1) / "ledger.parquet") if g > 1 else []


def kept_sides(wildcards, input):
    return ["--ledger", input.ledger] if input.get("ledger") else []


def member_models(wildcards):
    return numbered(
        f"{CAMPAIGN}/gen_{{gen}}/train/member_{{n}}/model.safetensors", wildcards.gen, "members"
    )


def walkers(wildcards):
    return numbered(f"{CAMPAIGN}/gen_{{gen}}/explore/walker_{{n}}.extxyz", wildcards.gen, "walkers")


def label_batches(wildcards):
    return numbered(
        f"{CAMPAIGN}/gen_{{gen}}/label/batch_{{n}}.extxyz", wildcards.gen, "label_batches"
    )


def n_batches(wildcards):
    return sizes(wildcards.gen)["label_batches"]


def label_store(wildcards):
    plan = LAYOUT.plan(int(wildcards.gen))
    config = planning.read_plan(plan)["config"] if plan.is_file() else configuration().model_dump()
    return config["campaign"]["label_store"]


def folders(wildcards, input):
    """A model's name is its folder's."""
    return [str(Path(model).parent) for model in input.models]


def assessed_with(wildcards):
    """The committee and the selection that an assessment judges: none in generation 0."""
    g = int(wildcards.gen)
    if g == 0:
        return {}
    files = {"committee": LAYOUT.committee(g), "select": LAYOUT.gen(g) / "select" / "select.json"}
    if LAYOUT.recheck(g).is_file() or not LAYOUT.assess(g).is_file():
        return files | {"recheck": LAYOUT.recheck(g), "scored": scored_frames(f"{g:02d}")}
    return files  # assessed before there was this step


def scored_frames(gen):
    return [f"{CAMPAIGN}/gen_{gen}/label/scored/{kind}.extxyz" for kind in SCORED]


def assess_options(wildcards, input):
    names = ("committee", "select", "recheck")
    return [word for name in names if name in input.keys() for word in (f"--{name}", input[name])]


if workflow.is_main_process:
    try:
        planning.next_action(CONFIG, LAYOUT)  # or why the campaign cannot go on
    except UserError as err:
        give_up(err)
