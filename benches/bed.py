"""What the benchmarks that need servers share: starting them on cores of their own, waiting, ending all of it again."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
CACHE = Path(
    os.environ.get("PROBITY_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "probity"
)
TOOLS = TOP / "tests/testbed/tools"
SERVER_CORE, LOAD_CORE = 0, 1
NAME = f"bench-{Path(sys.argv[0]).name}"


def say(text):
    print(f"{NAME}: {text}", file=sys.stderr, flush=True)


def fail(text):
    sys.exit(f"{NAME}: {text}")


def run(*command, **options):
    """Runs a command that must succeed and returns what it printed."""
    options = {"stdout": subprocess.PIPE, "text": True} | options
    try:
        done = subprocess.run([str(word) for word in command], **options)
    except FileNotFoundError:
        fail(f"there is no {command[0]}: install it")
    if done.returncode != 0:
        fail(f"{' '.join(map(str, command))} failed with {done.returncode}, see above")
    return done.stdout


def tool(group):
    return Path(run(TOOLS, group).split()[-1])


def until(what, look, seconds=90, alive=None):
    """Looks until there is something to see."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        if alive and alive.poll() is not None:
            fail(f"{what}: {alive.args[-1]} ended with {alive.returncode}")
        if time.monotonic() > deadline:
            fail(f"waited {seconds} s in vain: {what}")
        time.sleep(0.2)
    return seen


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def pinned(core, ends="KILL"):
    """On one core, before all that does not belong here where that is allowed; it ends when we are gone."""
    command = ["setpriv", "--pdeathsig", ends, "taskset", "-c", str(core)]
    if os.geteuid() != 0:
        return command
    # Where the kernel groups processes by their session, a priority counts within the group alone, and the group has its own.
    script = 'test ! -w /proc/self/autogroup || echo -20 >/proc/self/autogroup; exec nice -n -20 "$0" "$@"'
    return [*command, "setsid", "sh", "-c", script]


class Servers:
    """All that was started, to be ended again by its process number."""

    def __init__(self, work):
        self.work, self.started, self.logs = work, [], {}

    def start(self, name, command, **options):
        log = (self.work / f"{name}.log").open("w")
        options = {"stdin": subprocess.DEVNULL, "stdout": log} | options
        server = subprocess.Popen([str(word) for word in command], stderr=log, text=True, **options)
        self.started.append(server)
        return server

    def bed(self, name, cores=LOAD_CORE):
        """A server of the test bed, which lives as long as its standard input; what it says when it is ready."""
        # The server that is measured has its core for itself, and yet is answered: who cannot renew a Lease ends.
        command = [*pinned(cores, "TERM"), TOP / "tests/testbed" / name, self.work / name]
        server = self.start(f"{name}-bed", command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        words = server.stdout.readline().split()
        if words[:1] != ["ready"]:
            fail(f"the {name} of the test bed did not start: {self.log(f'{name}-bed')}")
        return words[1]

    def log(self, name):
        return "\n".join((self.work / f"{name}.log").read_text().splitlines()[-15:])

    def stop(self, server):
        if server in self.started:
            self.started.remove(server)
        if server.stdin:
            server.stdin.close()
        else:
            server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()

    def stop_all(self):
        while self.started:
            self.stop(self.started[-1])
