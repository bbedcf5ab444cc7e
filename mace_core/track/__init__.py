"""MLflow's view of a campaign: projected from the files on disk, which never depend on it."""

from mace_core.track.project import sync, track

__all__ = ["sync", "track"]
