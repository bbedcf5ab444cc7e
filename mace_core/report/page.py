"""Putting the report together."""

from collections import Counter
from datetime import datetime
from importlib.resources import files
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
import plotly.offline

from mace_core.assess.spent import computed_said
from mace_core.assess.words import in_words
from mace_core.campaign_tables import generations_table, strata_table, walkers_table
from mace_core.chronicle import Chronicle, Generation
from mace_core.config import Config
from mace_core.conventions import MEV
from mace_core.errors import UserError
from mace_core.label.ladder import FIRST_RUNG
from mace_core.report import advice, plots, provenance, strata, viewer
from mace_core.storage import write_text
from mace_core.tables import write_table


def write_report(config: Config, through: int | None, out: str | Path) -> Path:
    """Write the report on all assessed generations up to ``through``.

    Where they are all there are, the campaign's folder gets a copy (``report.html``) and the tables
    behind it (``tables/learning_curve``, ``tables/strata``, ``tables/walkers``; parquet and CSV).

    Args:
        config: the campaign's configuration.
        through: last generation; None means all assessed ones.
        out: the HTML file.

    Returns:
        ``out``.

    Raises:
        UserError: nothing is assessed yet.
    """
    chronicle = Chronicle(config, through)
    if not chronicle.generations:
        raise UserError(
            "nothing to report: no generation is assessed yet",
            where=str(chronicle.layout.root),
            mend="run the campaign first: snakemake --configfile CONFIG",
        )
    html = render(chronicle)
    write_text(out, html)
    if chronicle.is_latest:
        latest = chronicle.layout.root / "report.html"
        if latest.resolve() != Path(out).resolve():
            write_text(latest, html)
        tables = chronicle.layout.root / "tables"
        write_table(generations_table(chronicle.generations), tables / "learning_curve")
        write_table(strata_table(chronicle.generations), tables / "strata")
        write_table(walkers_table(chronicle.generations), tables / "walkers")
    return Path(out)


def render(chronicle: Chronicle) -> str:
    """The report as one HTML text: scripts, styles, data and all."""
    table = generations_table(chronicle.generations)
    walkers = walkers_table(chronicle.generations)
    frames = viewer.labelled_frames(chronicle.generations)
    dataset, left_out = viewer.frames_dataset(frames, chronicle.name)
    last = chronicle.last
    title, sign, sentence = advice.OUTCOMES[chronicle.outcome]
    assessed = datetime.fromtimestamp(chronicle.layout.assess(last.g).stat().st_mtime)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mace_core.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"mev": mev, "percent": percent, "duration": duration, "count": count}
    environment.filters |= {"in_generations": in_generations, "mev_g": lambda v: f"{v / MEV:.3g}"}
    environment.globals["computed_said"] = computed_said
    return environment.get_template("report.html").render(
        name=chronicle.name,
        outcome=str(chronicle.outcome),
        outcome_title=title,
        outcome_sign=sign,
        outcome_sentence=sentence,
        reason=without_outcome(last.assess["reason"]),
        assessed=assessed.strftime("%Y-%m-%d %H:%M"),
        target=f"{chronicle.target / MEV:g}",
        last={"notes": [], **last.assess},
        factors=factors(last),
        generations=[gen.assess for gen in chronicle.generations],
        table=_rows(table),
        improvement=improvement(table),
        checks=advice.explained(last.assess.get("checks") or [], str(chronicle.outcome)),
        strata=strata.shown(chronicle),
        max_strata=plots.MAX_STRATA,
        confidence=last.judged_by.stop.confidence,
        walkers=_rows(walkers),
        withheld=[row for gen in chronicle.generations for row in gen.withheld_labels],
        rungs=later_rungs(chronicle),
        best=chronicle.best,
        theory=chronicle.theory,
        theory_id=last.plan.get("theory"),
        label_store=str(chronicle.label_store),
        versions=provenance.versions(),
        model_hashes=provenance.model_hashes(chronicle),
        changed=provenance.changed_settings(chronicle),
        config_yaml=provenance.config_yaml(chronicle),
        plots={k: _in_script(v) for k, v in plots.all_plots(chronicle, table, walkers).items()},
        frames=viewer.as_json(dataset) if dataset else None,
        n_frames=len(dataset["structures"]) if dataset else 0,
        frames_left_out=left_out,
        why_picked=[
            (gen.g, rows)
            for gen in reversed(chronicle.generations)
            if (rows := [row for row in frames if row["generation"] == gen.g])
        ],
        css=_template("report.css"),
        js=_template("report.js"),
        plotly_js=plotly.offline.get_plotlyjs(),
        chemiscope_js=viewer.script() if dataset else "",
    )


def factors(generation: Generation) -> list[tuple[str, str]]:
    """The calibration that a generation used, and the one that it leaves to the next, in words."""
    used = (generation.committee or {}).get("calibration")
    following = generation.assess.get("calibration")
    rows = ((f"Factor in generation {generation.g}", used), ("For the next generation", following))
    return [(title, in_words(calibration)) for title, calibration in rows if calibration]


def improvement(table: pd.DataFrame) -> dict | None:
    """First and last force MAE of the same kind (frozen where there is one), and their ratio."""
    for kind in ("frozen", "audit"):
        values = table[f"{kind}_force_mae"].dropna()
        if len(values) > 1:
            first, last = values.iloc[0], values.iloc[-1]
            return {"kind": kind, "first": first, "last": last, "ratio": first / last}
    return None


def later_rungs(chronicle: Chronicle) -> dict[str, int]:
    """Labels by rung of the retry ladder; nothing where all of them converged at the first one."""
    rungs = sum((gen.rungs for gen in chronicle.generations), Counter())
    return dict(rungs.most_common()) if set(rungs) - {FIRST_RUNG} else {}


def without_outcome(reason: str) -> str:
    """A reason without the outcome that it begins with: the headline says it."""
    for title, _, _ in advice.OUTCOMES.values():
        reason = reason.removeprefix(f"{title.lower()}: ")
    return reason[:1].upper() + reason[1:]


def mev(value: float | None) -> str:
    """eV (or eV/Å) as meV with three significant digits."""
    if missing(value):
        return "–"
    return f"{value / MEV:#.3g}".rstrip(".") if abs(value) < 1000 * MEV else f"{value / MEV:.0f}"


def percent(value: float | None) -> str:
    """A share as per cent."""
    return "–" if missing(value) else f"{value:.0%}"


def count(value: float | None) -> str:
    """A whole number, thousands apart."""
    return "–" if missing(value) else f"{value:,.0f}".replace(",", " ")


def in_generations(generations: list[int]) -> str:
    """Generations in a row as a range: ``1–3``, others one by one."""
    if len(generations) > 2 and generations[-1] - generations[0] == len(generations) - 1:
        return f"{generations[0]}–{generations[-1]}"
    return ", ".join(map(str, generations)) or "–"


def duration(seconds: float | None) -> str:
    """Seconds as a person says them."""
    if missing(seconds):
        return "–"
    if seconds < 1:
        return f"{seconds:.1g} s" if seconds > 0 else "0 s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def missing(value: float | None) -> bool:
    """Whether there is no number to show."""
    return value is None or not np.isfinite(value)


def _rows(table: pd.DataFrame) -> list[dict]:
    return table.to_dict("records")


def _template(name: str) -> str:
    return (files("mace_core.report") / "templates" / name).read_text()


def _in_script(json_text: str) -> str:
    return json_text.replace("<", "\\u003c")
