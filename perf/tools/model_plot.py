"""model.png from model.jsonl, layer.png from layer.jsonl: one launch, op by op, and the peer or the bound."""

import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # pylint: disable=wrong-import-position

COLOURS = {"one launch": "#1b6ca8", "op by op": "#6aa84f", "llama.cpp": "#999999"}


def bars(panel, titles, series, label):
    """Groups of bars, a group for each title; `series`: name -> values, `label`: of (name, place)."""
    width = 0.8 / len(series)
    for place, (name, values) in enumerate(series.items()):
        for at, value in enumerate(values):
            if not value:
                continue
            x = at + (place - (len(series) - 1) / 2) * width
            panel.bar(x, value, width, color=COLOURS[name], label=name if at == 0 else None)
            panel.text(x, value, "  " + label(name, at), fontsize=6, ha="center", va="bottom", rotation=90)
    panel.set_xticks(range(len(titles)), titles, fontsize=7)
    panel.tick_params(axis="y", labelsize=7)
    panel.grid(True, axis="y", linewidth=0.3)
    panel.margins(y=0.2)
    panel.legend(fontsize=7)


def title_of(line):
    if line["op"] == "prefill":
        return f"prefill\n{line['tokens']}"
    return f"decode\nbatch {line['batch']}\ncontext {line['context']}"


def draw_model(panel, lines):
    """Over the peer's rate, or without one over op by op's, so that all cases fit one axis."""
    whole = [line["peer_tokens_per_s"] or line["op_by_op_tokens_per_s"] for line in lines]
    keys = {"one launch": "tokens_per_s", "op by op": "op_by_op_tokens_per_s", "llama.cpp": "peer_tokens_per_s"}
    series = {name: [(line[key] or 0) / all_ for line, all_ in zip(lines, whole)] for name, key in keys.items()}
    bars(panel, [title_of(line) for line in lines], series, lambda name, at: f"{lines[at][keys[name]]:.0f}")
    panel.set_ylabel("tokens a second over llama.cpp's; labels: tokens/s", fontsize=8)
    panel.set_title("A model over 2 ranks with a core each, llama.cpp with 2 threads", fontsize=9)


def draw_layer(panel, lines):
    """The share of the nearer bound; op by op's is less as its time is more."""
    share = [max(line["read_share"], line["multiply_share"]) for line in lines]
    bound = ["DRAM" if line["read_share"] >= line["multiply_share"] else "multiplying" for line in lines]
    us = {"one launch": [line["us"] for line in lines], "op by op": [line["op_by_op_us"] for line in lines]}
    series = {name: [s * line["us"] / t for s, line, t in zip(share, lines, times)] for name, times in us.items()}
    bars(panel, [f"M = {line['m']}\n{name}" for line, name in zip(lines, bound)], series, lambda name, at: f"{us[name][at]:.0f} us")
    panel.axhline(1, color="black", linewidth=0.8)
    panel.set_ylabel("share of the bound that is nearer", fontsize=8)
    panel.set_title(f"One layer of {lines[0]['model']}, {lines[0]['ranks']} ranks with a core each", fontsize=9)


def main(source, target):
    with open(source, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    if not lines:
        print("model_plot: nothing to draw")
        return
    figure, panel = plt.subplots(figsize=(9, 4.2))
    (draw_layer if "m" in lines[0] else draw_model)(panel, lines)
    figure.tight_layout()
    figure.savefig(target, dpi=110)
    print(f"wrote {target}")


if __name__ == "__main__":
    main(*sys.argv[1:])
