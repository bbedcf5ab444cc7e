"""MLflow's model registry: a campaign is a model, each generation's committee a version of it."""

from typing import TYPE_CHECKING

from mace_core.chronicle import Generation
from mace_core.conventions import MEV
from mace_core.track.records import KEY, RunRecord, run_key

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Registry:
    """The versions of one campaign's model.

    Args:
        client: of MLflow.
        name: the campaign's.
    """

    def __init__(self, client: "MlflowClient", name: str):
        self.client, self.name = client, name

    def register(self, generation: Generation, record: RunRecord, run_id: str) -> None:
        """A version for this generation, whose files are its run's, in place of an older one."""
        self._ensure_model()
        for version in self._versions():
            if version.tags.get(KEY) == record.key:
                self.client.delete_model_version(self.name, version.version)
        audit = generation.assess.get("audit")
        error = (
            f"Audited force MAE {audit['force_mae'] / MEV:.1f} meV/Å "
            f"(upper bound {audit['force_mae_high'] / MEV:.1f}) on {audit['n_frames']} frames. "
            if audit
            else ""
        )
        self.client.create_model_version(
            self.name,
            source=f"{self.client.get_run(run_id).info.artifact_uri}/committee",
            run_id=run_id,
            tags={"generation": str(generation.g), KEY: record.key},
            description=f"Committee of generation {generation.g}. {error}Load the downloaded "
            "folders with `mace_core.MACECalculator(model_paths=[…/member_0, …])`.",
            await_creation_for=0,
        )

    def call_best(self, generation: int) -> None:
        """Give this generation's version, if there is one, the alias ``best``."""
        key = run_key(self.name, generation)
        best = next((v for v in self._versions() if v.tags.get(KEY) == key), None)
        if best is None:
            return
        aliases = self.client.get_registered_model(self.name).aliases
        if str(aliases.get("best")) != str(best.version):
            self.client.set_registered_model_alias(self.name, "best", best.version)

    def _ensure_model(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.get_registered_model(self.name)
        except MlflowException as err:
            if err.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            self.client.create_registered_model(
                self.name,
                description=f"Committees of the campaign {self.name}, one version a generation.",
            )

    def _versions(self) -> list:
        name = self.name.replace("'", "\\'")
        return list(self.client.search_model_versions(f"name='{name}'"))
