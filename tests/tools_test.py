#!/usr/bin/env python3
"""The project's own tools: lint finds what is planted and nothing else, and the check runner counts right."""

import importlib.machinery
import importlib.util
import os
import sys
import tempfile

TOOLS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tools")
sys.path.insert(0, TOOLS)
sys.dont_write_bytecode = True
import lint_text  # pylint: disable=wrong-import-position

results = []


def expect(name, condition):
    results.append(bool(condition))
    print(f"{'ok' if condition else 'not ok'} {len(results)} - {name}")


def load(name):
    loader = importlib.machinery.SourceFileLoader(name, os.path.join(TOOLS, name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


ALLOWED = [
    ("lib/api/comm.cc", '"', "lib/coll/coll.h"),
    ("lib/coll/all_reduce.cc", '"', "lib/comm/comm.h"),
    ("lib/net/shm.cc", '"', "lib/device/device.h"),
    ("lib/topo/topo.cc", "<", "hwloc.h"),
    ("lib/cli/tw_info.cc", '"', "tilewire.h"),
    ("lib/cli/tw_generate.cc", '"', "lib/text/tokenizer.h"),
    ("lib/cli/model/open.cc", '"', "lib/model/file.h"),
    ("lib/text/words.cc", '"', "lib/base/error.h"),
    ("lib/text/words.cc", "<", "pcre2.h"),
    ("kernels/coll/all_reduce.cu", '"', "tilewire/tile/comm_view.h"),
    ("kernels/coll/all_reduce.cu", '"', "tilewire/kernels/coll.h"),
    ("include/tilewire/tile/impl/gpu/block.h", '"', "tilewire/tile/impl/gpu/ptx/fence.h"),
]
REFUSED = [
    ("lib/base/log.cc", '"', "lib/device/device.h"),
    ("lib/net/shm.cc", '"', "lib/boot/boot.h"),
    ("lib/comm/comm.cc", '"', "lib/coll/coll.h"),
    ("lib/comm/comm.cc", '"', "lib/cli/options.h"),
    ("lib/comm/comm.cc", "<", "hwloc.h"),
    ("lib/device/gpu.cc", "<", "cuda.h"),
    ("lib/device/gpu.cc", '"', "lib/device/cpu.h"),
    ("lib/cli/tw_info.cc", '"', "lib/topo/topo.h"),
    ("lib/cli/tw_generate.cc", '"', "lib/model/model.h"),
    ("lib/text/words.cc", '"', "lib/device/device.h"),
    ("lib/comm/comm.cc", '"', "lib/text/tokenizer.h"),
    ("perf/all_reduce_perf.cc", '"', "lib/text/tokenizer.h"),
    ("perf/all_reduce_perf.cc", '"', "lib/comm/comm.h"),
    ("tests/examples/01_hello.c", '"', "lib/base/error.h"),
    ("kernels/coll/all_reduce.cu", '"', "lib/coll/coll.h"),
    ("kernels/coll/all_reduce.cu", '"', "tilewire/tile/impl/cpu/block.h"),
    ("include/tilewire/tile/impl/gpu/block.h", '"', "tilewire/tile/impl/cpu/block.h"),
    ("include/tilewire/mpi.h", '"', "lib/base/error.h"),
    ("lib/comm/comm.cc", '"', "no_such_file.h"),
]


def test_arrows(folder):
    os.chdir(folder)
    for _, _, target in ALLOWED + REFUSED:
        if target != "no_such_file.h":
            os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
            open(target, "w", encoding="utf-8").close()
    for path, quote, target in ALLOWED:
        expect(f"{path} may include {target}", lint_text.arrow(path, quote, target) == "")
    for path, quote, target in REFUSED:
        expect(f"{path} may not include {target}", lint_text.arrow(path, quote, target) != "")


def test_budgets():
    long_body = ["int f(int a,", "      int b) {"] + ["  a += b;"] * 110 + ["  return a;", "}"]
    inner = ["struct S {", "  void g() {"] + ["    h();"] * 50 + ["  }", "};"]
    found = list(lint_text.functions(long_body + [""] + inner))
    expect("functions are measured from head to brace", [(n, l) for _, l, n in found] == [("f", 114), ("g", 52)])
    guides = []
    expect("a function over the cap is a finding", len(list(lint_text.check_budgets("a.cc", long_body, guides))) == 1)
    expect("one over the guide is only shown", not list(lint_text.check_budgets("a.cc", inner, guides)) and len(guides) == 1)
    expect("a file over the cap is a finding", len(list(lint_text.check_budgets("a.cc", [""] * 801, guides))) == 1)
    expect("a line over 100 columns is a finding", len(list(lint_text.check_budgets("a.cc", ["/" * 101], guides))) == 1)
    expect("a loop is no function", not list(lint_text.functions(["  for (int i = 0; i < n; ++i) {"] + ["    f();"] * 60 + ["  }"])))


def test_contracts():
    bare = ["/* Says it. */", "TW_API int tw_a(int x,", "                int y);", "TW_API int tw_b(void);", "", "TW_API int tw_c(void);"]
    found = list(lint_text.check_contracts("include/tilewire.h", bare))
    expect("a bare public function is a finding, one in a described group is not", len(found) == 1 and "tw_c" in found[0])
    members = ["class A {", " public:", "  TW_FN int a();", " private:", "  TW_FN int b();", "};", "TW_FN int c();"]
    found = list(lint_text.check_contracts("include/tilewire/tile/a.h", members))
    expect("private members need none", [f.rsplit(" ", 1)[1] for f in found] == ["a();", "c();"])
    expect("bodies in impl/ need none", not list(lint_text.check_contracts("include/tilewire/tile/impl/x.h", bare)))


def test_house():
    def count(path, line):
        return len(list(lint_text.check_house(path, [line])))
    expect("NOLINT without a check", count("lib/a.cc", "f();  // NOLINT: because it is so") == 1)
    expect("NOLINT without a reason", count("lib/a.cc", "f();  // NOLINT(bugprone-x)") == 1)
    expect("NOLINT with both", count("lib/a.cc", "f();  // NOLINT(bugprone-x): the handle is a number") == 0)
    expect("asm outside its home", count("lib/a.cc", 'asm volatile("nop");') == 1)
    expect("asm at home", count("include/tilewire/tile/impl/gpu/ptx/a.h", 'asm volatile("nop;");') == 0)
    expect("CUDA names in a kernel", count("kernels/a.cu", "int i = threadIdx.x;") == 1)
    expect("conditional compilation in a kernel", count("kernels/a.cu", "#ifdef X") == 1)
    expect("TODO without a condition", count("lib/a.cc", "// TODO: later") == 1)
    expect("TODO with one", count("lib/a.cc", "// TODO(when gcc 13 is the oldest): std::format") == 0)


GTEST_OUTPUT = """[ RUN      ] A.Good
noise[       OK ] A.Good (0 ms)
[ RUN      ] A.Bad
[  FAILED  ] A.Bad, where GetParam() = 2 (0 ms)
[ RUN      ] A.Skips
a_test.cc:6: Skipped
needs AMX
[  SKIPPED ] A.Skips (0 ms)
[ RUN      ] A.Dies
"""
MPI_OUTPUT = """[1,0]<stdout>:[ RUN      ] A.One
[1,1]<stdout>:[ RUN      ] A.One
[1,0]<stdout>:[       OK ] A.One (0 ms)
[1,1]<stdout>:[  FAILED  ] A.One (0 ms)
"""


def test_runner(folder):
    check = load("check")
    cases = check.parse(GTEST_OUTPUT)
    expect("GoogleTest cases", {n: s for n, (s, _) in cases.items()} ==
           {"A.Good": "passed", "A.Bad": "failed", "A.Skips": "skipped", "A.Dies": "failed"})
    expect("the reason of a skip is kept and AMX allowed", check.ALLOWED_SKIP.search(cases["A.Skips"][1]))
    expect("no other reason is allowed", not check.ALLOWED_SKIP.search("a_test.cc:6: Skipped no network"))
    expect("a case that fails on one rank fails", check.parse(MPI_OUTPUT) == {"A.One": ("failed", "")})
    expect("TAP", [s for s, _ in check.parse("ok 1 - a\nnot ok 2 - b\nok 3 - c # SKIP no GPU\n").values()] ==
           ["passed", "failed", "skipped"])
    log = os.path.join(folder, "log")
    slow = check.Row("x", "unit", 1, "")
    expect("a run over its limit is ended", "limit" in check.execute(["sleep", "30"], slow, log)[1])
    expect("processes left behind are found", "behind" in check.execute(["sh", "-c", "sleep 30 & exit 0"], slow, log)[1])
    expect("a signal is named", "SIGSEGV" in check.execute(["sh", "-c", "kill -SEGV $$"], slow, log)[1])
    expect("standard input is empty", check.execute(["sh", "-c", "! read -r line"], slow, log) == (0, ""))


with tempfile.TemporaryDirectory() as temporary:
    test_runner(temporary)
    test_arrows(temporary)
    test_budgets()
    test_contracts()
    test_house()
    os.chdir("/")
sys.exit(0 if all(results) else 1)
