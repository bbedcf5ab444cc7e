# What jobs in a queue say reaches the user as what local jobs say does: each job's standard output
# goes into a file of its own as well, and the run shows what is new in these.

import threading

SAID = LAYOUT.root / ".said"


class Relay(threading.Thread):
    """Shows the lines of all jobs' files, each once."""

    def __init__(self):
        super().__init__(daemon=True)
        self.shown = {}  # bytes by file
        self.over = threading.Event()

    def run(self):
        seconds = 0
        while not self.over.wait(1):
            self.show()
            seconds += 1
            if seconds % 30 == 5:
                say_what_waits()

    def show(self):
        for path in sorted(SAID.glob("*")):
            with open(path, "rb") as said:
                said.seek(self.shown.get(path, 0))
                whole, end, _ = said.read().rpartition(b"\n")
            self.shown[path] = self.shown.get(path, 0) + len(whole + end)
            if whole:
                print(whole.decode(errors="replace"), flush=True)

    def finish(self):
        """Show the rest, and clear the files away."""
        if not self.is_alive():
            return
        self.over.set()
        self.join()
        self.show()
        for path in self.shown:
            path.unlink(missing_ok=True)


relay = Relay()


def my_file():
    """Of what this job says."""
    SAID.mkdir(parents=True, exist_ok=True)
    return SAID / f"{socket.gethostname()}-{os.environ.get('SLURM_JOB_ID') or os.getpid()}"


def say(line):
    """Say something in a job, for its own log and for the user."""
    print(line, flush=True)
    with open(my_file(), "a") as said:
        said.write(line + "\n")


def save_what_is_said():
    """Bash that gives the output of a job's command to the relay too."""
    return f"exec > >(exec tee -a {shlex.quote(str(my_file()))}); "
