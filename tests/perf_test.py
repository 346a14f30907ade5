#!/usr/bin/env python3
"""The benchmarks: options, JSON and exit status, wrong results are seen, and bars are judged right."""

import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "perf", "tools"))
sys.dont_write_bytecode = True
import coll_bars  # pylint: disable=wrong-import-position

OPS = "all_reduce all_gather reduce_scatter all_to_all broadcast reduce gather scatter send_recv barrier".split()
KEYS = {"op", "bytes", "type", "ranks", "in_place", "us", "algbw", "busbw", "wrong"}
SMALL = ["-b", "8", "-e", "2K", "-f", "16", "-n", "3", "--batches", "2"]
TW_RUN = ["build/bin/tw_run", "-n", "2"]
MPIRUN = ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", "2"]
# Adds one to the first byte of every result: what a broken library looks like.
BROKEN = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include "tilewire.h"
tw_status_t tw_all_reduce(const void* s, void* r, size_t n, tw_type_t t, tw_op_t o, tw_comm_t c, tw_stream_t q) {
  tw_status_t (*real)(const void*, void*, size_t, tw_type_t, tw_op_t, tw_comm_t, tw_stream_t);
  *(void**)&real = dlsym(RTLD_NEXT, "tw_all_reduce");
  tw_status_t status = real(s, r, n, t, o, c, q);
  if (t == TW_INT32 && n) ++*(unsigned char*)r;
  return status;
}
"""

results = []


def expect(name, condition, why=""):
    results.append(bool(condition))
    print(f"{'ok' if condition else 'not ok'} {len(results)} - {name}")
    if not condition and why:
        print("# " + str(why).strip().replace("\n", "\n# "))


def run(command, **variables):
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60,
                          env={**os.environ, **variables})


def output(done):
    return done.stdout[-1000:] + done.stderr[-1000:]


def test_programs(folder):
    for op in OPS:
        path = f"{folder}/{op}.jsonl"
        done = run(TW_RUN + [f"build/perf/{op}_perf", *SMALL, "--json", path])
        items = [json.loads(line) for line in open(path, encoding="utf-8")] if os.path.exists(path) else []
        right = items and all(KEYS == set(i) and i["op"] == op and i["ranks"] == 2 and i["wrong"] == 0
                              and i["type"] == "fp32" and i["us"] > 0 for i in items)
        expect(f"{op} on two processes", done.returncode == 0 and right, output(done))
        places = {i["in_place"] for i in items}
        expect(f"{op}: placements", places == ({False} if op in ("send_recv", "barrier") else {False, True}), places)
    done = run(MPIRUN + ["build/perf/all_reduce_perf", *SMALL, "-d", "bf16", "-o", "max"])
    expect("all_reduce under mpirun", done.returncode == 0 and "bf16" in done.stdout, output(done))
    done = run(["build/perf/all_to_all_perf", *SMALL, "-g", "3", "-d", "all"])
    expect("all_to_all on three threads, every type", done.returncode == 0 and "fp8_e5m2" in done.stdout, output(done))
    done = run(["build/perf/reduce_scatter_perf", *SMALL, "-g", "2", "-z", "0", "--buffers", "private", "-o", "all"])
    expect("queued on streams, private buffers, every op", done.returncode == 0 and "avg" in done.stdout, output(done))


def test_refusals(folder):
    expect("a world of one is refused", run(["build/perf/all_reduce_perf", *SMALL]).returncode != 0)
    expect("unless asked for", run(["build/perf/all_reduce_perf", *SMALL, "--alone"]).returncode == 0)
    for wrong in (["-d", "fp33"], ["-o", "xor"], ["-b", "8x"], ["-b", "8K", "-e", "8"], ["-f", "1"], ["stray"]):
        expect(f"{' '.join(wrong)} is refused", run(["build/perf/all_reduce_perf", *wrong, "--alone"]).returncode == 2)
    source, library = f"{folder}/broken.c", f"{folder}/broken.so"
    with open(source, "w", encoding="utf-8") as file:
        file.write(BROKEN)
    built = run(["gcc", "-shared", "-fPIC", "-Iinclude", source, "-o", library, "-ldl"])
    command = ["build/perf/all_reduce_perf", "-g", "2", *SMALL]
    broken = run([*command, "-d", "int32"], LD_PRELOAD=library)
    expect("a wrong result fails the run", built.returncode == 0 and broken.returncode == 1
           and "FAILED" in broken.stdout, output(built) + output(broken))
    whole = run([*command, "-d", "fp32"], LD_PRELOAD=library)
    expect("and only a wrong one", whole.returncode == 0, output(whole))


def test_bars():
    expect("geometric mean", abs(coll_bars.geometric_mean([1, 4]) - 2) < 1e-12)
    bar = coll_bars.Bar("bar", tuple(coll_bars.cases_of(coll_bars.IN_PLACE_FP32, (8, 512))), (1.6, 0.95), (2.0, 1.2))
    low, high = bar.cases
    for ratios, verdict in (((1.0, 4.0), "met"), ((1.3, 4.0), "met, stretch too"), ((0.94, 9.0), "MISSED"),
                            ((1.5, 1.5), "MISSED"), ((1.19, 9.0), "met")):
        got = coll_bars.judge(bar, {low: ratios[0], high: ratios[1]}, 2)[0]
        expect(f"ratios {ratios}: {verdict}", got == verdict, got)
    expect("a case that was not run", coll_bars.judge(bar, {low: 9.0}, 2)[0] == "not measured")
    crowded = coll_bars.Bar("crowded", tuple(coll_bars.cases_of(coll_bars.CROWDED[4], (8,))), (None, 1.4), (None, 2.5))
    expect("more ranks than cores is for 2 cores", coll_bars.judge(crowded, {crowded.cases[0]: 9.0}, 8)[0] == "not for this machine")
    cases = coll_bars.all_cases()
    expect("every case of every bar is run once", len(cases) == len(set(cases))
           and all(case in cases for each in coll_bars.bars() for case in each.cases))


def main():
    os.chdir(ROOT)
    environment = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    os.environ.update(environment)
    test_bars()
    built = subprocess.run(["make", "-s", "perf-programs", "programs"], capture_output=True, text=True, check=False)
    expect("the programs build", built.returncode == 0, output(built))
    with tempfile.TemporaryDirectory() as folder:
        test_programs(folder)
        test_refusals(folder)
    print(f"1..{len(results)}")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
