"""llama.cpp as the peer of perf-model: a process of its own programs for every measurement, on our cores."""

import json
import os
import statistics
import subprocess

import coll_servers

SECONDS = 300     # for one measurement
CELLS = 256       # llama.cpp rounds a sequence's context up to so many
PROMPT_ROWS = 512  # of a step, as ours
# (flash attention, type of K and V, weights). What is faster depends on batch and context. Weights are the mapped
# file by default; read into memory with huge pages, which ours has too, decoding gains a few percent.
SETTINGS = {"llama.cpp": ("on", "f16", "auto"), "llama.cpp:huge": ("on", "f16", "none"), "llama.cpp:huge,bf16": ("on", "bf16", "none"),
            "llama.cpp:huge,plain": ("off", "f16", "none"), "llama.cpp:huge,plain,bf16": ("off", "bf16", "none")}
HUGE_PAGES = ["env", "GLIBC_TUNABLES=glibc.malloc.hugetlb=1"]


class Llama:
    """Measures tokens a second of a model file. `programs`: the folder of llama-bench and llama-batched-bench."""

    def __init__(self, programs, model, cores):
        self.programs, self.model = programs, model
        self.cores = cores  # numbers; a thread on each
        for name in ("llama-bench", "llama-batched-bench"):
            if not os.access(self.program(name), os.X_OK):
                raise coll_servers.ServerError(f"{self.program(name)} is not there (make deps-perf builds llama.cpp)")

    def program(self, name):
        return os.path.join(self.programs, name)

    def command(self, case, setting):
        attention, kv, load = SETTINGS[setting]
        threads = str(len(self.cores))
        common = ["-m", self.model, "-t", threads, "-ub", str(PROMPT_ROWS), "-fa", attention, "-ctk", kv, "-ctv", kv,
                  "-lm", load]
        if case.batch == 1:
            sizes = ["-p", str(case.tokens), "-n", "0"] if case.op == "prefill" else \
                ["-p", "0", "-n", str(case.tokens), "-d", str(case.context)]
            words = [self.program("llama-bench"), *common, *sizes, "-r", "1", "-o", "json"]
        else:
            # A prompt is computed once and copied (-pps); the sequences keep memory of their own.
            each = (case.context + case.tokens + CELLS) // CELLS * CELLS
            words = [self.program("llama-batched-bench"), *common, "-tb", threads, "-c", str(case.batch * each),
                     "-npp", str(case.context), "-ntg", str(case.tokens), "-npl", str(case.batch), "-pps",
                     "--output-format", "jsonl"]
        return [*(HUGE_PAGES if load == "none" else []), "taskset", "-c", ",".join(map(str, self.cores)), *words]

    def measure(self, case, setting):
        """Tokens a second: all sequences together."""
        command = self.command(case, setting)
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            raise coll_servers.ServerError(f"{' '.join(command)} gave no answer in {SECONDS} s") from error
        rate = tokens_per_second(done.stdout, case.batch) if done.returncode == 0 else None
        if not rate:
            tail = " | ".join((done.stderr or done.stdout).strip().splitlines()[-2:])
            raise coll_servers.ServerError(f"{' '.join(command)} ended with {done.returncode}: {tail}")
        return rate


def tokens_per_second(text, batch):
    """What llama-bench (batch 1) or llama-batched-bench says; None when that is not in the text."""
    try:
        if batch == 1:
            return statistics.median(json.loads(text)[0]["samples_ts"])
        line = next(line for line in text.splitlines() if line.startswith("{"))
        return json.loads(line)["speed_tg"]
    except (ValueError, KeyError, IndexError, StopIteration):
        return None


def bf16_file(programs, source, target):
    """Makes `target` of `source` by llama-quantize, unless it is there. Throws ServerError."""
    if os.path.exists(target):
        return target
    part = target + ".part"
    try:
        done = subprocess.run([os.path.join(programs, "llama-quantize"), "--allow-requantize", source, part, "bf16"],
                              capture_output=True, text=True, check=False)
    except OSError as error:
        raise coll_servers.ServerError(f"llama-quantize: {error.strerror} (make deps-perf builds llama.cpp)") from error
    if done.returncode != 0:
        raise coll_servers.ServerError(f"llama-quantize {source}: {done.stderr.strip().splitlines()[-1:]}")
    os.replace(part, target)
    return target
