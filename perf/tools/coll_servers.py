"""Libraries under test as servers (perf/runner/serve.h): start, ask for a measurement, end."""

import json
import os
import select
import signal
import subprocess
import tempfile
import time

START_SECONDS = 60
CASE_SECONDS = 60
PEERS = "build/peers"


class ServerError(Exception):
    """A library did not start, or did not answer."""


class Setting:
    """A library with its launch command. `peer` is what the results call it."""

    def __init__(self, peer, program, launch, environment=None, arguments=()):
        self.peer = peer
        self.program = program
        self.launch = launch  # n -> argv in front of the program
        self.environment = environment or {}
        self.arguments = list(arguments)

    def describe(self, n=2):
        variables = [f"{k}={v}" for k, v in self.environment.items()]
        return " ".join(variables + self.launch(n) + [self.program] + self.arguments)


def open_mpi(mpirun, *options):
    # The ranks bind themselves (perf/runner/main.cc). --oversubscribe only where it is so: it makes
    # Open MPI yield.
    crowd = lambda n: ["--oversubscribe"] if n > len(os.sched_getaffinity(0)) else []
    return lambda n: [mpirun, "--bind-to", "none", *crowd(n), "-np", str(n), *options]


def hydra(mpiexec):
    return lambda n: [mpiexec, "-n", str(n)]


AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
ANY_UCX = ["--mca", "pml", "ucx", "--mca", "pml_ucx_tls", "any", "--mca", "pml_ucx_devices", "any"]
SHM_UCX = {**AS_ROOT, "UCX_TLS": "self,posix,cma"}
INTEL = {"I_MPI_FABRICS": "shm", "I_MPI_PIN": "off", "I_MPI_ROOT": f"{PEERS}/impi",
         "LD_LIBRARY_PATH": f"{PEERS}/impi/lib"}


def peer_settings(build):
    """Every setting of every MPI that has won somewhere."""
    four, five = "mpirun", f"{PEERS}/openmpi5/bin/mpirun"
    program = lambda name: f"{build}/perf/peers/{name}"
    return [
        Setting("openmpi4", program("openmpi4"), open_mpi(four), AS_ROOT),
        Setting("openmpi4:coll_sm", program("openmpi4"),
                open_mpi(four, "--mca", "pml", "ob1", "--mca", "btl", "vader,self",
                         "--mca", "coll_sm_priority", "90"), AS_ROOT),
        Setting("openmpi4:ucx", program("openmpi4"), open_mpi(four, *ANY_UCX), SHM_UCX),
        Setting("openmpi5", program("openmpi5"), open_mpi(five), AS_ROOT),
        Setting("openmpi5:ucx", program("openmpi5"), open_mpi(five, *ANY_UCX), SHM_UCX),
        Setting("impi", program("impi"), hydra(f"{PEERS}/impi/bin/mpiexec.hydra"), INTEL),
        Setting("mpich5", program("mpich5"), hydra(f"{PEERS}/mpich5/bin/mpiexec")),
    ]


def our_setting(build, buffers, launcher):
    launch = open_mpi("mpirun") if launcher == "mpirun" else \
        (lambda n: [f"{build}/bin/tw_run", "-n", str(n)])
    return Setting(f"tilewire:{buffers}", f"{build}/perf/coll_perf", launch, AS_ROOT,
                   ["--buffers", buffers])


class Server:
    """One library on n ranks, asleep between cases."""

    def __init__(self, setting, n, log_folder, arguments=()):
        self.setting, self.n = setting, n
        self.folder = tempfile.TemporaryDirectory(prefix="tilewire-perf-")
        self.pending = b""
        self.hopeless = 0  # cases in a row in which it was far behind
        names = [f"in.{r}" for r in range(n)] + ["out"]
        for name in names:
            os.mkfifo(f"{self.folder.name}/{name}")
        # Opened for both directions: opening then waits for nobody.
        self.pipes = [os.open(f"{self.folder.name}/{name}", os.O_RDWR | os.O_CLOEXEC) for name in names]
        self.log = f"{log_folder}/{setting.peer.replace(':', '_')}.n{n}.log"
        command = setting.launch(n) + [setting.program, *setting.arguments, *arguments,
                                       "--serve", self.folder.name]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, start_new_session=True,
                                            env={**os.environ, **setting.environment})
        self.name = None

    def wait_ready(self):
        self.name = self.read(START_SECONDS)["name"]

    def read(self, seconds):
        end = time.monotonic() + seconds
        while b"\n" not in self.pending:
            if select.select([self.pipes[-1]], [], [], 0.2)[0]:
                self.pending += os.read(self.pipes[-1], 65536)
            elif self.process.poll() is not None:
                raise ServerError(f"{self.setting.peer} n={self.n} ended with {self.process.returncode}: {self.tail()}")
            elif time.monotonic() > end:
                raise ServerError(f"{self.setting.peer} n={self.n} gave no answer in {seconds} s: {self.tail()}")
        line, self.pending = self.pending.split(b"\n", 1)
        return json.loads(line)

    def tail(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return " | ".join(file.read().strip().splitlines()[-3:]) or f"nothing in {self.log}"

    def tell(self, line):
        for pipe in self.pipes[:-1]:
            os.write(pipe, f"{line}\n".encode())

    def ask(self, line, seconds=CASE_SECONDS):
        self.tell(line)
        return self.read(seconds)

    def measure(self, case, iterations, warm, batches, check):
        return self.ask(f"{case.op} {case.bytes} {case.type} sum 0 {'in' if case.in_place else 'out'} "
                        f"{iterations} {warm} {batches} {int(check)}")

    def close(self):
        """Ends the ranks by closing their pipes; signals only those that do not listen."""
        for pipe in self.pipes:
            os.close(pipe)
        for wait, then in ((10, signal.SIGTERM), (5, signal.SIGKILL), (5, None)):
            try:
                self.process.wait(wait)
                break
            except subprocess.TimeoutExpired:
                if then:
                    os.killpg(self.process.pid, then)
        self.folder.cleanup()
