"""A real Slurm on this machine: two virtual nodes, for as long as a test session lasts.

It lives in namespaces of its own (mounts, processes, network), where its configuration stands at
/etc/slurm and its ports are free. So nothing of the machine's own is touched, two sessions do not
meet, and the kernel ends every daemon and every job with the process that holds the namespaces.
"""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from filelock import FileLock

PACKAGES = ("slurm-wlm", "slurm-wlm-basic-plugins", "slurm-client", "munge", "iproute2")

#: Accounting is off, as on the smallest of clusters. Times are short: a lost node is noticed
#: after 6 s, its jobs start anew 5 s later, SIGKILL follows SIGTERM after 5 s (defaults: 300, 120
#: and 30).
SLURM_CONF = """
ClusterName=virtual
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,bf_interval=1
ReturnToService=2
MinJobAge=3600
KillWait=5
SlurmdTimeout=6
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
GresTypes=gpu
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/spool.%n
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdLogFile={folder}/slurmd.%n.log
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port=17001 CPUs=4 RealMemory=16000 Gres=gpu:1
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port=17002 CPUs=4 RealMemory=16000
PartitionName=cpu Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=n1 MaxTime=INFINITE State=UP
"""

#: The first process of the namespaces. It reaps what the daemons leave, and ends when this
#: process closes the pipe that it reads.
INIT = """
set -e
ip link set lo up
ip address add 10.0.0.1 dev lo # with 127.0.0.1 alone, glibc resolves no IPv4 address
mount --bind {folder}/etc /etc/slurm
mkdir -p /run/munge
mount -t tmpfs -o mode=755 munge /run/munge
chown munge:munge /run/munge
head -c 128 /dev/urandom > /run/munge/key
chown munge:munge /run/munge/key
chmod 400 /run/munge/key
setpriv --reuid=munge --regid=munge --clear-groups munged --key-file=/run/munge/key \
    --log-file=/run/munge/log --seed-file=/run/munge/seed --pid-file=/run/munge/pid
slurmctld -c
slurmd -N n1
slurmd -N n2
set +e
trap : CHLD
while read -r line || [ $? -gt 128 ]; do :; done
"""


def why_not() -> str:
    """What this machine lacks for a Slurm of its own; empty if nothing."""
    if os.geteuid() != 0:
        return "needs root"
    if not shutil.which("unshare"):
        return "needs unshare (util-linux)"
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--net", "--fork", "--mount-proc", "true"],
        capture_output=True,
        text=True,
    )
    if tried.returncode:
        return f"needs the right to make namespaces: {tried.stderr.strip()}"
    # One at a time: a package whose programs are there may still be under way.
    with FileLock(Path(tempfile.gettempdir()) / "maceloop-install-slurm.lock"):
        if all(map(shutil.which, ("slurmctld", "slurmd", "squeue", "munged", "ip"))):
            return ""
        return install()


def install() -> str:
    """Install Debian's packages; what went wrong."""
    if not shutil.which("apt-get"):
        return "needs Slurm, or apt-get to install it"
    # No service may start: the one that is wanted starts in its own namespaces.
    script = f"""
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d
        chmod +x /usr/sbin/policy-rc.d
    fi
    install() {{
        apt-get install -qq -o DPkg::Lock::Timeout=300 --no-install-recommends {" ".join(PACKAGES)}
    }}
    install || {{ apt-get update -qq && install; }}
    """
    done = subprocess.run(
        ["sh", "-c", script],
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        capture_output=True,
        text=True,
    )
    return f"Slurm cannot be installed: {done.stderr.strip()[-300:]}" if done.returncode else ""


class Slurm:
    """Slurm in its namespaces; leave them with :meth:`stop`."""

    def __init__(self, folder: Path):
        self.folder = folder
        etc = folder / "etc"
        for path in (etc, folder / "state", folder / "spool.n1", folder / "spool.n2"):
            path.mkdir(parents=True)
        host = socket.gethostname().partition(".")[0]
        (etc / "slurm.conf").write_text(SLURM_CONF.format(host=host, folder=folder))
        (etc / "gres.conf").write_text("NodeName=n1 Name=gpu File=/dev/null\n")
        (etc / "cgroup.conf").write_text("CgroupAutomount=no\n")
        with open(folder / "init.log", "w") as log:
            self._unshare = subprocess.Popen(
                [
                    *("unshare", "--mount", "--pid", "--net", "--fork", "--mount-proc"),
                    *("--kill-child", "bash", "-c", INIT.format(folder=folder)),
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        try:
            self.wait_for(self._up, 30)
        except BaseException:
            self.stop()
            raise

    def _up(self) -> bool:
        if self._unshare.poll() is not None:
            raise RuntimeError((self.folder / "init.log").read_text())
        return self.init is not None and self.states() == {"n1": "idle", "n2": "idle"}

    @property
    def init(self) -> int | None:
        """Pid of the namespaces' first process, as seen from outside."""
        children = psutil.Process(self._unshare.pid).children()
        return children[0].pid if children else None

    def stop(self) -> None:
        """End all of it, jobs included."""
        if self.init is not None:
            os.kill(self.init, signal.SIGKILL)
        self._unshare.kill()
        self._unshare.wait()
        self._unshare.stdin.close()

    def inside(self, *command: str) -> list[str]:
        """A command line that runs ``command`` where the cluster is."""
        return ["nsenter", f"--target={self.init}", "--mount", "--pid", "--net", "--", *command]

    def run(self, command: str, check: bool = True) -> str:
        """What a command prints, e.g. ``scontrol show job 3``."""
        done = subprocess.run(
            self.inside(*shlex.split(command)), capture_output=True, text=True, timeout=30
        )
        if check and done.returncode:
            raise RuntimeError(f"{command}: {done.stderr}{done.stdout}")
        return done.stdout

    def states(self) -> dict[str, str]:
        """Each node's state."""
        lines = self.run("sinfo --noheader --Node --format='%N %t'", check=False).splitlines()
        return dict(line.split() for line in lines)

    def jobs(self, states: str = "all") -> list[dict[str, str]]:
        """The jobs that Slurm knows of, the newest last."""
        keys = ("id", "state", "name", "partition", "node", "comment", "gres", "limit")
        shown = self.run(
            f"squeue --noheader --sort=i --states={states} -o '%i|%T|%j|%P|%N|%k|%b|%l'"
        )
        return [dict(zip(keys, line.split("|"), strict=True)) for line in shown.splitlines()]

    def find(self, rule: str, states: str = "running") -> list[dict[str, str]]:
        """Jobs of one rule: both executors name it, in the comment or in the job's name."""
        return [job for job in self.jobs(states) if rule in job["name"] + job["comment"]]

    def kill_slurmd(self, node: str) -> None:
        """``kill -9`` of a node's daemon. Its jobs live on, unseen by Slurm."""
        for process in psutil.Process(self.init).children(recursive=True):
            if process.name() == "slurmd" and process.cmdline()[-1] == node:
                process.kill()

    def start_slurmd(self, node: str) -> None:
        self.run(f"slurmd -N {node}")
        self.wait_for(lambda: self.states()[node] in ("idle", "mix", "alloc"), 30)

    @staticmethod
    def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"not within {seconds:g} s")
            time.sleep(0.2)
