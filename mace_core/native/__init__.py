"""C++ kernels behind a plain C interface, and what opens them. Knows nothing of models."""
