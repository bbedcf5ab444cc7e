"""What counts as right, and why: every number by which a labeller is judged."""

#: eV/Å, force along a direction against the energy's slope. A tenth of the 20 meV/Å at which
#: potentials are called good; a converged DFT code on a sound grid stays below half of it.
FORCE = 2e-3
#: eV/Å³ (0.16 GPa), stress against the energy's slope. Plane waves at a fixed cutoff differ by
#: their Pulay stress: what is above this distorts a cell noticeably.
STRESS = 1e-3
#: eV/atom, the same structure moved, turned or renumbered: a fifth of the 1 meV/atom that matters.
#: Grids fixed in space (FFT, radial) do not let it be zero.
SAME_ENERGY = 2e-4
#: eV/Å, largest force component of the same structure moved, turned or renumbered: grids again.
SAME_FORCE = 5e-3
#: eV/Å per atom: a structure that pulls itself along. The part of :data:`FORCE` that all share.
NET_FORCE = 1e-3
#: eV/atom and eV/Å, the same input again: the rest of an SCF's threshold, summed in another order.
REPEATED_ENERGY = 1e-6
REPEATED_FORCE = 1e-4
#: eV/atom, a later rung of the retry ladder: another way into the same SCF threshold.
RUNG_ENERGY = 1e-5
#: eV: a different number of electrons, or of unpaired ones, changes the energy by more.
ELECTRON_ENERGY = 1e-3

#: Å and strain, steps of the four-point differences: their own error (h⁴) stays below 1e-5 eV/Å,
#: and an SCF threshold of 1e-6 eV is not amplified above 1e-4.
STEP = 0.01
STRAIN = 2e-3
#: Å and strain, of second derivatives, which amplify noise by the step squared.
STRETCH = 0.03
SWELL = 0.01

#: Å, and shrinking of each cell length: off the minimum, so that there are forces and stress.
RATTLE = 0.05
SHRINK = 0.98

#: eV/Å², stiffness of the shortest bond: from 10 (long single bonds) to 145 (N₂).
BOND_STIFFNESS = (5.0, 250.0)
#: eV, first ionisation energy of a neutral molecule: 4 (alkali clusters) to 16 (N₂), and what
#: tight binding adds.
IONISATION = (3.0, 30.0)
#: GPa, bulk modulus of a compound: 3 (ice is 9) to 450 (diamond).
BULK_MODULUS = (2.0, 600.0)
#: Factor around an element's measured bulk modulus: methods differ by less than 2, units by 13.
BULK_FACTOR = 5.0

#: Bytes of the disks that are full: nothing fits, a log fits, a density half fits.
DISKS = (4096, 65536, 1 << 20)
#: Seconds: a label that takes longer is interrupted by itself, among quick ones one of many.
LONG = 1.0
MANY = 20
#: Times a quick engine is given too little time, or is shot at, until it is late, or hit, for once.
TRIES = 5
#: Seconds within which everything that an interrupted label started must be gone.
GONE = 3.0
