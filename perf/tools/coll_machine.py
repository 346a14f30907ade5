"""What the machine is, and whether anyone else is using it."""

import os
import subprocess
import time

BUSY_PERCENT = 5.0  # above: somebody else is using the machine


class Output:
    """Prints, and keeps what was printed."""

    def __init__(self, path):
        self.file = open(path, "w", encoding="utf-8")

    def __call__(self, text=""):
        print(text, flush=True)
        self.file.write(text + "\n")
        self.file.flush()


def cpu_fields():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        fields = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in fields.items()}


def cpu_name():
    fields = cpu_fields()
    return f"{fields.get('model name', 'unknown CPU')} (family {fields.get('cpu family')}, model {fields.get('model')})"


def cpu_flags():
    """(flags, vendor, family), as /proc/cpuinfo names them."""
    fields = cpu_fields()
    return set(fields.get("flags", "").split()), fields.get("vendor_id"), int(fields.get("cpu family", 0))


def cores():
    return len(os.sched_getaffinity(0))


def jiffies():
    """(busy, stolen, all) of all cores since the machine started."""
    with open("/proc/stat", encoding="utf-8") as file:
        user, nice, system, idle, iowait, irq, softirq, steal = map(int, file.readline().split()[1:9])
    busy = user + nice + system + irq + softirq
    return busy, steal, busy + idle + iowait + steal


def share(before, after):
    """(busy, stolen) between two readings, in percent of all cores' time."""
    total = max(after[2] - before[2], 1)
    return 100.0 * (after[0] - before[0]) / total, 100.0 * (after[1] - before[1]) / total


def busy_now(seconds=1.0):
    before = jiffies()
    time.sleep(seconds)
    return share(before, jiffies())


def describe(say, tool):
    """The first lines of a report."""
    busy, stolen = busy_now(2.0)
    load = os.getloadavg()
    say(f"{tool} {time.strftime('%Y-%m-%d %H:%M %Z')}, commit {commit()}")
    say(f"machine: {cpu_name()}, {cores()} cores, {os.uname().release}")
    say(f"load {load[0]:.2f} {load[1]:.2f}; before the start {busy:.1f} % busy, {stolen:.1f} % stolen")
    if busy + stolen > BUSY_PERCENT:
        say("WARNING: the machine is not idle: what follows is not worth quoting")


def commit():
    def git(*words):
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""
    head = git("log", "-1", "--format=%h %cs") or "unknown"
    return head + (" and uncommitted changes" if git("status", "--porcelain", "-uno") else "")
