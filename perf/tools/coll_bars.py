"""The cases of perf-coll, and the bars that their ratios are held against."""

import dataclasses
import math

K, M = 1024, 1024 * 1024
TEN_SIZES = (8, 512, 4 * K, 16 * K, 64 * K, 128 * K, 512 * K, M, 8 * M, 64 * M)
NINE_SIZES = (8, 512, 4 * K, 16 * K, 64 * K, 128 * K, M, 8 * M, 64 * M)
SMALL_SIZES = (8, 64, 512)
CROWDED_SIZES = (8, 512, 4 * K, 16 * K, 64 * K, 128 * K, 512 * K, M, 8 * M)


@dataclasses.dataclass(frozen=True)
class Case:
    op: str
    bytes: int
    type: str = "fp32"
    n: int = 2
    in_place: bool = False
    buffers: str = "window"  # ours; a peer has private memory only

    def row(self):
        """What the case has in common with the other sizes of its row."""
        return (self.op, self.type, self.n, self.in_place, self.buffers)


def row_title(row):
    op, kind, n, in_place, buffers = row
    place = "" if op in ("barrier", "send_recv") else ", in place" if in_place else ", out of place"
    return f"{op} {kind} n={n}{place}, {buffers}" if op != "barrier" else f"barrier n={n}"


def cases_of(row, sizes):
    op, kind, n, in_place, buffers = row
    return [Case(op, size, kind, n, in_place, buffers) for size in sizes]


IN_PLACE_FP32 = ("all_reduce", "fp32", 2, True, "window")
IN_PLACE_BF16 = ("all_reduce", "bf16", 2, True, "window")
PRIVATE = ("all_reduce", "fp32", 2, False, "private")
BARRIER = ("barrier", "fp32", 2, False, "window")
MOVERS = {name: (op, "fp32", 2, False, "window") for name, op in (
    ("reduce-scatter", "reduce_scatter"), ("all-gather", "all_gather"),
    ("all-to-all", "all_to_all"), ("send/recv", "send_recv"))}
CROWDED = {n: ("all_reduce", "fp32", n, True, "window") for n in (4, 8)}


@dataclasses.dataclass(frozen=True)
class Bar:
    """`must` and `stretch` are (least mean, least single ratio); None: not asked for."""

    name: str
    cases: tuple
    must: tuple
    stretch: tuple


def bars():
    some = lambda row, sizes: tuple(cases_of(row, sizes))
    result = [
        Bar("all-reduce in place fp32, ten sizes", some(IN_PLACE_FP32, TEN_SIZES), (1.6, 0.95), (2.0, 1.2)),
        Bar("all-reduce in place bf16, ten sizes", some(IN_PLACE_BF16, TEN_SIZES), (1.6, 0.95), (2.0, 1.2)),
        Bar("all-reduce out of place, private, ten sizes", some(PRIVATE, TEN_SIZES), (1.2, 0.9), (1.6, None)),
        Bar("barrier", some(BARRIER, (0,)), (None, 1.6), (None, 2.2)),
        Bar("all-reduce up to 512 B fp32, every size", some(IN_PLACE_FP32, SMALL_SIZES), (None, 1.6), (None, 2.2)),
        Bar("all-reduce up to 512 B bf16, every size", some(IN_PLACE_BF16, SMALL_SIZES), (None, 1.6), (None, 2.2)),
    ]
    for name, row in MOVERS.items():
        result.append(Bar(f"{name}, nine sizes", some(row, NINE_SIZES), (1.2, 0.9), (1.6, None)))
    for n, must, stretch in ((4, 1.4, 2.5), (8, 2.5, 5.0)):
        result.append(Bar(f"all-reduce 8 B - 8 M, n={n} on 2 cores, every size",
                          some(CROWDED[n], CROWDED_SIZES), (None, must), (None, stretch)))
    return result


def all_cases():
    """Every case of every bar once, in the order of the rows and sizes."""
    unique = {case: None for bar in bars() for case in bar.cases}
    order = []
    for case in unique:
        if case.row() not in order:
            order.append(case.row())
    return sorted(unique, key=lambda case: (case.n, order.index(case.row()), case.bytes))


def geometric_mean(values):
    return math.exp(sum(math.log(v) for v in values) / len(values))


def meets(ratios, limits):
    mean, least = limits
    return (mean is None or geometric_mean(ratios) >= mean) and (least is None or min(ratios) >= least)


def judge(bar, ratios, cores):
    """(verdict, sentence). `ratios`: case -> best peer's time / ours, of the cases that were run."""
    asked = ", ".join(f"{word} {value}" for word, value in zip(("mean", "every size"), bar.must) if value is not None)
    crowded = bar.cases[0].n > 2
    if cores != 2 and crowded:
        return "not for this machine", f"asks for 2 cores, this machine gives {cores}"
    if cores < 2:
        return "not for this machine", "asks for 2 cores"
    if any(case not in ratios for case in bar.cases):
        return "not measured", f"must: {asked}"
    mine = [ratios[case] for case in bar.cases]
    worst = min(bar.cases, key=lambda case: ratios[case])
    sentence = (f"mean {geometric_mean(mine):.2f}, least {ratios[worst]:.2f} at {size_text(worst.bytes)}; "
                f"must: {asked}")
    if not meets(mine, bar.must):
        return "MISSED", sentence
    return ("met, stretch too" if meets(mine, bar.stretch) else "met"), sentence


def size_text(size):
    for unit, letter in ((M, "M"), (K, "K")):
        if size >= unit and size % unit == 0:
            return f"{size // unit}{letter}"
    return f"{size}"
