"""Projecting a campaign's files to MLflow: what is new is added, what is unchanged stays."""

import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from mace_core.chronicle import Chronicle, Generation
from mace_core.config import Config
from mace_core.conventions import Outcome
from mace_core.errors import UserError, without_passwords
from mace_core.layout import Layout
from mace_core.storage import read_json, sha256_json, write_json
from mace_core.track.records import (
    CONTENT,
    KEY,
    RunRecord,
    campaign_record,
    campaign_text,
    generation_record,
    member_records,
    run_key,
)
from mace_core.track.registry import Registry
from mace_core.track.store import artifact_root, is_database, open_client

#: How a campaign's outcome shows as the status of its run.
_STATUS = {
    Outcome.CONTINUE: "RUNNING",
    Outcome.CONVERGED: "FINISHED",
    Outcome.BUDGET_SPENT: "KILLED",
    Outcome.STALLED: "FAILED",
}


def track(config: Config, through: int | None = None, *, quiet: bool = False) -> dict:
    """Bring MLflow up to date with all assessed generations up to ``through``.

    Nothing computed depends on MLflow: whatever goes wrong with it becomes a line on stderr and a
    reason in the result, and the next call catches up.

    Args:
        config: the campaign's configuration.
        through: last generation to project; None means all assessed ones.
        quiet: leave out the line.

    Returns:
        ``{"synced": True, "experiment_id", "created", "unchanged", "view", …}`` or
        ``{"synced": False, "reason"}``.
    """
    if not config.tracking.enabled:
        return {"synced": False, "reason": "disabled"}
    try:
        chronicle = Chronicle(config, through)
        if not chronicle.generations:
            return {"synced": False, "reason": "no generation is assessed yet"}
        with FileLock(chronicle.layout.root / ".track.lock", timeout=600):
            return _Projection(chronicle).run()
    except Exception as err:
        reason = _one_line(err)
        if not quiet:
            print(
                f"maceloop: not tracked in {without_passwords(config.tracking.uri)}: {reason} "
                "(nothing is lost: the next generation, or `maceloop sync`, catches up)",
                file=sys.stderr,
            )
        return {"synced": False, "reason": reason}


def sync(config: Config) -> dict:
    """:func:`track` for all generations, asked for by a person: what goes wrong is an error.

    Each generation's ``tracked.json`` is brought up to date as well.

    Raises:
        UserError: tracking is off, nothing is assessed, or the store could not be written.
    """
    result = track(config, quiet=True)
    if not result["synced"]:
        off = result["reason"] == "disabled"
        raise UserError(
            "tracking.enabled: false: there is nothing to bring up to date"
            if off
            else f"not in step with {without_passwords(config.tracking.uri)}: {result['reason']}",
            mend="set tracking.enabled: true"
            if off
            else "`maceloop doctor` looks at the tracking store; nothing is lost meanwhile",
        )
    layout = Layout(config.campaign.results_dir, config.campaign.name)
    for g in result["generations"]:
        told = layout.tracked(g)
        if told.is_file() and not read_json(told).get("synced"):
            write_json(told, result)
    return result


@dataclass
class _Projection:
    chronicle: Chronicle
    created: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)

    def run(self) -> dict:
        config = self.chronicle.config
        self.client = open_client(config.tracking)
        self.registry = Registry(self.client, self.chronicle.name)
        self.experiment = self._experiment()
        self.runs = self._runs_by_key()
        for generation in self.chronicle.generations:
            self._generation(generation)
        # Projecting an early generation again must not turn back what later ones have said.
        logged = _logged_generations(self.runs.get(run_key(self.chronicle.name, "campaign")))
        whole = Chronicle(config, through=max([*logged, self.chronicle.last.g]))
        self._campaign(whole, logged)
        self._describe(whole)
        if whole.best is not None:
            self.registry.call_best(whole.best)
        uri = self.chronicle.config.tracking.uri
        page = f"/#/experiments/{self.experiment}/runs?compareRunsMode=CHART"
        return {
            "synced": True,
            "uri": without_passwords(uri),
            "experiment_id": self.experiment,
            "generations": [generation.g for generation in self.chronicle.generations],
            "created": self.created,
            "unchanged": self.unchanged,
            "view": page if is_database(uri) else without_passwords(uri).rstrip("/") + page,
        }

    # Experiment and runs -----------------------------------------------------------------

    def _experiment(self) -> str:
        name = self.chronicle.name
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            location = artifact_root(self.chronicle.config.tracking, name)
            experiment_id = self.client.create_experiment(name, artifact_location=location)
        elif experiment.lifecycle_stage != "active":
            raise RuntimeError(
                f"experiment {name!r} was deleted in MLflow: restore it with "
                f"`mlflow experiments restore -x {experiment.experiment_id}`"
            )
        else:
            experiment_id = experiment.experiment_id
        return experiment_id

    def _describe(self, whole: Chronicle) -> None:
        """The experiment's text, and the kind that makes the UI show models and not chats."""
        wanted = {
            "mlflow.note.content": campaign_text(whole),
            "mlflow.experimentKind": "custom_model_development",
        }
        tags = self.client.get_experiment(self.experiment).tags
        for name, value in wanted.items():
            if tags.get(name) != value:
                self.client.set_experiment_tag(self.experiment, name, value)

    def _runs_by_key(self) -> dict:
        """The experiment's living runs that came from here, by key."""
        runs, token = {}, None
        while True:
            page = self.client.search_runs(
                [self.experiment], filter_string=f"tags.`{KEY}` != ''", page_token=token
            )
            for run in page:
                runs[run.data.tags[KEY]] = run
            token = page.token
            if not token:
                return runs

    def _delete(self, run) -> None:
        """Delete a run, and those nested under it."""
        for other in list(self.runs.values()):
            if other.data.tags.get("mlflow.parentRunId") == run.info.run_id:
                self.client.delete_run(other.info.run_id)
                self.runs.pop(other.data.tags[KEY])
        self.client.delete_run(run.info.run_id)
        self.runs.pop(run.data.tags[KEY])

    # Generations -------------------------------------------------------------------------

    def _generation(self, generation: Generation) -> None:
        """One generation with its members, all anew unless all of it is there and the same."""
        record = generation_record(self.chronicle, generation)
        members = member_records(self.chronicle, generation)
        content = sha256_json([record.content, *(member.content for member in members)])
        run = self.runs.get(record.key)
        if run and run.data.tags.get(CONTENT) == content:
            self.unchanged.append(record.name)
            return
        run_id = self._create(record)
        for member in members:
            self._finish(self._create(member, parent=run_id), member)
        if generation.model_files:
            self.registry.register(generation, record, run_id)
        self._finish(run_id, record)
        # Last of all: a run without it was cut off, and is made anew.
        self.client.set_tag(run_id, CONTENT, content)
        self.created.append(record.name)

    def _create(self, record: RunRecord, parent: str | None = None) -> str:
        from mlflow.entities import Param

        if record.key in self.runs:
            self._delete(self.runs[record.key])
        tags = {
            **record.tags,
            KEY: record.key,
            "mlflow.source.name": "maceloop",
            "mlflow.source.type": "LOCAL",
        }
        if parent:
            tags["mlflow.parentRunId"] = parent
        run_id = self.client.create_run(
            self.experiment, start_time=record.span[0], tags=tags, run_name=record.name
        ).info.run_id
        params = [Param(key, value[:6000]) for key, value in record.params.items()]
        for start in range(0, len(params), 100):
            self.client.log_batch(run_id, params=params[start : start + 100])
        self._log_metrics(run_id, record.metrics, record.span[1])
        for path, folder in record.files:
            self.client.log_artifact(run_id, str(path), folder or None)
        for name, text in record.texts.items():
            self.client.log_text(run_id, text, name)
        self._log_figures(run_id, record)
        if record.dataset:
            self._log_dataset(run_id, record.dataset)
        return run_id

    def _finish(self, run_id: str, record: RunRecord) -> None:
        self.client.set_terminated(run_id, "FINISHED", end_time=record.span[1])

    def _log_metrics(self, run_id: str, metrics: dict, timestamp: int) -> None:
        from mlflow.entities import Metric

        points = [
            Metric(name, value, timestamp, step)
            for name, curve in metrics.items()
            for step, value in curve
        ]
        for start in range(0, len(points), 1000):
            self.client.log_batch(run_id, metrics=points[start : start + 1000])

    def _log_figures(self, run_id: str, record: RunRecord) -> None:
        for path, draw in record.figures.items():
            figure = draw()
            if figure is not None:
                self.client.log_figure(run_id, figure, path)

    def _log_dataset(self, run_id: str, dataset: dict) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        entity = Dataset(
            name=self.chronicle.name,
            digest=dataset["sha256"][:36],
            source_type="local",
            source=json.dumps({"uri": str(Path(dataset["source"]).resolve())}),
            profile=json.dumps({key: dataset[key] for key in ("n_train", "n_valid")}),
        )
        tag = InputTag("mlflow.data.context", "training")
        self.client.log_inputs(run_id, datasets=[DatasetInput(entity, [tag])])

    # The campaign's run --------------------------------------------------------------------

    def _campaign(self, whole: Chronicle, logged: dict[int, str]) -> None:
        """Add the generations that the campaign's run does not have; anew if one has changed."""
        record = campaign_record(whole)
        steps = {gen.g: _step_hash(record, gen.g) for gen in whole.generations}
        run = self.runs.get(record.key)
        params = sha256_json(record.params)
        content = sha256_json([record.content, steps])
        if run and run.data.tags.get(CONTENT) == content:
            self.unchanged.append(record.name)
            return
        changed = any(steps.get(g) != value for g, value in logged.items())
        cut_off = run is not None and CONTENT not in run.data.tags
        if run and (changed or cut_off or run.data.tags.get("maceloop.params") != params):
            self._delete(run)
            run, logged = None, {}
        if run is None:
            run_id = self._create(record)
            self.client.set_tag(run_id, "maceloop.params", params)
        else:
            run_id = run.info.run_id
            self.client.delete_tag(run_id, CONTENT)
            fresh = {
                name: [(g, value) for g, value in curve if g not in logged]
                for name, curve in record.metrics.items()
            }
            self._log_metrics(run_id, fresh, record.span[1])
            for name, value in record.tags.items():
                self.client.set_tag(run_id, name, value)
            self._log_figures(run_id, record)
        for g in steps.keys() - logged.keys():
            self.client.set_tag(run_id, f"maceloop.step.{g:03d}", steps[g])
        status = _STATUS[whole.outcome]
        if status == "RUNNING":
            self.client.update_run(run_id, status=status)
        else:
            self.client.set_terminated(run_id, status, end_time=record.span[1])
        self.client.set_tag(run_id, CONTENT, content)
        self.created.append(record.name)


def _logged_generations(run) -> dict[int, str]:
    """Generation → hash of its metrics, as the campaign's run has them."""
    tags = run.data.tags if run else {}
    prefix = "maceloop.step."
    return {int(k.removeprefix(prefix)): v for k, v in tags.items() if k.startswith(prefix)}


def _step_hash(record: RunRecord, g: int) -> str:
    """Hash of what a record's metrics say at step ``g``."""
    return sha256_json(
        {name: value for name, curve in record.metrics.items() for s, value in curve if s == g}
    )


def _one_line(err: Exception) -> str:
    text = re.sub(r"\s+", " ", without_passwords(str(err))).strip()
    return f"{type(err).__name__}: {text[:300]}"
