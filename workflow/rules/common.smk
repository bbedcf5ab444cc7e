# Input functions. What they say about a generation comes from its frozen plan, and from the
# configuration only while there is no plan yet.

import os
import shutil

from mace_core.storage import read_json

# Jobs find the `maceloop` beside this snakemake even when its venv is not activated.
if not shutil.which("maceloop"):
    os.environ["PATH"] += os.pathsep + str(Path(sys.executable).parent)


def sizes(gen):
    """How many members, walkers and label batches a generation has."""
    plan = LAYOUT.plan(int(gen))
    if plan.is_file():
        return read_json(plan)["sizes"]
    return {
        "members": CONFIG.train.members,
        "walkers": CONFIG.explore.walkers,
        "label_batches": CONFIG.n_label_batches,
    }


def ends_campaign(g):
    return (
        read_json(LAYOUT.assess(g))["outcome"] != "continue" or g >= CONFIG.campaign.max_generations
    )


def numbered(pattern, gen, count):
    """`pattern` for 0, 1, … below the generation's size `count`."""
    return [pattern.format(gen=gen, n=n) for n in range(sizes(gen)[count])]


def before(gen):
    """The generation before, as its folder is named."""
    return f"{int(gen) - 1:02d}"


# For rule all only. Elsewhere Snakemake can hand a resumed run the checkpoint's own file in place of
# what the function returns.
def assessments(wildcards):
    """Every generation's assessment; asks the checkpoint for the first one that is missing."""
    files = []
    for g in range(CONFIG.campaign.max_generations + 1):
        if not LAYOUT.assess(g).is_file():
            checkpoints.assess_generation.get(gen=f"{g:02d}")
        files.append(LAYOUT.assess(g))
        if ends_campaign(g):
            break
    return files


def tracked(wildcards):
    """What MLflow is told of the generations assessed so far: no checkpoint, so that it runs meanwhile."""
    return [LAYOUT.tracked(g) for g in LAYOUT.assessed_generations()]


def reports(wildcards):
    return [LAYOUT.report(g) for g in LAYOUT.assessed_generations()]


def previous_assessment(wildcards):
    if int(wildcards.gen) == 0:
        return []
    return ancient(f"{CAMPAIGN}/gen_{before(wildcards.gen)}/assess.json")


def merged_before(wildcards):
    return [LAYOUT.merged(g) for g in range(int(wildcards.gen))]


def member_models(wildcards):
    return numbered(
        CAMPAIGN + "/gen_{gen}/train/member_{n}/model.safetensors", wildcards.gen, "members"
    )


def walkers(wildcards):
    return numbered(CAMPAIGN + "/gen_{gen}/explore/walker_{n}.extxyz", wildcards.gen, "walkers")


def label_batches(wildcards):
    return numbered(CAMPAIGN + "/gen_{gen}/label/batch_{n}.extxyz", wildcards.gen, "label_batches")


def assessed_with(wildcards):
    """The committee and the selection that an assessment judges: none in generation 0."""
    if int(wildcards.gen) == 0:
        return {}
    folder = LAYOUT.gen(int(wildcards.gen))
    return {"committee": folder / "train/committee.json", "select": folder / "select/select.json"}


def parent_folders(wildcards, input):
    return [str(Path(model).parent) for model in input.models]


def n_batches(wildcards):
    return sizes(wildcards.gen)["label_batches"]


def label_store(wildcards):
    plan = LAYOUT.plan(int(wildcards.gen))
    if plan.is_file():
        return read_json(plan)["config"]["campaign"]["label_store"]
    return CONFIG.campaign.label_store


def assess_options(wildcards, input):
    if "committee" not in input.keys():
        return []
    return ["--committee", input.committee, "--select", input.select]
