"""fused.png from fused_split.jsonl: each case's time split into the product alone and the rest, which is
communication that the product does not hide."""

import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # pylint: disable=wrong-import-position

BARS = (("fused", "#1b6ca8"), ("unfused", "#6aa84f"), ("oneDNN + MPI", "#999999"))
PER_LINE = 2


def read(path):
    """op -> lines, in the order measured."""
    ops = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            item = json.loads(line)
            op, _, item["shape"] = item["case"].partition(" ")
            ops.setdefault(op, []).append(item)
    return ops


def draw(panel, op, items):
    """Time over that of oneDNN + MPI (without it, of the last there is), so that all sizes fit one axis."""
    width = 0.8 / len(BARS)
    for at, item in enumerate(items):
        whole = next(item[name][0] for name, _ in reversed(BARS) if name in item)
        for place, (name, colour) in enumerate(BARS):
            if name not in item:
                continue
            us, product = item[name]
            x = at + (place - (len(BARS) - 1) / 2) * width
            product = min(product, us)
            panel.bar(x, product / whole, width, color=colour, label=f"{name}: product")
            panel.bar(x, (us - product) / whole, width, bottom=product / whole, color=colour, alpha=0.35, hatch="///",
                      edgecolor="white", linewidth=0, label=f"{name}: exposed communication")
            panel.text(x, us / whole, f"{us:.0f}" if us >= 100 else f"{us:.1f}", fontsize=4, ha="center", va="bottom", rotation=90)
    panel.set_xticks(range(len(items)), [item["shape"] for item in items], rotation=90, fontsize=5)
    panel.set_ylabel("time / oneDNN + MPI's; labels: us", fontsize=7)
    panel.set_title(op, fontsize=8)
    panel.tick_params(axis="y", labelsize=6)
    panel.grid(True, axis="y", linewidth=0.3)


def main(source, target):
    ops = read(source)
    if not ops:
        print("fused_plot: nothing to draw")
        return
    height = (len(ops) + PER_LINE - 1) // PER_LINE
    figure, grid = plt.subplots(height, PER_LINE, figsize=(8.5 * PER_LINE, 4.2 * height), squeeze=False)
    for panel, (op, items) in zip(grid.flat, ops.items()):
        draw(panel, op, items)
    for panel in list(grid.flat)[len(ops):]:
        panel.axis("off")
    by_label = {}
    for panel in grid.flat:
        handles, labels = panel.get_legend_handles_labels()
        by_label.update(zip(labels, handles))
    figure.legend(by_label.values(), by_label.keys(), loc="lower center", ncol=len(by_label), fontsize=7)
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(target, dpi=110)
    print(f"wrote {target}")


if __name__ == "__main__":
    main(*sys.argv[1:])
