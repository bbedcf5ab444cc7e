# What a user is told besides the steps' own lines. The profiles quieten Snakemake.

import logging

from snakemake.common import NOTHING_TO_BE_DONE_MSG
from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent


class Listener(logging.Handler):
    """Says at once which job failed, and sums up a campaign that has nothing left to do."""

    def __init__(self):
        super().__init__()
        self.logs = []

    def emit(self, record):
        event = getattr(record, "event", None)
        if is_run:
            name_jobs()  # as soon as there are settings to put it into
        if event == LogEvent.WORKFLOW_STARTED and not workflow.is_main_process:
            begin_job()
        elif event == LogEvent.WORKFLOW_STARTED and is_run:
            be_the_only_run()
        elif event == LogEvent.JOB_ERROR:
            self.failed(record)
        elif record.msg == NOTHING_TO_BE_DONE_MSG and is_run:
            say_what_came_out()

    def failed(self, record):
        log = next(iter(record.log), "")
        job = next((job for job in workflow.dag.jobs if job.jobid == record.jobid), None)
        slurm = slurm_says(record.aux.get("external_jobid"))
        if job and job.attempt <= job.restart_times:
            name = " ".join([job.rule.name, *(f"{k} {v}" for k, v in job.wildcards_dict.items())])
            why = slurm or next(iter(last_lines(log, 1)), "killed from outside, or out of memory")
            attempts = f"attempt {job.attempt + 1} of {job.restart_times + 1} follows"
            print(f"{name} was cut off: {why}; {attempts}", file=sys.stderr, flush=True)
            return
        self.logs.append(log)
        print(f"{record.rule_name} failed: {log}", file=sys.stderr)
        said = [*last_lines(log), *([slurm] if slurm else [])]
        for line in said or ["no message: killed from outside, or out of memory"]:
            print(f"  {line}", file=sys.stderr)
        print(f"  by hand: {record.shellcmd}", file=sys.stderr, flush=True)


def last_lines(path, n=3):
    """The last lines of a file that say something."""
    try:
        text = Path(path).read_text(errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-n:]


def say_what_came_out():
    if LAYOUT.summary.is_file():
        shell("maceloop summary --config {CONFIG_FILE:q}")


def say_what_failed():
    logs = ", ".join(dict.fromkeys(listener.logs)) or "see above"
    print(f"stopped; what failed: {logs}; the same command goes on from here", file=sys.stderr)


def no_chatter(record):
    """Leaves out what Snakemake's own `quiet` does not cover, and what the listener says better."""
    return not str(record.msg).startswith(
        (
            *("Select jobs", "Execute ", "Updating checkpoint", "DAG of jobs", "Using shell"),
            *("Assuming unrestricted", "RuleException:\nCalledProcessError"),
        )
    )


if workflow.output_settings.dryrun:
    # A dry-run is asked for what would be run, which is what the profiles' `quiet` hides.
    workflow.output_settings.quiet.clear()
else:
    for handler in logger.handlers:
        handler.addFilter(no_chatter)

listener = Listener()
logger.addHandler(listener)
