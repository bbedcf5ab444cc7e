"""The sections of a campaign's configuration: every key, its default, its bounds, its meaning.

This is the only source of defaults: the commented YAML and the JSON schema are written from it.
Names follow mace-torch's flags where a concept is shared.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from mace_core.config.labellers import Labeller


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Campaign(Section):
    """Who the campaign is and where it writes."""

    name: str = Field(
        ...,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="folder below results_dir, MLflow experiment",
    )
    seed: int = Field(0, ge=0, description="every random draw of the campaign follows from it")
    results_dir: str = Field(
        "results", description="can be thrown away and rebuilt from the labels"
    )
    label_store: str = Field("labels", description="append-only; may be shared by campaigns")
    max_generations: int = Field(
        6, ge=1, description="generations that train (generation 0 only labels)"
    )


class CheapMD(Section):
    """Molecular dynamics with a cheap engine, for more varied first frames."""

    labeller: Labeller = Field(..., description="the cheap engine, e.g. {engine: tblite}")
    n_frames: int = Field(10, ge=1, description="frames kept")
    temperature: float = Field(300.0, gt=0, description="K")
    timestep: float = Field(0.5, gt=0, description="fs")
    interval: int = Field(50, ge=1, description="steps between frames kept")


class Substitution(Section):
    """Atoms of one element replaced by another (crystals, through pymatgen)."""

    element: str = Field(..., description="replaced")
    by: str = Field(..., description="replacement")
    fraction: float = Field(0.1, gt=0, le=1, description="of the element's sites, at least one")


class Seed(Section):
    """Generation 0: what is labelled before any model exists."""

    structures: list[str] = Field(
        default_factory=list, description="files in any format that ASE or pymatgen reads"
    )
    charge: int = Field(0, description="of structures that do not say (info 'charge')")
    spin: int = Field(
        0, ge=0, description="N(up) − N(down) of structures that do not say (info 'spin')"
    )
    n_frames: int = Field(
        20,
        ge=0,
        description="rattled (and strained) copies in all, beside the structures themselves; dealt "
        "out in turn over the structures and each composition that defects make of them",
    )
    rattle_std: list[float] = Field(
        [0.03, 0.06], min_length=1, description="Å; standard deviations, used in turn"
    )
    strain_max: float = Field(
        0.05, ge=0, lt=0.5, description="largest strain component (periodic only)"
    )
    supercell: tuple[int, int, int] = Field((1, 1, 1), description="repeats (periodic only)")
    vacancies: int = Field(0, ge=0, description="frames with one atom missing (periodic only)")
    substitutions: list[Substitution] = Field(default_factory=list, description="periodic only")
    md: CheapMD | None = Field(
        None, description="short MD with a cheap engine; its frames are re-labelled"
    )


class Data(Section):
    """Labelled frames that the user already has, and how data are split."""

    labelled: list[str] = Field(
        default_factory=list,
        description="extxyz at the SAME level of theory; trained from the next generation on",
    )
    frozen_test: str | None = Field(
        None, description="extxyz that never trains and is scored in every generation"
    )
    energy_key: str = Field("REF_energy", description="info key of energies in these files, eV")
    forces_key: str = Field("REF_forces", description="arrays key of forces, eV/Å")
    stress_key: str = Field("REF_stress", description="info key of stress, eV/Å³, ASE sign")
    valid_fraction: float = Field(
        0.1, gt=0, lt=1, description="held out of training; near-duplicates stay on one side"
    )
    E0s: Literal["isolated", "average"] | dict[str, float] = Field(
        "isolated",
        description="isolated: free atoms by the same engine; average: least squares; or eV each",
    )


InteractionBlock = Literal[
    "RealAgnosticInteractionBlock",
    "RealAgnosticResidualInteractionBlock",
    "RealAgnosticDensityInteractionBlock",
    "RealAgnosticDensityResidualInteractionBlock",
]


class Model(Section):
    """The MACE architecture, in mace-torch's words."""

    model: Literal["ScaleShiftMACE", "MACE"] = Field(
        "ScaleShiftMACE", description="MACE: interaction energies are neither scaled nor shifted"
    )
    r_max: float = Field(5.0, gt=0, description="Å, cutoff")
    radial_type: Literal["bessel", "gaussian", "chebyshev"] = Field(
        "bessel", description="basis of the distance"
    )
    num_radial_basis: int = Field(8, ge=1, description="functions in that basis")
    num_cutoff_basis: int = Field(5, ge=2, description="p of the polynomial cutoff")
    distance_transform: Literal["None", "Agnesi", "Soft"] = Field(
        "None", description="of the distance before the basis, by the pair's covalent radii"
    )
    pair_repulsion: bool = Field(False, description="ZBL repulsion at short distances")
    max_ell: int = Field(3, ge=0, le=5, description="spherical harmonics up to this l")
    correlation: int = Field(3, ge=1, le=5, description="ν: body order minus one of each layer")
    num_interactions: int = Field(2, ge=1, description="message-passing layers")
    interaction_first: InteractionBlock = Field(
        "RealAgnosticResidualInteractionBlock", description="block of the first layer"
    )
    interaction: InteractionBlock = Field(
        "RealAgnosticResidualInteractionBlock", description="block of the other layers"
    )
    num_channels: int = Field(32, ge=1, description="channels k of each irrep")
    max_L: int = Field(1, ge=0, le=4, description="largest L of the messages between layers")
    MLP_irreps: str = Field("16x0e", description="hidden irreps of the last readout, of each head")
    radial_MLP: list[int] = Field([16], description="widths of the radial network")
    heads: list[str] = Field(
        ["Default"], min_length=1, description="energies learnt at once, e.g. levels of theory"
    )

    @model_validator(mode="after")
    def _possible(self):
        if self.num_interactions > 1 and self.max_L > self.max_ell * self.correlation:
            raise ValueError(
                f"max_L {self.max_L} cannot be reached with max_ell {self.max_ell} and "
                f"correlation {self.correlation}"
            )
        if self.radial_type == "gaussian" and self.num_radial_basis < 2:
            raise ValueError("Gaussians need num_radial_basis of at least 2")
        if len(set(self.heads)) < len(self.heads):
            raise ValueError(f"two heads of one name: {', '.join(self.heads)}")
        return self


#: Values of mace-torch's flags that have no counterpart here, with what to write instead.
_NOT_HERE = {
    "loss": {
        "ef": "weighted, with energy_weight: 1 and forces_weight: 1, is the same",
        "virials": "give stress labels (stress = −virials/volume), weighted uses them",
        "dipole": "dipoles are not predicted",
        "dipole_polar": "dipoles and polarizabilities are not predicted",
        "energy_forces_dipole": "dipoles are not predicted",
    },
    "optimizer": {"schedulefree": "use adamw"},
}


#: What keys of ``train`` mean in a plan that was frozen before there were any, where it is not
#: their default: a plan goes on as it began.
TRAIN_BEFORE = {
    "optimizer": "adam",
    "refit": "shift",
    "loss": "weighted",
    "scheduler": "ReduceLROnPlateau",
    "warm_start_lr_factor": 1.0,
}


class Train(Section):
    """Training of each committee member."""

    members: int = Field(4, ge=2, description="models in the committee")
    max_num_epochs: int = Field(200, ge=1, description="of one generation")
    batch_size: int = Field(
        2, ge=1, description="frames; few, because small data lack optimiser steps"
    )
    valid_batch_size: int | None = Field(
        None, ge=1, description="frames scored at once; null: by number of edges"
    )
    loss: Literal["weighted", "stress", "forces_only", "huber", "universal", "l1l2energyforces"] = (
        Field(
            "l1l2energyforces",
            description="norms of residuals (weighted: squares), stress where it is labelled",
        )
    )
    energy_weight: float = Field(1.0, ge=0, description="of the term of ΔE/n_atoms in the loss")
    forces_weight: float = Field(100.0, ge=0, description="of the term of ΔF in the loss")
    stress_weight: float = Field(
        100.0,
        ge=0,
        description="of the term of Δσ in the loss; with 1, pressures may be off by GPa",
    )
    huber_delta: float = Field(
        0.01, gt=0, description="eV, Å; where huber and universal turn from square to linear"
    )
    optimizer: Literal["adam", "adamw", "muon"] = Field(
        "muon", description="muon: orthogonal steps of matrices, Adam's of the rest"
    )
    lr: float | None = Field(
        None,
        gt=0,
        description="learning rate, of the first step; null: adam and adamw 0.03, muon 0.06, and "
        "0.02 with foundation_model; many frames less",
    )
    amsgrad: bool = Field(True, description="variant of Adam and AdamW")
    beta: float = Field(0.9, ge=0, lt=1, description="of the optimiser's mean gradient")
    weight_decay: float = Field(5e-7, ge=0, description="on linear and product weights")
    clip_grad: float | None = Field(
        10.0, gt=0, description="norm to which gradients are clipped; null: not at all"
    )
    ema: bool = Field(True, description="exponential moving average of the weights")
    ema_decay: float = Field(0.99, gt=0, lt=1, description="of one optimiser step")
    scheduler: Literal["ReduceLROnPlateau", "ExponentialLR", "CosineAnnealingLR"] = Field(
        "CosineAnnealingLR", description="of the learning rate; a half cosine to 0 over all epochs"
    )
    lr_factor: float = Field(
        0.8, gt=0, lt=1, description="plateau schedule: lr is multiplied by it"
    )
    scheduler_patience: int = Field(5, ge=0, description="evaluations without progress before that")
    lr_scheduler_gamma: float = Field(
        0.9993, gt=0, le=1, description="exponential schedule: factor of one epoch"
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="evaluations without progress before training, or stage one, stops; null: none",
    )
    eval_interval: int = Field(2, ge=1, description="epochs between evaluations and checkpoints")
    stage_two: bool = Field(
        False, description="end with other weights in the loss and a small constant lr"
    )
    start_stage_two: int | None = Field(
        None, ge=1, description="epochs of stage one; null: three quarters of all, with stage_two"
    )
    stage_two_lr: float = Field(1e-3, gt=0, description="learning rate")
    stage_two_energy_weight: float = Field(1000.0, ge=0, description="in the loss")
    stage_two_forces_weight: float = Field(100.0, ge=0, description="in the loss")
    stage_two_stress_weight: float = Field(10.0, ge=0, description="in the loss")
    scaling: Literal["rms_forces_scaling", "std_scaling", "no_scaling"] = Field(
        "rms_forces_scaling", description="scale and shift of a new model's interaction energies"
    )
    refit: Literal["none", "shift", "E0s"] = Field(
        "E0s", description="constants of the energy that are fitted in closed form at the end"
    )
    foundation_model: str | None = Field(
        None, description="to fine-tune: a model's folder, or a .model file of mace-torch"
    )
    foundation_head: str | None = Field(None, description="of its heads, if it has several")
    foundation_E0s: Literal["check", "data", "foundation", "estimated"] = Field(
        "check", description="E0s to go on with; check: the data's, if they are the model's"
    )
    freeze: list[Literal["embedding", "interactions", "products", "readouts"]] = Field(
        default_factory=list, description="parts of the model that are not trained"
    )
    pt_train_file: str | None = Field(
        None, description="replay: extxyz of frames on which the model is to stay what it was"
    )
    num_samples_pt: int | None = Field(
        None, ge=1, description="replay frames in each epoch; null: as many as training frames"
    )
    weight_pt_head: float = Field(1.0, gt=0, description="weight of a replay frame in the loss")
    pseudolabel_replay: bool = Field(
        True, description="the foundation model labels the replay frames; else the file does"
    )
    warm_start: bool = Field(True, description="start from the previous generation's member")
    warm_start_lr_factor: float | None = Field(
        None,
        gt=0,
        le=1,
        description="a warm start begins with this share of lr; null: muon 1, adam and adamw 0.3",
    )
    default_dtype: Literal["float32", "float64"] = Field(
        "float64", description="of training and MD"
    )
    device: str = Field("cpu", description="torch device of training and MD")

    @model_validator(mode="before")
    @classmethod
    def _learning_rates(cls, given):
        if not isinstance(given, dict):
            return given
        if given.get("optimizer", "muon") == "muon":
            lr, warm = 0.02 if given.get("foundation_model") else 0.06, 1.0
        else:
            lr, warm = 0.03, 0.3
        rates = {"lr": lr, "warm_start_lr_factor": warm}
        return given | {key: value for key, value in rates.items() if given.get(key) is None}

    @field_validator(*_NOT_HERE, mode="before")
    @classmethod
    def _known(cls, value, info):
        if value in _NOT_HERE[info.field_name]:
            instead = _NOT_HERE[info.field_name][value]
            raise ValueError(f"{value!r} is not supported: {instead}")
        return value

    @model_validator(mode="after")
    def _replays(self):
        if self.pt_train_file is not None and self.foundation_model is None:
            raise ValueError("pt_train_file replays what foundation_model knows: give that too")
        return self

    @model_validator(mode="after")
    def _stages(self):
        start = self.stage_two_epoch
        if start is not None and start >= self.max_num_epochs:
            raise ValueError(
                f"stage two would start after {start} epochs, and there are {self.max_num_epochs}"
            )
        if start is not None and self.loss == "forces_only":
            raise ValueError("stage two is for the energies, which loss forces_only leaves out")
        return self

    @property
    def stage_two_epoch(self) -> int | None:
        """Epochs before stage two, None without one; giving ``start_stage_two`` asks for it."""
        if not self.stage_two:
            return self.start_stage_two
        return self.start_stage_two or max(1, self.max_num_epochs // 4 * 3)


class Explore(Section):
    """Langevin MD by walkers, on the committee's mean forces."""

    walkers: int = Field(4, ge=1, description="one job each")
    temperatures: list[float] = Field(
        [300.0], min_length=1, description="K, dealt out to walkers in turn"
    )
    steps: int = Field(1000, ge=1, description="MD steps of one walker")
    timestep: float = Field(0.5, gt=0, description="fs")
    friction: float = Field(0.01, gt=0, description="1/fs, Langevin")
    save_interval: int = Field(10, ge=1, description="steps between frames kept")
    max_force_error: float = Field(
        2000.0,
        gt=0,
        description="meV/Å; a walker stops at once when its calibrated uncertainty passes it",
    )
    min_distance_factor: float = Field(
        0.6, gt=0, lt=1, description="close contact: below this times the sum of covalent radii"
    )
    fragment_factor: float = Field(
        2.0,
        gt=1,
        description="fragmentation: pieces that were bonded part by this times the radii's sum",
    )
    max_temperature_factor: float = Field(
        5.0, gt=1, description="runaway: instantaneous over set temperature"
    )
    max_energy_change: float = Field(
        0.5, gt=0, description="eV/atom; runaway: change of potential energy beyond the thermal one"
    )


class Select(Section):
    """Which visited frames are worth a label."""

    strategy: Literal["uncertainty", "random"] = Field(
        "uncertainty", description="random is the baseline to compare with"
    )
    max_frames: int = Field(16, ge=0, description="picked in a generation, at most")
    audit_frames: int = Field(
        12,
        ge=1,
        description="drawn at random from where the MD went, as many of each stratum: they measure "
        "the error",
    )
    window: tuple[float, float] = Field(
        (50.0, 3000.0), description="meV/Å; calibrated uncertainty worth a label: [lower, upper]"
    )
    min_distance: float = Field(
        0.25,
        ge=0,
        description="near-duplicates are closer than this, in units of the training set's spread",
    )

    @model_validator(mode="after")
    def _ordered(self):
        if not 0 <= self.window[0] < self.window[1]:
            raise ValueError(
                f"window must be [lower, upper] with 0 ≤ lower < upper, got {list(self.window)}"
            )
        return self


class Label(Section):
    """How labels are computed; the level of theory is in ``labeller``."""

    batch_size: int = Field(8, ge=1, description="frames of one job")
    outlier_factor: float | None = Field(
        20.0,
        gt=1,
        description="labels are doubted whose error over the committee's uncertainty is above this "
        "many times the usual, and are computed again; null: none",
    )


class Stop(Section):
    """When a campaign is done, and the statistics that say so."""

    target_force_mae: float = Field(
        30.0,
        gt=0,
        description="meV/Å; the upper confidence bound of the audited error must be below it",
    )
    target_energy_mae: float | None = Field(
        None,
        gt=0,
        description="meV/atom, uncentred, for each stratum; null: a quarter of target_force_mae",
    )
    target_stress_mae: float | None = Field(
        None,
        gt=0,
        description="meV/Å³, for each stratum with stress labels; null: a tenth of "
        "target_force_mae",
    )
    streak: int = Field(2, ge=1, description="generations in a row")
    min_audit_frames: int = Field(10, ge=2, description="audit frames over the streak")
    max_lost_audit: float = Field(
        0.1, ge=0, lt=1, description="share of audit labels that may be missing over the streak"
    )
    min_stable_fraction: float = Field(
        1.0, ge=0, le=1, description="walkers that no sanity check ended"
    )
    min_walked: float = Field(
        0.5, ge=0, le=1, description="share of the MD steps asked for that walkers must have done"
    )
    exam_length: int = Field(
        10,
        ge=0,
        description="final exam: one walk per stratum, this many times explore.steps; 0: no exam",
    )
    exam_frames: int = Field(6, ge=1, description="final exam: audit frames of each of its walks")
    group_factor: float = Field(
        2.0,
        ge=1,
        description="no element's and no walker group's error above this times the target",
    )
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of the upper bounds of errors")
    coverage: float = Field(
        0.9, gt=0, lt=1, description="share of frames whose error the calibrated uncertainty bounds"
    )
    max_labels: int = Field(1000, ge=1, description="budget: label calls, failed ones included")
    stall_generations: int = Field(
        3,
        ge=1,
        description="generations without progress, or without candidates, that make a stall",
    )
    stall_improvement: float = Field(
        0.05, ge=0, lt=1, description="relative fall of the audited error that counts as progress"
    )


class Tracking(Section):
    """MLflow. Compute never depends on it."""

    enabled: bool = Field(True, description="write runs to MLflow")
    uri: str = Field("sqlite:///mlflow.db", description="tracking store or server")
    artifacts: str | None = Field(
        None,
        description="of new experiments; by default mlartifacts beside a local store",
    )
