"""symmetrix-xl's side. Runs in the peer's environment, without torch once a model is converted."""

from ase.io import read
from moves import Moves


def convert(model: str, out: str, radial_format: str) -> dict:
    """A mace-torch file as symmetrix-xl's JSON, by its own converter."""
    import mace  # noqa: F401 (before e3nn, which mace-torch patches)
    from symmetrix.cli.extract_mace import main

    main(["--model", model, "--output", out, "--radial-format", radial_format])
    return {}


class MD:
    """Steps of MD with its ASE calculator."""

    def __init__(self, model: str, frames: str, options: dict):
        from symmetrix import Symmetrix

        self.atoms = read(frames)
        if not self.atoms.cell.rank:
            self.atoms.cell = [30.0] * 3  # its neighbour search wants one, though not periodic
        self.atoms.calc = Symmetrix(model, **options)
        self.moves = Moves(self.atoms)

    def step(self) -> None:
        self.moves.move(self.atoms)
        self.atoms.get_potential_energy()
        self.atoms.get_forces()

    def check(self) -> dict:
        return {
            "energy": float(self.atoms.get_potential_energy()),
            "forces": self.atoms.get_forces().ravel().tolist(),
        }
