"""Keys, units, signs and codes: the one vocabulary of the code base.

Units are eV, Å, fs, K and elementary charges; forces eV/Å, stress eV/Å³. What a user reads
or sets as an error is in meV/Å or meV/atom; :data:`MEV` converts, at the edge, once.

Signs: F = −∂E/∂r. Stress = +(1/V) ∂E/∂ε (a compressed crystal has negative diagonal stress,
as in ASE); virial = −V·stress. Voigt order xx yy zz yz xz xy.

Edges: ``edge_index[0] = i`` receives, ``edge_index[1] = j`` sends; the edge vector is
``r_ij = r_j − r_i + S·cell``.
"""

from enum import StrEnum

# Labels, on frames (extxyz): info, arrays, info.
REF_ENERGY = "REF_energy"  # eV, of the whole frame, force-consistent
REF_FORCES = "REF_forces"  # [n_atoms, 3] eV/Å
REF_STRESS = "REF_stress"  # [6] Voigt or [3, 3], eV/Å³

# Predictions, on frames.
MACE_ENERGY = "MACE_energy"  # eV, committee mean
MACE_FORCES = "MACE_forces"  # [n_atoms, 3] eV/Å, committee mean
MACE_STRESS = "MACE_stress"  # [6] Voigt eV/Å³, committee mean
MACE_FORCES_STD = "MACE_forces_std"  # [n_atoms] eV/Å, committee spread of each atom's force
MACE_UNCERTAINTY = "MACE_uncertainty"  # eV/Å, calibrated: largest expected force error of the frame

# What a frame carries besides.
FRAME_ID = "frame_id"  # 20 hex digits, see frames.frame_id
CHARGE = "charge"  # total charge, e
SPIN = "spin"  # N(up) − N(down)
CONFIG_TYPE = "config_type"  # "IsolatedAtom" or free text
ISOLATED_ATOM = "IsolatedAtom"
CONFIG_WEIGHT = "config_weight"
ROLE = "role"  # a FrameRole
WHY_PICKED = "why_picked"  # one sentence for a reader
WALKER = "walker"  # number of the walker that visited the frame
GROUP = "group"  # walker group, e.g. "500K"
MD_STEP = "md_step"
DISPLACEMENT = "displacement"  # Å, root mean square over atoms, from the start of the walk
STRATUM = "stratum"  # structure of origin: what the frame is a copy, a defect or an MD frame of
EXAM = "exam"  # visited by a walk of the final exam; on selected frames: audited for it
GENERATION = "generation"  # in which the frame was selected
LABEL_STATUS = "label_status"  # a LabelStatus
LABEL_REASON = "label_reason"  # not there for converged labels
LABEL_COMPUTED = "label_computed"  # whether that call computed it, or found it in the store
LABEL_SECONDS = "label_seconds"  # wall time of all attempts
LABEL_RUNG = "label_rung"  # of the retry ladder: which one gave the label
LABEL_THEORY = "label_theory"  # "theory-" and the theory id

MEV = 1e-3  # eV in one meV
KCAL_MOL = 0.0433641153  # eV in one kcal/mol


class FrameRole(StrEnum):
    """Why a frame was sent to be labelled."""

    SEED = "seed"  # generation 0
    PICKED = "picked"  # by uncertainty (or at random, with strategy: random)
    AUDIT = "audit"  # a random draw, within strata, from where the MD went: measures the error
    ISOLATED = "isolated"  # a free atom: its energy is an E0


class LabelStatus(StrEnum):
    """How a label attempt ended. Only ``converged`` ever trains."""

    CONVERGED = "converged"
    UNCONVERGED = "unconverged"
    FAILED = "failed"
    TIMEOUT = "timeout"
    REJECTED = "rejected"  # finished, but no label of this frame (NaN, atoms reordered, …)
    QUARANTINED = "quarantined"  # converged and implausible: kept, not trained until released
    DAMAGED = "damaged"  # the stored record is not what was written


class WalkerEnd(StrEnum):
    """How a walker's MD ended."""

    COMPLETED = "completed"
    UNCERTAIN = "uncertain"  # calibrated uncertainty passed explore.max_force_error
    EVAPORATED = "evaporated"  # molecules parted by more than the model's cutoff
    CLOSE_CONTACT = "close_contact"
    FRAGMENTED = "fragmented"
    TEMPERATURE = "temperature_runaway"
    ENERGY = "energy_runaway"
    NOT_A_NUMBER = "not_a_number"
    NOT_STARTED = "not_started"  # no labelled frame of its stratum to start from


#: Ends that say that the potential is wrong there, not only unsure.
UNSTABLE_ENDS = frozenset(
    {
        WalkerEnd.CLOSE_CONTACT,
        WalkerEnd.FRAGMENTED,
        WalkerEnd.TEMPERATURE,
        WalkerEnd.ENERGY,
        WalkerEnd.NOT_A_NUMBER,
    }
)

#: Ends whose last frame is never labelled: what the potential says there means nothing, or there
#: is nothing left for it to say.
DISCARDED_ENDS = UNSTABLE_ENDS | {WalkerEnd.EVAPORATED}


class Outcome(StrEnum):
    """What a generation's assessment decides."""

    CONTINUE = "continue"
    CONVERGED = "converged"
    BUDGET_SPENT = "budget_spent"
    STALLED = "stalled"


# Versions of what is written to disk.
MODEL_FORMAT = 2
LABEL_FORMAT = 2
THEORY_FORMAT = 1  # enters the theory id: another one would orphan every label
PLAN_FORMAT = 1
ASSESS_FORMAT = 1
