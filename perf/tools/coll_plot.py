"""coll.png from coll.jsonl: latency and bandwidth over size, ours and peers, a pair per row."""

import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # pylint: disable=wrong-import-position

PER_LINE = 2  # rows side by side, two panels each


def read(path):
    """row title -> {peer: [(bytes, us)]}, with ours as peer "tilewire"."""
    rows = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            item = json.loads(line)
            if item["bytes"] == 0:
                continue
            place = "in place" if item["in_place"] else "out of place"
            title = f"{item['op']} {item['type']}, {item['ranks']} ranks, {place}, {item['buffers']}"
            lines = rows.setdefault(title, {})
            lines.setdefault("tilewire", {})[item["bytes"]] = item["us"]
            lines.setdefault(item["peer"], {})[item["bytes"]] = item["peer_us"]
    return rows


def draw(axes, title, lines, colours):
    latency, bandwidth = axes
    for peer, points in sorted(lines.items(), key=lambda entry: entry[0] == "tilewire"):
        sizes = sorted(points)
        mine = peer == "tilewire"
        style = {"color": "black" if mine else colours[peer], "linewidth": 2.2 if mine else 1.1,
                 "marker": "o" if mine else ".", "markersize": 4, "label": peer}
        latency.plot(sizes, [points[s] for s in sizes], **style)
        bandwidth.plot(sizes, [s / points[s] * 1e-3 for s in sizes], **style)
    for panel, unit in ((latency, "us"), (bandwidth, "GB/s (size / time)")):
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_title(title, fontsize=8)
        panel.set_xlabel("bytes", fontsize=7)
        panel.set_ylabel(unit, fontsize=7)
        panel.tick_params(labelsize=6)
        panel.grid(True, which="major", linewidth=0.3)


def main(source, target):
    rows = read(source)
    if not rows:
        print("coll_plot: nothing to draw")
        return
    peers = sorted({peer for lines in rows.values() for peer in lines if peer != "tilewire"})
    colours = {peer: plt.get_cmap("tab10")(i % 10) for i, peer in enumerate(peers)}
    height = (len(rows) + PER_LINE - 1) // PER_LINE
    figure, grid = plt.subplots(height, 2 * PER_LINE, figsize=(4.2 * 2 * PER_LINE, 3.1 * height), squeeze=False)
    for at, (title, lines) in enumerate(rows.items()):
        line, column = divmod(at, PER_LINE)
        draw(grid[line][2 * column:2 * column + 2], title, lines, colours)
    for at in range(len(rows), height * PER_LINE):
        line, column = divmod(at, PER_LINE)
        for panel in grid[line][2 * column:2 * column + 2]:
            panel.axis("off")
    by_label = {}
    for panel in grid.flat:
        handles, labels = panel.get_legend_handles_labels()
        by_label.update(zip(labels, handles))
    figure.legend(by_label.values(), by_label.keys(), loc="lower center", ncol=len(by_label), fontsize=8)
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(target, dpi=110)
    print(f"wrote {target}")


if __name__ == "__main__":
    main(*sys.argv[1:])
