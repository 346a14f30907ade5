"""perf-gemm and perf-fused: libraries that multiply, as servers (perf/gemm/serve.h), and rounds over them."""

import json
import os
import statistics

import coll_machine
import coll_servers
import gemm_bars

CASE_SECONDS = 300
LONG_OPERATIONS = 2e10  # of a rank: from here on a batch is one iteration, and needs no warm one
DNNLS = ("dnnl2", "dnnl3")  # Debian's 2.6.3, PyPI's 3.2.0 (2023.2)


def our_setting(build, name, environment=None):
    launch = lambda n: [f"{build}/bin/tw_run", "-n", str(n)]
    return coll_servers.Setting(name, f"{build}/perf/gemm_perf", launch, environment)


def peer_setting(build, dnnl, mpi, threads=1):
    """oneDNN `dnnl` beside the MPI setting `mpi` (of coll_servers.peer_settings)."""
    program = f"{build}/perf/peers/{dnnl}_{os.path.basename(mpi.program)}"
    return coll_servers.Setting(f"{dnnl}+{mpi.peer}", program, mpi.launch,
                                {**mpi.environment, "OMP_NUM_THREADS": str(threads)})


class Server(coll_servers.Server):
    """Asked in cases of gemm_bars."""

    def __init__(self, setting, n, log_folder, cores=1):
        super().__init__(setting, n, log_folder, ["--cores", str(cores)])
        self.iterations = {}  # (op, case) -> how many it takes to fill a batch

    def first(self, op, case, copies=0, check=True):
        """Checks the op and finds its number of iterations; the answer."""
        long = case.operations() >= LONG_OPERATIONS
        answer = self.measure_op(op, case, copies, int(long), int(not long), 1, check)
        self.iterations[op, case] = answer["iterations"]
        return answer

    def more(self, op, case, copies=0):
        """A round's batch: with a warm iteration unless that costs more than it tells."""
        iterations = self.iterations[op, case]
        return self.measure_op(op, case, copies, iterations, 1 if iterations > 1 else 0, 1, False)

    def measure_op(self, op, case, copies, iterations, warm, batches, check):
        return self.ask(f"{op} {case.m} {case.n} {case.k} {copies} {iterations} {warm} {batches} {int(check)}", CASE_SECONDS)

    def choice(self, case):
        """What the library's table has for the case: "fused" or "unfused"."""
        return self.ask(f"choice {case.op} {case.m} {case.n} {case.k}", CASE_SECONDS)["choice"]

    def forget(self):
        self.tell("forget")

    def limits(self, dram, multiply):
        return self.ask(f"limits {int(dram)} {int(multiply)}", CASE_SECONDS)


def rounds_for(seconds_a_round, budget, least, most):
    return max(least, min(most, int(budget / max(seconds_a_round, 1e-3))))


def rotated(items, turn):
    shift = turn % len(items)
    return items[shift:] + items[:shift]


def median(values):
    return statistics.median(values) if values else None


def median_ratio(over, under):
    """Of what was measured in turns: the median of the rounds' ratios, as the machine's pace changes."""
    return median([a / b for a, b in zip(over, under)])


def write_results(path, results):
    """path.jsonl, a line per case, and path.md, the table of perf/README.md."""
    with open(f"{path}.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in results)
    with open(f"{path}.md", "w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in gemm_bars.markdown(results))


def column():
    flags, vendor, family = coll_machine.cpu_flags()
    return gemm_bars.machine_column(flags, vendor, family)
