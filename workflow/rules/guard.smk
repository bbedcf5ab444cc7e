# One run of a campaign at a time, and no new run while jobs of a killed one are at work.
#
# Snakemake's own lock is off in the profiles (`nolock`): after `kill -9` it stays and has to be taken
# away by hand. Both locks here are the kernel's (flock): they end with the process that holds them.

import fcntl
import shlex
import socket
import time
from datetime import datetime

RUN_LOCK = LAYOUT.root / ".run.lock"  # held by the one snakemake of the campaign
JOB_LOCK = LAYOUT.root / ".jobs.lock"  # shared by its jobs, each as long as it lives


def take_lock(path):
    """The open, locked file, or None while another process holds the lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = open(path, "a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    except OSError as err:
        print(f"no locks here ({err}): start this campaign only once at a time", file=sys.stderr)
    return handle


def lock_run():
    """The campaign's lock, before anything is read: what is read then stays true."""
    handle = take_lock(RUN_LOCK)
    if handle:
        handle.truncate(0)
        handle.write(
            f"process {os.getpid()} on {socket.gethostname()} since {datetime.now():%F %T}\n"
        )
        handle.flush()
    return handle


def be_the_only_run():
    """Refuse to run beside another run; wait for jobs that a killed run has left.

    Before the DAG is made, so that what these jobs finish counts as done.
    """
    if not THIS_RUN:
        give_up(
            UserError(
                f"campaign {CONFIG.campaign.name!r} is running: {RUN_LOCK.read_text().strip()}",
                mend="wait for it, or stop it (Ctrl-C there)",
            )
        )
    try:
        take_over_queue()
    except UserError as err:
        give_up(err)
    asked = 0
    while not (free := take_lock(JOB_LOCK)):
        if time.time() - asked > 60:
            pids = " ".join(job_pids())
            mend = f"kill {pids}" if pids else "cancel them where they run"
            print(f"jobs of a killed run are still at work: waiting (or: {mend})", flush=True)
            asked = time.time()
        time.sleep(0.5)
    free.close()


def job_pids():
    """Processes on this machine that hold the jobs' lock."""
    lock = JOB_LOCK.stat()
    pids = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            found = link.stat()
        except OSError:
            continue  # ended meanwhile, or another user's
        if (found.st_dev, found.st_ino) == (lock.st_dev, lock.st_ino):
            pids.add(link.parts[2])
    return sorted(pids, key=int)


is_run = workflow.is_main_process and not workflow.output_settings.dryrun
THIS_RUN = lock_run() if is_run else None

# A job in a queue is a snakemake of its own, and holds the lock too: it deletes and checks files.
HELD = []
if not workflow.is_main_process:
    HELD.append(open(JOB_LOCK, "a+"))
    try:
        fcntl.flock(HELD[0], fcntl.LOCK_SH)
    except OSError:
        pass  # no locks here, as the run says

# Every job's shell holds the lock, and so does what it starts, for as long as either lives.
prefix = (
    f"set -euo pipefail; exec 9<>{shlex.quote(str(JOB_LOCK))}; flock -s 9 2> /dev/null || true; "
)
if not workflow.is_main_process:
    prefix += save_what_is_said()
shell.prefix(prefix.replace("{", "{{").replace("}", "}}"))
