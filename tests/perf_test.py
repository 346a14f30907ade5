#!/usr/bin/env python3
"""The benchmarks: options, JSON and exit status, wrong results are seen, and bars are judged right."""

import argparse
import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "perf", "tools"))
sys.dont_write_bytecode = True
import coll_bars  # pylint: disable=wrong-import-position
import coll_servers  # pylint: disable=wrong-import-position
import gemm_bars  # pylint: disable=wrong-import-position
import llama_peer  # pylint: disable=wrong-import-position
import model_bars  # pylint: disable=wrong-import-position

OPS = "all_reduce all_gather reduce_scatter all_to_all broadcast reduce gather scatter send_recv barrier".split()
GEMM_OPS = "gemm all_gather_gemm gemm_reduce_scatter gemm_all_reduce gemm_all_to_all all_reduce_residual_rms_norm".split()
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
tw_status_t tw_gemm_all_reduce(const tw_gemm_args_t* a, tw_comm_t c, tw_stream_t q) {
  tw_status_t (*real)(const tw_gemm_args_t*, tw_comm_t, tw_stream_t);
  *(void**)&real = dlsym(RTLD_NEXT, "tw_gemm_all_reduce");
  tw_status_t status = real(a, c, q);
  *((unsigned char*)a->c + 2 * (a->m * a->n - 1)) ^= 64;
  return status;
}
tw_status_t tw_model_step_by_ops(tw_model_t m, const tw_step_t* s) {
  tw_status_t (*real)(tw_model_t, const tw_step_t*);
  *(void**)&real = dlsym(RTLD_NEXT, "tw_model_step_by_ops");
  tw_status_t status = real(m, s);
  if (s->hidden_out) *((unsigned char*)s->hidden_out + 2 * s->rows) ^= 1;
  if (s->sampled && s->logit_rows > 1) s->sampled[1] ^= 1;
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



def test_local():
    done = run(["build/perf/tile_perf", "--benchmark_min_time=0.001", "--benchmark_filter=129x|rows"])
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(("gemm/", "rows/"))]
    roofs = [float(field[5:]) for row in rows for field in row if field.startswith("roof=")]
    targets = {row[0].split("/")[2] for row in rows}
    expect("GEMM and row ops of one core, every target", done.returncode == 0 and "cpu_portable" in targets
           and len(rows) == 6 * len(targets) and len(roofs) == 2 * len(targets), output(done))
    expect("their share of the roofline", all(0 < roof < 1.5 for roof in roofs), roofs)
    done = run(["build/perf/local_perf", "--benchmark_min_time=0.001"])
    expect("loops of one core", done.returncode == 0 and "ns" in done.stdout, output(done))


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


def test_gemm_programs(folder):
    for op in GEMM_OPS:
        done = run(TW_RUN + [f"build/perf/{op}_perf", "-m", "33,8,1", "-n", "192", "-k", "130", "--copies", "2", "--batches", "2"])
        expect(f"{op} on two processes", done.returncode == 0 and "FAILED" not in done.stdout
               and len(done.stdout.splitlines()) == 5, output(done))
    command = TW_RUN + ["build/perf/gemm_all_reduce_perf", "-m", "8", "-n", "64", "-k", "64", "--copies", "1"]
    broken = run(command, LD_PRELOAD=f"{folder}/broken.so")
    expect("one wrong bit of a product fails the run", broken.returncode != 0 and "FAILED" in broken.stdout, output(broken))
    for wrong in (["-n", "0"], ["-m", "8,x"], ["--cores", "0"], ["--check", "2"], ["stray"]):
        expect(f"{' '.join(wrong)} is refused", run(["build/perf/gemm_perf", *wrong]).returncode == 2)


TINY_MODEL = ["build/perf/model_perf", "--prefill", "40", "--batch", "1,3", "--context", "0,20", "--tokens", "3", "--rounds", "2"]
TINY_LAYER = ["build/perf/layer_perf", "--shape", "tiny", "-m", "1,3,130", "--context", "20", "--rounds", "2"]


def test_model_programs(folder):
    for command, cases in ((TINY_MODEL, 5), (TINY_LAYER, 3)):
        name = os.path.basename(command[0])
        done = run(TW_RUN + command)
        rows = [line.split() for line in done.stdout.splitlines() if line.split()[1:2] in (["prefill"], ["decode"])]
        expect(f"{name} on two processes", done.returncode == 0 and len(rows) == cases
               and all(float(row[5]) > 0 and float(row[6]) > 0 and row[-1] == "0" for row in rows), output(done))
        broken = run(TW_RUN + command, LD_PRELOAD=f"{folder}/broken.so")
        expect("one wrong bit of a result fails the run", broken.returncode != 0 and "FAILED" in broken.stdout, output(broken))
        for wrong in (["--shape", "huge"], ["--rounds", "0"], ["--context", "x"], ["stray"]):
            expect(f"{name}: {' '.join(wrong)} is refused", run([command[0], *wrong]).returncode == 2)


def test_model_tools(folder):
    """The tools from end to end, on the tiny shape, which has no bars."""
    keys = {"model": "op tokens batch context tokens_per_s op_by_op_tokens_per_s peer peer_tokens_per_s ratio",
            "layer": "model ranks m us op_by_op_us read_share multiply_share"}
    for name, options in (("model", ["--quick", "--budget", "0"]), ("layer", ["--shape", "tiny", "--rows", "1,3,130", "--rounds", "2"])):
        done = run([sys.executable, f"perf/tools/perf_{name}", *options, "--out", folder, "--no-plot"])
        path = f"{folder}/{name}.jsonl"
        lines = [json.loads(line) for line in open(path, encoding="utf-8")] if os.path.exists(path) else []
        expect(f"{name}.jsonl", done.returncode == 0 and len(lines) == 3 and all(set(line) == set(keys[name].split()) for line in lines),
               output(done))
        positive = [value for line in lines for key, value in line.items() if key.endswith(("_s", "us", "_share")) and key != "peer_tokens_per_s"]
        expect("its figures", positive and all(value > 0 for value in positive), lines)


def tool(name):
    """A program of perf/tools as a module."""
    loader = importlib.machinery.SourceFileLoader(name, os.path.join(ROOT, "perf", "tools", name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


def test_gemm_bars():
    case = gemm_bars.ONE_CORE[64]
    bar = gemm_bars.Bar("bar", "ratio", (case,), {"A": 1.3, "B": 1.0}, {"A": 1.8, "B": 1.1})
    for column, figure, verdict in (("A", 1.29, "MISSED"), ("A", 1.3, "met"), ("A", 1.8, "met, stretch too"), ("B", 1.0, "met"),
                                    ("B", 1.1, "met, stretch too"), (None, 9.0, "not for this machine")):
        got = gemm_bars.judge(bar, {("ratio", case): figure}, column, 2)[0]
        expect(f"GEMM ratio {figure}, machine {column}: {verdict}", got == verdict, got)
    expect("a figure of another kind is none", gemm_bars.judge(bar, {("dram", case): 9.0}, "A", 2)[0] == "not measured")
    fused = gemm_bars.fused_bars(gemm_bars.fused_cases(True))
    expect("two ranks ask for two cores", gemm_bars.judge(fused[0], {}, "A", 1)[0] == "not for this machine")
    worst = {("unfused", c): 1.1 for c in fused[-1].cases}
    worst["unfused", fused[-1].cases[1]] = 0.98
    expect("the least of a bar's figures counts", gemm_bars.judge(fused[-1], worst, "B", 2)[0] == "MISSED")
    for flags, vendor, family, column in (({"amx_bf16"}, "GenuineIntel", 6, "A"), ({"avx512_bf16"}, "AuthenticAMD", 25, "B"),
                                          ({"avx512_bf16"}, "GenuineIntel", 6, None), ({"avx2"}, "AuthenticAMD", 25, None)):
        expect(f"{vendor} with {flags}: column {column}", gemm_bars.machine_column(flags, vendor, family) == column)
    for quick in (True, False):
        for cases, bars in ((gemm_bars.gemm_cases(quick), gemm_bars.gemm_bars()),
                            (gemm_bars.fused_cases(quick), gemm_bars.fused_bars(gemm_bars.fused_cases(quick)))):
            expect("every case of every bar is run once", len(cases) == len(set(cases)) and all(c in cases for b in bars for c in b.cases))


def test_gemm_figures():
    """From samples to the lines of gemm.jsonl and fused.jsonl."""
    run_gemm = tool("perf_gemm").Run(None, None)
    case = gemm_bars.ONE_CORE[1]
    run_gemm.us[case] = {"tilewire": [4000, 4200, 4100], "dnnl2": [8200], "dnnl3": [9000]}
    run_gemm.dram[case], run_gemm.peak = [16.0, 18.0, 20.0], [2.0]
    line = run_gemm.result(case)
    nbytes = 2 * (8192 + 4096 * 8192 + 4096)
    expect("gemm.jsonl", set(line) == set("op m n k type cores us tflops gbs roofline peer peer_us ratio".split())
           and (line["us"], line["peer"], line["peer_us"], line["ratio"]) == (4100, "dnnl2", 8200, 2.0)
           and abs(line["gbs"] - nbytes / 4.1e6) < 1e-3 and abs(line["roofline"] - nbytes / 18e3 / 4100) < 1e-3, line)
    expect("its share of DRAM", abs(run_gemm.figures()["dram", case] - line["gbs"] / 18) < 1e-6)
    module = tool("perf_fused")
    run_fused = object.__new__(module.Run)
    first, second = gemm_bars.all_reduce(512, 4096), gemm_bars.all_reduce(8, 1024)
    run_fused.choice = {first: "fused", second: "unfused"}
    run_fused.us = {first: {"fused": [100.0], "unfused": [104.0], "gemm": [95.0], "dnnl2+impi": [180.0], "dnnl2+mpich5": [170.0],
                            "gemm of dnnl2+mpich5": [120.0]},
                    second: {"fused": [90.0], "unfused": [100.0], "gemm": [89.0], "dnnl3+impi": [110.0]}}
    line = run_fused.result(first)
    expect("fused.jsonl", set(line) == set("op m n k ranks us unfused_us gemm_us choice peer peer_us ratio".split())
           and (line["us"], line["peer"], line["peer_us"], line["ratio"]) == (100, "dnnl2+mpich5", 170, 1.7), line)
    expect("a call by its parts is timed so", run_fused.result(second)["us"] == 100 and run_fused.figures()["unfused", second] == 1.0)
    expect("a wrong choice is listed", [str(second) in sentence for sentence in run_fused.wrong_choices()] == [True])
    expect("the split of a peer", run_fused.split(first)["oneDNN + MPI"] == [170.0, 120.0], run_fused.split(first))


def fake_program(path, says):
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\necho \"$0 $*\" > {path}.words\necho '{says}'\n")
    os.chmod(path, 0o755)


def test_llama_peer(folder):
    try:
        llama_peer.Llama(folder, "m.gguf", [0])
        expect("a peer that is missing is an error", False)
    except coll_servers.ServerError as error:
        expect("a peer that is missing is an error", "llama-bench is not there" in str(error), error)
    fake_program(f"{folder}/llama-bench", '[{"samples_ts": [40, 50, 90]}]')
    fake_program(f"{folder}/llama-batched-bench", 'a line\n{"speed_pp": 1, "speed_tg": 300.5}')
    llama = llama_peer.Llama(folder, "m.gguf", [0])
    one, many = model_bars.decode(1, 64), model_bars.decode(8, 64)
    words = lambda case: " ".join(llama.command(case, "llama.cpp:huge,plain"))
    expect("batch 1 is llama-bench's", llama.measure(one, "llama.cpp") == 50 and "-n 16 -d 64 -r 1" in words(one), words(one))
    expect("others are llama-batched-bench's", llama.measure(many, "llama.cpp") == 300.5 and "-npp 64 -ntg 16 -npl 8" in words(many)
           and "-c 2048 " in words(many), words(many))
    settings = [" ".join(llama.command(many, setting)) for setting in llama_peer.SETTINGS]
    expect("settings differ", len(set(settings)) == len(settings) and all("hugetlb" in each for each in settings if "-lm none" in each), settings)
    expect("every setting runs", all(llama.measure(case, setting) for case in (one, many) for setting in llama_peer.SETTINGS))
    fake_program(f"{folder}/llama-bench", "out of memory")
    try:
        expect("an answer that is none is an error", llama.measure(one, "llama.cpp") is None)
    except coll_servers.ServerError as error:
        expect("an answer that is none is an error", "out of memory" in str(error), error)


def test_model_figures():
    module = tool("perf_model")
    run_model = module.Run(None, None)
    case, other = model_bars.decode(1, 64), model_bars.Case("prefill", 512)
    run_model.rates = {case: {module.ONE: [90.0, 110.0, 100.0], module.OPS: [80.0, 100.0, 50.0], "llama.cpp": [40.0], "llama.cpp:huge,plain": [50.0]},
                       other: {module.ONE: [7.0], module.OPS: [7.0]}}
    line = run_model.result(case)
    expect("model.jsonl", (line["tokens_per_s"], line["peer"], line["peer_tokens_per_s"], line["ratio"]) == (100, "llama.cpp:huge,plain", 50, 2), line)
    expect("rounds are compared in turns", run_model.figures()["one_launch", case] == 1.125, run_model.figures())
    run_model.traced = {case: [1.002, 1.004, 0.9]}
    figures = run_model.figures()
    expect("what tracing costs", abs(figures["traced", case] - 1 / 1.002) < 1e-9 and ("traced", other) not in figures, figures)
    line = run_model.result(other)
    expect("without a peer", line["peer"] is None and line["ratio"] is None and ("ratio", other) not in run_model.figures(), line)
    run_layer = tool("perf_layer").Run(argparse.Namespace(shape="llama-70b"), None)
    run_layer.server = argparse.Namespace(weight_bytes=1.7e9, kv_bytes=4096)
    few, many = model_bars.layer_case(8), model_bars.layer_case(512)
    for each, us in ((few, 1e5), (many, 1e6)):
        run_layer.us[each], run_layer.by_ops[each] = [us, us, 9 * us], [1.5 * us]
        run_layer.dram[each], run_layer.multiply[each] = [34.0, 30.0, 40.0], [4.0]
    line = run_layer.result(few)
    nbytes = 1.7e9 + 4096 * 8 * (model_bars.LAYER_CONTEXT + 1)
    expect("layer.jsonl", (line["m"], line["us"], line["op_by_op_us"]) == (8, 1e5, 1.5e5)
           and abs(line["read_share"] - nbytes / 34e8) < 1e-4 and abs(line["multiply_share"] - 1.7e9 * 8 / 4e11) < 1e-4, line)
    expect("one launch over op by op", run_layer.figures()["one_launch", many] == 1.5 and run_layer.result(many)["m"] == 512)
    for cases, bars in ((model_bars.model_cases(True), model_bars.model_bars(model_bars.model_cases(True))),
                        (model_bars.model_cases(False), model_bars.model_bars(model_bars.model_cases(False))),
                        (list(map(model_bars.layer_case, model_bars.LAYER_ROWS)), model_bars.layer_bars([few, many]))):
        expect("every case of every bar is run once", len(cases) == len(set(cases)) and all(c in cases for b in bars for c in b.cases))
    for figure, verdict in ((0.89, "MISSED"), (0.90, "met"), (0.95, "met, stretch too")):
        got = gemm_bars.judge(model_bars.layer_bars([few])[0], {("read", model_bars.layer_case(1)): figure}, "A", 2)[0]
        expect(f"a layer at {figure} of the read rate: {verdict}", got == verdict, got)


def main():
    os.chdir(ROOT)
    environment = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    os.environ.update(environment)
    test_bars()
    test_gemm_bars()
    test_gemm_figures()
    test_model_figures()
    built = subprocess.run(["make", "-s", "perf-programs", "programs"], capture_output=True, text=True, check=False)
    expect("the programs build", built.returncode == 0, output(built))
    with tempfile.TemporaryDirectory() as folder:
        test_programs(folder)
        test_local()
        test_refusals(folder)
        test_gemm_programs(folder)
        test_model_programs(folder)
        test_model_tools(folder)
        test_llama_peer(folder)
    print(f"1..{len(results)}")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
