#!/usr/bin/env python3
"""The launcher: what ranks get, what comes out, and that nothing is left whatever happens."""

import os
import re
import signal
import subprocess
import sys
import time

TW_RUN = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "build/bin/tw_run")
results = []


def expect(name, condition, why=""):
    results.append(bool(condition))
    print(f"{'ok' if condition else 'not ok'} {len(results)} - {name}", flush=True)
    if not condition:
        print("# " + str(why).strip().replace("\n", "\n# "))


def run(*arguments, stdin=None):
    """Runs tw_run; the result has .seconds too."""
    start = time.monotonic()
    done = subprocess.run([TW_RUN, *arguments], capture_output=True, text=True, check=False, timeout=30,
                          input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL)
    done.seconds = time.monotonic() - start
    return done


def start(*arguments):
    def heed_signals():  # a shell may have started us with some ignored, which programs inherit
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)

    return subprocess.Popen([TW_RUN, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, preexec_fn=heed_signals)


def running(mark):
    """Processes with `mark` as an argument."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    if mark.encode() in file.read().split(b"\0"):
                        found.append(int(entry))
            except OSError:
                pass
    return found


def wait_for(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def lines_of(text):
    return sorted(text.splitlines())


def test_output():
    done = run("-n", "3", "sh", "-c", "echo out $TW_RANK; printf 'a\\n\\nno end'; echo err >&2")
    want = sorted(line for r in range(3) for line in (f"[{r}] out {r}", f"[{r}] a", f"[{r}] ", f"[{r}] no end"))
    expect("lines carry their rank, incomplete ones too", lines_of(done.stdout) == want, done.stdout)
    expect("standard error stays apart", lines_of(done.stderr) == ["[0] err", "[1] err", "[2] err"], done.stderr)
    done = run("-n", "4", "sh", "-c", "i=0; while [ $i -lt 500 ]; do echo $TW_RANK-$i-" + "x" * 300 + "; i=$((i+1)); done")
    whole = re.compile(r"\[(\d)\] \1-\d+-x{300}")
    expect("lines of several ranks do not mix",
           len(done.stdout.splitlines()) == 2000 and all(whole.fullmatch(l) for l in done.stdout.splitlines()),
           done.stdout[:500])
    done = run("-n", "2", "sh", "-c", "sleep 0.2; printf x; sleep 0.2; echo y")
    expect("a line in two pieces is one line", lines_of(done.stdout) == ["[0] xy", "[1] xy"], done.stdout)
    reader = subprocess.run(f"{TW_RUN} -n 2 yes | head -1; echo ${{PIPESTATUS[0]}}", shell=True, check=False, timeout=20,
                            executable="/bin/bash", capture_output=True, text=True)
    expect("ends when nobody reads", reader.stdout.splitlines()[1:] == ["141"], reader.stdout)


def test_environment():
    done = run("-n", "4", "sh", "-c", "echo $TW_RANK/$TW_WORLD_SIZE/$TW_UNIQUE_ID/$TW_COMM_SETUP_TIMEOUT_MS")
    fields = [line.split(" ", 1)[1].split("/") for line in lines_of(done.stdout)]
    expect("every rank has its number", [f[:2] for f in fields] == [[str(r), "4"] for r in range(4)], done.stdout)
    ids = {f[2] for f in fields}
    expect("all have the same id", len(ids) == 1 and re.fullmatch("[0-9a-f]{256}", ids.pop()), done.stdout)
    expect("the rest of the environment is as it was", all(f[3] == "" for f in fields), done.stdout)
    done = run("-n", "2", "sh", "-c", "read line; echo \"got $line\"", stdin="word\n")
    expect("rank 0 reads standard input", "[0] got word" in done.stdout and "[1] got \n" in done.stdout, done.stdout)
    done = run("-n", "1", "--", "echo", "-n", "--x")
    expect("the program's options are its own", done.stdout == "[0] --x\n", done.stdout)


def test_failure():
    done = run("-n", "3", "sh", "-c", "[ $TW_RANK = 1 ] && exit 7; sleep 20")
    expect("a failing rank ends the others", done.returncode == 7 and done.seconds < 3, done)
    expect("and is named", "rank 1 exited with status 7; ending ranks 0 and 2" in done.stderr, done.stderr)
    done = run("-n", "2", "sh", "-c", "[ $TW_RANK = 1 ] && kill -9 $$; sleep 20")
    expect("death by a signal is 128 + signal", done.returncode == 137 and "signal 9" in done.stderr, done)
    done = run("-n", "2", "sh", "-c", "[ $TW_RANK = 1 ] && sleep 0.3 && exit 3; trap '' TERM; while :; do sleep 0.1; done")
    expect("who ignores SIGTERM is killed", done.returncode == 3 and 1.5 < done.seconds < 6, done)
    done = run("-n", "3", "--keep-going", "sh", "-c", "[ $TW_RANK = 1 ] && exit 5; sleep 0.3; echo done")
    expect("--keep-going lets the others finish",
           done.returncode == 5 and lines_of(done.stdout) == ["[0] done", "[2] done"] and "rank 1" in done.stderr, done)
    expect("all well is 0", run("-n", "2", "true").returncode == 0)
    done = run("-n", "3", "nonesuch-program")
    expect("a program that is not there", done.returncode == 127 and
           done.stderr == "tw_run: cannot run nonesuch-program: No such file or directory\n", done)
    expect("a program that cannot run", run("-n", "3", "/etc/passwd").returncode == 126)


def test_timeout():
    done = run("-n", "3", "--timeout", "0.4", "sh", "-c", "[ $TW_RANK = 1 ] || sleep 20")
    expect("--timeout ends all", done.returncode == 124 and 0.4 <= done.seconds < 3, done)
    expect("and says who still ran", "the time of 0.4 s is over; ending ranks 0 and 2 of 3" in done.stderr, done.stderr)
    done = run("-n", "2", "--timeout", "20", "true")
    expect("and does nothing else", done.returncode == 0 and done.seconds < 3, done)


def test_signals():
    script = "trap 'echo got; exit 0' {}; echo ready; while :; do sleep 0.05; done"
    for name in ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2"):
        child = start("-n", "2", "sh", "-c", script.format(name))
        ready = [child.stdout.readline() for _ in range(2)]
        child.send_signal(getattr(signal, "SIG" + name))
        out, err = child.communicate(timeout=10)
        expect(f"SIG{name} reaches the ranks", lines_of(out) == ["[0] got", "[1] got"] and child.returncode == 0,
               (ready, out, err, child.returncode))
    child = start("-n", "2", "sh", "-c", "trap '' INT; echo ready; while :; do sleep 0.05; done")
    for _ in range(2):
        child.stdout.readline()
    child.send_signal(signal.SIGINT)
    time.sleep(0.3)
    still = child.poll() is None
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=10)
    expect("a second SIGINT ends ranks that ignore the first", still and child.returncode == 130, child.returncode)


def test_nothing_is_left():
    for name, number in (("kill -9 of tw_run", signal.SIGKILL), ("SIGTERM", signal.SIGTERM)):
        mark = f"3{os.getpid()}.{int(number)}"
        child = start("-n", "2", "sh", "-c", f"sleep {mark} & echo ready; wait")
        for _ in range(2):
            child.stdout.readline()
        wait_for(lambda: len(running(mark)) == 2)  # pylint: disable=cell-var-from-loop
        before = len(running(mark))
        child.send_signal(number)
        child.wait(timeout=10)
        gone = wait_for(lambda: not running(mark))
        expect(f"{name} leaves no rank and no child of a rank", before == 2 and gone, (before, running(mark)))
        child.stdout.close()
        child.stderr.close()
    mark = f"4{os.getpid()}.5"
    done = run("-n", "2", "sh", "-c", f"sleep {mark} & exit 0")
    expect("what a rank leaves behind is ended", done.returncode == 0 and done.seconds < 3 and
           wait_for(lambda: not running(mark)), (done, running(mark)))


def cpus_of(text):
    return [line.split()[-1] for line in lines_of(text)]


def test_bind():
    status = ["grep", "Cpus_allowed_list", "/proc/self/status"]
    free = run("-n", "1", *status)
    own = subprocess.run(status, capture_output=True, text=True, check=False).stdout.split()[-1]
    expect("--bind none leaves the mask", cpus_of(free.stdout) == [own], free.stdout)
    cpu = min(os.sched_getaffinity(0))
    one = subprocess.run(["taskset", "-c", str(cpu), TW_RUN, "-n", "2", "--bind", "core", *status],
                         capture_output=True, text=True, check=False)
    expect("--bind core stays within the mask", cpus_of(one.stdout) == [str(cpu)] * 2, one)
    expect("and warns when ranks share", "2 ranks share 1 core" in one.stderr, one.stderr)
    many = run("-n", "3", "--bind", "core", *status)
    cores = cpus_of(many.stdout)
    if "ranks share" in many.stderr:
        expect("ranks beyond the cores begin again", len(cores) == 3 and len(set(cores)) < 3, many)
    else:
        expect("each rank has a core", len(set(cores)) == 3, many)


def test_usage():
    for arguments, word in ((["true"], "-n"), (["-n", "2"], "no program"), (["-n", "0", "true"], "1 to 64"),
                            (["-n", "65", "true"], "1 to 64"), (["-n", "x", "true"], "-n"),
                            (["-n", "2", "--bind", "socket", "true"], "core"),
                            (["-n", "2", "--timeout", "-1", "true"], "--timeout"),
                            (["-n", "2", "--bogus", "true"], "--bogus")):
        done = run(*arguments)
        expect(f"tw_run {' '.join(arguments)}: refused", done.returncode == 2 and word in done.stderr and
               not done.stdout, done)
    done = run("--help")
    expect("--help", done.returncode == 0 and "--keep-going" in done.stdout, done)


def main():
    for test in (test_output, test_environment, test_failure, test_timeout, test_signals, test_nothing_is_left,
                 test_bind, test_usage):
        test()
    print(f"1..{len(results)}")
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
