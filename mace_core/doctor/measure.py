"""What training and MD cost here: the configured model, run for a few steps on the structures."""

import contextlib
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import yaml
from ase import Atoms

from mace_core.calculator import MACECalculator
from mace_core.config.campaign import Config
from mace_core.conventions import CHARGE, REF_ENERGY, REF_FORCES, SPIN
from mace_core.explore.walk import walk
from mace_core.frames import write_frames
from mace_core.tables import read_table
from mace_core.train.member import train_member

#: Seconds that one epoch, and one walk, is to last at least: shorter ones are not worth timing.
_LONG_ENOUGH = 0.5
_MOST_BATCHES = 64
_MOST_STEPS = 2000
_MOST_STRUCTURES = 8

#: A held-out frame against a training frame: forces but neither their gradients nor a step.
HELD_OUT = 1 / 3


@dataclass(frozen=True)
class Costs:
    """Seconds of wall time on one core, and bytes.

    Attributes:
        epoch_frame: of training, a frame and epoch, one member.
        frame: of training, a frame, once a training: neighbours, last fit, scores.
        md_step: one step of a walker, with the whole committee.
        start_training: of a training's process, before its first epoch.
        start: of any other process that needs torch.
        start_light: of a process that does not.
        peak: memory of the process that did all this.
    """

    epoch_frame: float
    frame: float
    md_step: float
    start_training: float
    start: float
    start_light: float
    peak: float


def measure(config: Config, frames: Sequence[Atoms]) -> Costs:
    """Train the configured model on made-up labels of rattled copies, and run MD with it.

    Args:
        config: the campaign's.
        frames: structures of the campaign, canonical; used in turn.

    Raises:
        UserError: the device is not there, or the model cannot be made.
    """
    with tempfile.TemporaryDirectory(prefix="maceloop-doctor-") as name:
        folder = Path(name)
        start_training = _first_training(config, frames, folder / "first")
        start = _seconds("-c", "import mace_core.explore.run, mace_core.committee")
        start_light = _seconds("-c", "import mace_core.cli.main, mace_core.label.command")
        epoch_frame, frame, model = _training(config, frames, folder)
        md_step = _md(config, frames, model)
        peak = float(psutil.Process().memory_info().rss)
    return Costs(epoch_frame, frame, md_step, start_training, start, start_light, peak)


def _first_training(config: Config, frames: Sequence[Atoms], folder: Path) -> float:
    """Seconds of `maceloop train` for next to nothing: the process's start."""
    _write_inputs(config, frames, folder, n_train=2, epochs=1)
    return _seconds(
        *("-m", "mace_core.cli.main", "train", "--train", str(folder / "train.extxyz")),
        *("--valid", str(folder / "valid.extxyz"), "--config", str(folder / "config.yaml")),
        *("--out", str(folder / "member")),
    )


def _seconds(*arguments: str) -> float:
    """Wall time of a Python process; what it says, should it fail, comes with the training here."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
    return time.perf_counter() - began


def _training(config: Config, frames: Sequence[Atoms], folder: Path) -> tuple[float, float, Path]:
    """Seconds of a frame and epoch, of a frame and training, and the folder of the model."""
    n_batches = 1
    while True:
        n_train = n_batches * config.train.batch_size
        there = folder / f"train_{n_batches}"
        _write_inputs(config, frames, there, n_train, epochs=3)
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            train_member(
                there / "train.extxyz",
                there / "config.yaml",
                there / "member",
                valid_file=there / "valid.extxyz",
            )
        wall = time.perf_counter() - began
        seconds = read_table(there / "member" / "history")["seconds"].to_numpy()
        epoch = float(np.diff(seconds)[1:].mean())  # the first one warms up
        if epoch >= _LONG_ENOUGH or n_batches >= _MOST_BATCHES:
            once = max(0.0, wall - float(seconds[-1])) / n_train
            return epoch / (n_train + HELD_OUT), once, there / "member"
        n_batches = min(_MOST_BATCHES, max(2, int(n_batches * _LONG_ENOUGH / epoch) + 1))


def _write_inputs(
    config: Config, frames: Sequence[Atoms], folder: Path, n_train: int, epochs: int
) -> None:
    """Frames with made-up labels, and a configuration that trains on them for a moment."""
    rng = np.random.default_rng(0)
    made_up = [_made_up(frames[k % len(frames)], rng) for k in range(n_train + 1)]
    write_frames(folder / "train.extxyz", made_up[:-1])
    write_frames(folder / "valid.extxyz", made_up[-1:])
    values = config.model_dump(mode="json")
    elements = {str(symbol) for atoms in frames for symbol in atoms.symbols}
    values["data"] |= {"E0s": dict.fromkeys(sorted(elements), 0.0)}
    values["train"] |= {
        "max_num_epochs": epochs,
        "eval_interval": 1,
        "stage_two": False,
        "start_stage_two": None,
        "foundation_E0s": "foundation",
        "pt_train_file": None,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(values))


def _made_up(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """A rattled copy with small random labels: what they are does not change what they cost."""
    frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    frame.positions += rng.normal(scale=0.02, size=frame.positions.shape)
    frame.info[REF_ENERGY] = float(rng.normal(scale=0.01))
    frame.arrays[REF_FORCES] = rng.normal(scale=0.05, size=frame.positions.shape)
    return frame


def _md(config: Config, frames: Sequence[Atoms], model: Path) -> float:
    """Seconds of one MD step with a committee of copies, the mean over the structures."""
    calculator = MACECalculator(
        [model] * config.train.members,
        device=config.train.device,
        default_dtype=config.train.default_dtype,
        calibration_factor=1.0,
    )
    times = []
    for atoms in frames[:_MOST_STRUCTURES]:
        if len(atoms) > 1:
            times.append(_steps(config, atoms, calculator))
    return float(np.mean(times)) if times else 0.0


def _steps(config: Config, atoms: Atoms, calculator: MACECalculator) -> float:
    """Seconds of a step; longer and longer walks until one is long enough.

    The first one is not timed: it makes tables and loads what it needs.
    """
    start = atoms.copy()
    start.info = {CHARGE: atoms.info[CHARGE], SPIN: atoms.info[SPIN]}
    temperature = min(config.explore.temperatures)
    warm, n = False, 5
    while True:
        settings = config.explore.model_copy(
            update={"steps": n, "save_interval": n, "max_force_error": 1e9}
        )
        began = time.perf_counter()
        done = walk(start, calculator, settings, temperature, np.random.default_rng(0)).end_step
        wall = time.perf_counter() - began
        # A model of made-up labels may run away: then the steps so far have to do.
        if not warm:
            warm = True
        elif wall >= _LONG_ENOUGH or done < n or n >= _MOST_STEPS:
            return wall / (done + 1)
        else:
            n = min(_MOST_STEPS, max(2 * n, int(n * _LONG_ENOUGH / wall) + 1))
