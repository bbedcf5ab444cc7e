"""Audits of made-up MD whose true mean error is known."""

from dataclasses import dataclass

import numpy as np
from audit_rows import frame, walk


@dataclass(frozen=True)
class MD:
    """Frames whose force error is lognormal, of median 20 meV/Å.

    Attributes:
        sigma: scatter of log error.
        shared: share of its variance that the frames of a walk have in common.
        seen: share of log error that the committee's spread follows.
        noise: scatter of log spread that has nothing to do with the error.
        offset: meV/atom, constant error of energies.
        scatter: meV/atom, of energies about it.
        tails: degrees of freedom of Student's t for energies; None: normal.
    """

    sigma: float = 0.4
    shared: float = 0.3
    seen: float = 0.0
    noise: float = 0.0
    offset: float = 0.0
    scatter: float = 2.0
    tails: int | None = None

    @property
    def force_mae(self) -> float:
        """eV/Å."""
        return 0.02 * float(np.exp(self.sigma**2 / 2))

    def audit(self, rng, n_walks=4, n_frames=8, stratum="s", generation=1, visited=40):
        """Rows of the audit, and of the walks."""
        rows, walks = [], []
        for w in range(n_walks):
            effect = rng.normal(size=2) * np.sqrt(self.shared)
            own = rng.normal(size=(2, visited)) * np.sqrt(1 - self.shared)
            log_error = self.sigma * (effect[0] + own[0])
            energies = effect[1] + own[1]
            if self.tails:
                energies = rng.standard_t(self.tails, size=visited)
            error = 20 * np.exp(log_error)
            spread = 5 * np.exp(self.seen * log_error + self.noise * rng.normal(size=visited))
            where = {"walker": w, "stratum": stratum, "generation": generation}
            walks.append(walk(float(spread.mean()), n_frames=visited, **where))
            n = n_frames // n_walks + (w < n_frames % n_walks)
            rows += [
                frame(
                    float(error[k]),
                    spread=float(spread[k]),
                    energy=float(self.offset + self.scatter * energies[k]),
                    number=k,
                    **where,
                )
                for k in range(n)
            ]
        return rows, walks


def least(n: int, promised: float = 0.94, sigmas: float = 2.5) -> float:
    """Share of n simulations in which a bound must hold, for a promise that is kept just so."""
    return promised - sigmas * float(np.sqrt(promised * (1 - promised) / n))
