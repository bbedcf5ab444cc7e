"""What every test of the project shares."""

import os

# Before numpy and torch are imported: one thread a process, as in the workflow.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
