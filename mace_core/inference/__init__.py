"""Energies and forces of trained models by the native kernels: no torch once a model is packed."""
