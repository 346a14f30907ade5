"""What the machine is, and whether anyone else is using it."""

import os
import subprocess
import time


def cpu_name():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        fields = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    return f"{fields.get('model name', 'unknown CPU')} (family {fields.get('cpu family')}, model {fields.get('model')})"


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


def commit():
    def git(*words):
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""
    head = git("log", "-1", "--format=%h %cs") or "unknown"
    return head + (" and uncommitted changes" if git("status", "--porcelain", "-uno") else "")
