# A campaign's jobs in a cluster's queue. `kill -9` of snakemake leaves them there, and the next run would
# submit each of them once more.
#
# Slurm itself starts a job anew when it has lost sight of its node, where the old one may live on.
#
# Three things keep two jobs from doing one step. All jobs of a campaign have a name that begins
# alike, so that a new run finds those in Slurm's queue: it takes back what has not started and waits
# for the rest, so that what they do is not lost. Every job knows its run: one that starts after a newer
# run has begun ends at once, before it touches a file. And a job holds a lock on its step, where
# the shared file system has locks.

import getpass
import hashlib
import re
import subprocess
import uuid

RUN_ID = LAYOUT.root / ".run.id"  # of the newest run
STEP_LOCK = LAYOUT.root / ".steps.lock"
QUEUE_USED = LAYOUT.root / ".queue"  # there once a run has had jobs in a queue


def name_of_jobs():
    """What the names of the campaign's jobs begin with: its own name, and where it lies."""
    place = hashlib.sha256(str(LAYOUT.root.resolve()).encode()).hexdigest()[:8]
    return f"maceloop-{re.sub(r'[^A-Za-z0-9_-]', '-', CONFIG.campaign.name)[:30]}-{place}"


def name_jobs():
    """Hand the name on: the slurm plugin reads a setting, `submit` the environment."""
    settings = getattr(workflow, "executor_settings", None)
    if hasattr(settings, "jobname_prefix"):
        settings.jobname_prefix = JOBS


def slurm_jobs():
    """This campaign's jobs in Slurm: state and place (a node, or why it waits) by id.

    Raises:
        UserError: Slurm does not answer.
    """
    if not QUEUE_USED.exists() or not shutil.which("squeue"):
        return {}
    command = ["squeue", "--noheader", f"--user={getpass.getuser()}", "--format=%i|%T|%R|%j"]
    listed = subprocess.run(command, capture_output=True, text=True)
    if listed.returncode:
        raise UserError(
            f"squeue fails, so jobs of an earlier run cannot be seen: {listed.stderr.strip()}",
            mend="try again when it answers; without them the same work might be done twice",
        )
    rows = [line.split("|", 3) for line in listed.stdout.splitlines()]
    return {
        job: (state, place)
        for job, state, place, name in rows
        if name.startswith(JOBS) and state != "COMPLETING"
    }


def say_what_waits():
    """Say so, once, when jobs wait for something that will not come by itself."""
    ordinary = ("None", "Priority", "Resources", "Dependency", "BeginTime", "QOS", "Assoc")
    reasons = {}
    try:
        jobs = slurm_jobs()
    except UserError:
        return  # the executor will say so
    for job, (state, reason) in jobs.items():
        reason = reason.strip("()")
        if state == "PENDING" and not reason.startswith(ordinary):
            reasons.setdefault(reason, []).append(job)
    for reason, waiting in reasons.items():
        if reason not in WAITED_FOR:
            print(f"waiting in Slurm's queue: {' '.join(waiting)}: {reason}", flush=True)
            WAITED_FOR.add(reason)


def slurm_says(job):
    """How a job of Slurm ended, in a few words; nothing where Slurm does not know it."""
    if not (job and shutil.which("scontrol")):
        return ""
    shown = subprocess.run(
        ["scontrol", "--oneliner", "show", "job", job], capture_output=True, text=True
    )
    known = dict(field.partition("=")[::2] for field in shown.stdout.split())
    if not known:
        return f"Slurm job {job}"
    end = f"Slurm job {job} on {known['NodeList']}: {known['JobState']} after {known['RunTime']}"
    # Without cgroups, a job over its memory is just "failed"; only its log says why.
    if any("memory limit" in line for line in last_lines(known.get("StdOut", ""), 20)):
        end += ", over its memory"
    elif known["Reason"] not in ("None", known["JobState"]):
        end += f", {known['Reason']}"
    memory = dict(part.partition("=")[::2] for part in known["TRES"].split(",")).get("mem", "")
    return f"{end} (limits: {known['TimeLimit']}, {memory})"


def take_over_queue():
    """Take back the jobs of a killed run that have not started; wait for those that have."""
    cancelled, said = set(), 0
    while jobs := slurm_jobs():
        waiting = {job for job, (state, _) in jobs.items() if state == "PENDING"}
        if waiting - cancelled:
            # One that starts at this very moment is left to run.
            subprocess.run(["scancel", "--state=PENDING", *waiting], check=False)
            print(
                f"jobs of a killed run that had not started are cancelled: {' '.join(sorted(waiting))}",
                flush=True,
            )
            cancelled |= waiting
        running = {job: place for job, (_, place) in jobs.items() if job not in waiting}
        if running and time.time() - said > 60:
            where = ", ".join(f"{job} on {place}" for job, place in running.items())
            print(
                f"jobs of a killed run are still at work: waiting for {where} "
                f"(or: scancel {' '.join(running)})",
                flush=True,
            )
            said = time.time()
        time.sleep(1)
    RUN_ID.write_text(os.environ["MACELOOP_RUN"])  # from here on, none of theirs begins


def begin_job():
    """In a job, before it touches a file: make sure that nobody else does its step."""
    if "MACELOOP_STEP" in os.environ:
        return  # the slurm plugin's job starts a second snakemake, for the same step
    step = " ".join(
        f"{target.rulename} {' '.join(f'{k} {v}' for k, v in target.wildcards_dict.items())}".strip()
        for target in workflow.dag_settings.target_jobs
    )
    os.environ["MACELOOP_STEP"] = step
    if int(os.environ.get("SLURM_RESTART_COUNT") or 0):
        say(f"{step}: Slurm starts it again, since its node failed or was needed for another job")
    # One byte of the file stands for the step. The lock ends with this process.
    byte = int(hashlib.sha256(step.encode()).hexdigest()[:7], 16)
    lock = open(STEP_LOCK, "a+")
    try:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except BlockingIOError:
            say(f"{step}: another job is still at it: waiting for that")
            fcntl.lockf(lock, fcntl.LOCK_EX, 1, byte)
    except OSError:
        pass  # no locks here, as the run says
    HELD.append(lock)
    mine = os.environ.get("MACELOOP_RUN")
    if mine and RUN_ID.is_file() and RUN_ID.read_text() != mine:
        say(f"{step}: a newer run does it: this job of a killed run ends")
        sys.exit(1)


JOBS = name_of_jobs()
WAITED_FOR = set()

if is_run:
    os.environ |= {"MACELOOP_JOBS": JOBS, "MACELOOP_RUN": uuid.uuid4().hex}
