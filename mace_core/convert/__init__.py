"""Weights from and to mace-torch."""
