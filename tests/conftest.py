"""What every test of the project shares."""

import os

# Before numpy and torch are imported: many processes of one thread each is what the workflow runs, too.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
