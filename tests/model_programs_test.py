#!/usr/bin/env python3
"""tw_generate and tw_perplexity on the fixtures' small models: the same under every launcher, and what they refuse."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time

BIN = os.path.abspath("build/bin")
MODEL = "tests/fixtures/models/llama.gguf"
MPIRUN = ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", "2"]
results = []


def expect(name, condition, why=""):
    results.append(bool(condition))
    print(f"{'ok' if condition else 'not ok'} {len(results)} - {name}", flush=True)
    if not condition:
        print("# " + str(why).strip().replace("\n", "\n# "))


def run(*command, stdin=b"", env=None):
    words = [f"{BIN}/{word}" if word in ("tw_run", "tw_generate", "tw_perplexity") else word for word in command]
    return subprocess.run(words, capture_output=True, check=False, timeout=60, input=stdin,
                          env={**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                               **(env or {})})


def without_ranks(output):
    return re.sub(rb"^\[\d\] ?", b"", output, flags=re.M)


def test_launchers():
    greedy = ("tw_generate", "-m", MODEL, "-p", "Hello world", "-n", "12", "--temp", "0")
    alone = run(*greedy)
    expect("it writes text", alone.returncode == 0 and len(alone.stdout) > 1, alone)
    expect("and nothing else", alone.stderr == b"", alone)
    threads = run(*greedy, "--ranks", "1")
    expect("one thread writes the same", threads.stdout == alone.stdout, (alone, threads))
    drawn = ("tw_generate", "-m", MODEL, "-p", "Hello world", "-n", "12", "--seed", "3")
    two = run(*drawn, "--ranks", "2")
    again = run("tw_run", "-n", "2", *drawn)
    expect("two threads and two processes write the same",
           two.returncode == 0 and without_ranks(again.stdout) == two.stdout, (two, again))
    mpi = run(*MPIRUN, *drawn)
    expect("so do two under mpirun", mpi.stdout == two.stdout, (two, mpi))
    expect("a seed gives its text again", run(*drawn, "--ranks", "2").stdout == two.stdout)


def test_stats():
    done = run("tw_generate", "-m", MODEL, "-p", "Hello world", "-n", "12", "--stats", "--compare", "--ranks", "2")
    said = done.stderr.decode()
    expect("--stats tells rates", re.search(r"^prompt: \d+ tokens, [\d.]+ tokens/s$", said, re.M) and
           re.search(r"^generation: \d+ tokens, [\d.]+ tokens/s$", said, re.M), said)
    expect("a step is one launch", "\nlaunches per step: 1\n" in said, said)
    by_ops = re.search(r"^op by op: .*launches per step: (\d+), 0 other tokens$", said, re.M)
    expect("op by op it is many, with the same tokens", by_ops and int(by_ops.group(1)) > 10, said)
    expect("the last line is the ratio", re.search(r"^one launch / op by op: [\d.]+\n\Z", said, re.M), said)


def test_chat():
    done = run("tw_generate", "-m", MODEL, "--chat", "-n", "4", "--ranks", "2", stdin=b"One\n\nTwo\n")
    expect("each line is a turn", done.returncode == 0 and done.stdout.count(b"\n") >= 2, done)
    done = run("tw_generate", "-m", MODEL, "--chat", "-n", "4", stdin=b"")
    expect("no turn, no text", done.returncode == 0 and done.stdout == b"", done)


def test_interrupt():
    for count in (1, 2):
        child = subprocess.Popen([f"{BIN}/tw_generate", "-m", MODEL, "--chat", "--ranks", str(count)],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        child.stdin.write(b"Hello\n")
        child.stdin.flush()
        first = child.stdout.read(1)
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        try:
            status = child.wait(timeout=20)
        except subprocess.TimeoutExpired:
            child.kill()
            status = None
        expect(f"Ctrl-C ends {count} waiting rank(s) well", first and status == 0, (first, status, child.stderr.read()))


def test_perplexity(folder):
    path = os.path.join(folder, "text")
    with open(path, "w", encoding="ascii") as file:
        file.write("All the world is a stage, and all the men and women merely players.\n" * 8)
    command = ("tw_perplexity", "-m", MODEL, "-f", path, "--ctx", "32")
    alone = run(*command)
    lines = alone.stdout.decode().splitlines()
    expect("the last line is the perplexity", alone.returncode == 0 and re.fullmatch(r"perplexity \d+\.\d{4}", lines[-1]),
           alone)
    expect("a line before it for each window", len(lines) > 3 and lines[0].startswith(f"[1/{len(lines) - 1}] ") and
           lines[-2].split()[1] == lines[-1].split()[1], lines)
    value = float(lines[-1].split()[1])
    expect("of a random model it is about the vocabulary's size", 20 < value < 2000, value)
    for launcher, name in ((("tw_run", "-n", "2"), "tw_run"), (tuple(MPIRUN), "mpirun")):
        two = without_ranks(run(*launcher, *command).stdout).decode().splitlines()
        expect(f"two ranks under {name} find the same", two and abs(float(two[-1].split()[1]) / value - 1) < 0.01, two)
    few = run(*command, "--windows", "2").stdout.decode().splitlines()
    expect("--windows takes the first ones", few[:2] and few[1].split()[1] == lines[1].split()[1], few)


def test_refused():
    model = ("-m", MODEL)
    generate, perplexity = "tw_generate", "tw_perplexity"
    for command, word in (
            ((generate,), "-m FILE"), ((generate, *model), "-p TEXT"), ((generate, "-m", "nonesuch", "-p", "x"), "nonesuch"),
            ((generate, "-m", "README.md", "-p", "x"), "README.md"), ((generate, *model, "-p", "x", "-f", "y"), "-f FILE"),
            ((generate, *model, "-f", "nonesuch"), "nonesuch"), ((generate, *model, "-p", "x", "--ranks", "99"), "99"),
            ((generate, *model, "-p", "x", "--temp", "abc"), "abc"), ((generate, *model, "-p", "x", "-n", "0"), "-n"),
            ((generate, *model, "-p", "x", "--ctx", "99999"), "99999"), ((generate, *model, "-p", "x", "--bogus"), "--bogus"),
            ((generate, *model, "-p", "Hello world", "--ctx", "3"), "context of 3"),
            ((generate, "--synthetic", "llama-9b"), "llama-70b"), ((generate, *model, "-p", "x", "--layers", "1"), "--synthetic"),
            ((perplexity,), "--model"), ((perplexity, *model), "--file"), ((perplexity, *model, "-f", "nonesuch", "--ctx", "32"), "nonesuch"),
            ((perplexity, *model, "-f", "/dev/null"), "--ctx 512"), ((perplexity, *model, "-f", "x", "--ctx", "1"), "--ctx"),
            ((perplexity, *model, "-f", "/dev/null", "--ctx", "32"), "/dev/null has")):
        done = run(*command)
        expect(f"{' '.join(command)}: refused", done.returncode == 1 and word in done.stderr.decode() and not done.stdout and
               done.stderr.startswith(command[0].encode() + b": ") and done.stderr.count(b"\n") == 1, done)
    done = run("tw_run", "-n", "3", generate, *model, "-p", "x", "--bogus")
    expect("of several ranks one says it", done.stderr.count(b"--bogus") == 1, done)
    done = run("tw_run", "-n", "2", generate, *model, "-p", "x", "--ranks", "2")
    expect("--ranks under tw_run: refused", done.returncode == 1 and b"--ranks 2 makes threads" in done.stderr, done)
    done = run(generate, *model, "-p", "x", env={"OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "2"})
    expect("a rank beyond the size: refused", done.returncode == 1 and b"OMPI_COMM_WORLD_RANK=5" in done.stderr, done)
    for program in (generate, perplexity):
        done = run(program, "--help")
        expect(f"{program} --help", done.returncode == 0 and b"--ranks" in done.stdout, done)


def main():
    test_launchers()
    test_stats()
    test_chat()
    test_interrupt()
    with tempfile.TemporaryDirectory() as folder:
        test_perplexity(folder)
    test_refused()
    print(f"1..{len(results)}")
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
