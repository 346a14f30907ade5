"""perf-model and perf-layer: our programs of perf/model as servers (perf/model/serve.h), and results as files."""

import json
import os
import subprocess
import sys

import coll_servers

START_SECONDS, CASE_SECONDS = 240, 300
LONG_US = 5e5  # a round that takes so long needs no warm one


class Server(coll_servers.Server):
    """`program`: model_perf or layer_perf. Asked in cases of model_bars that `arguments` name."""

    def __init__(self, build, program, ranks, arguments):
        setting = coll_servers.Setting(f"tilewire:{program}", f"{build}/perf/{program}",
                                       lambda n: [f"{build}/bin/tw_run", "-n", str(n)], None, arguments)
        super().__init__(setting, ranks, f"{build}/perf/logs")
        self.long = set()  # cases

    def wait_ready(self):
        ready = self.read(START_SECONDS)
        self.name, self.weight_bytes, self.kv_bytes = ready["name"], ready["weight_bytes"], ready["kv_bytes"]

    def measure_round(self, case, other="op_by_op"):
        """One round in one launch and one in another way ("op_by_op", "traced"): the answer."""
        warm = 0 if case in self.long else 1
        answer = self.ask(f"{case.words()} {other} {warm} 1", CASE_SECONDS)
        if answer["us"][0] + answer["other_us"][0] > LONG_US:
            self.long.add(case)
        return answer

    def limits(self, dram, multiply):
        return self.ask(f"limits {int(dram)} {int(multiply)}", CASE_SECONDS)


def write_results(path, results, table):
    """path.jsonl, path.md (`table`: lines)."""
    with open(f"{path}.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in results)
    with open(f"{path}.md", "w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in table)


def draw(path):
    """path.png from path.jsonl."""
    subprocess.run([sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "model_plot.py"),
                    f"{path}.jsonl", f"{path}.png"], check=False)
