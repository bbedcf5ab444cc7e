"""Whether a labelling engine can be started: its packages, its settings, its elements."""

from collections.abc import Iterable
from importlib.util import find_spec

from mace_core.config.labellers import LabellerBase
from mace_core.errors import UserError
from mace_core.label.session import START_LIMIT, Session, WorkerDied, WorkerTimeout
from mace_core.label.theory import versions


def check_engine(settings: LabellerBase, elements: Iterable[str] = ()) -> None:
    """Whether frames of these elements can be labelled at all: a moment, before any compute.

    Raises:
        UserError: a package is missing, or the engine does not know a setting or an element.
    """
    check_installed(settings)
    session = Session(threads=1)
    try:
        start(session, settings, elements)
    finally:
        session.close()


def check_installed(settings: LabellerBase) -> None:
    """Raise :class:`UserError` for a package that the engine needs and that is not there."""
    versions(settings)
    for module, package in settings.REQUIRES.items():
        if find_spec(module) is None:
            raise UserError(
                f"labeller.engine: {settings.engine!r} needs the Python module {module!r}, "
                "which is not installed",
                mend=settings.INSTALL or f"pip install {package}",
            )


def start(session: Session, settings: LabellerBase, elements: Iterable[str]) -> None:
    """Have the worker import and check its engine."""
    job = {"settings": settings.model_dump(mode="json"), "elements": sorted(set(elements))}
    try:
        answer = session.ask(job, START_LIMIT)
    except (WorkerDied, WorkerTimeout) as err:
        raise UserError(
            f"labeller.engine: {settings.engine!r} cannot be started: {err}",
            mend="see whether the engine's package can be imported in this environment",
        ) from err
    if "ready" not in answer:
        raise UserError(answer["what"], where=answer["where"], mend=answer["mend"])
