"""The cases of perf-gemm and perf-fused, and the bars that their figures are held against."""

import dataclasses
import math

HIDDEN, FFN, QKV = 8192, 28672, 10240  # Llama-70B
ROWS = (2048, 512, 64, 8, 1)
TENSOR_PARALLEL = (2, 8)
CLOSE = 1.03  # times a bar: measured again


@dataclasses.dataclass(frozen=True)
class Case:
    op: str
    m: int  # rows of all ranks
    n: int  # columns and K of a rank
    k: int
    ranks: int = 1
    cores: int = 1  # of a rank

    def weight_bytes(self):
        return 2 * self.n * self.k

    def bytes(self):
        """What the product reads and writes at least."""
        return 2 * (self.m * self.k + self.n * self.k + self.m * self.n)

    def operations(self):
        return 2 * self.m * self.n * self.k

    def __str__(self):
        return f"{self.op} M={self.m} N={self.n} K={self.k}"


def column_parallel(tp):
    """(n, k) of QKV and gate+up."""
    return ((QKV // tp, HIDDEN), (2 * FFN // tp, HIDDEN))


def row_parallel(tp):
    """(n, k) of O and down."""
    return ((HIDDEN, HIDDEN // tp), (HIDDEN, FFN // tp))


PROJECTIONS = {shape: (name, tp) for tp in TENSOR_PARALLEL
               for name, shape in zip(("QKV", "gate+up", "O", "down"), column_parallel(tp) + row_parallel(tp))}


def markdown(results):
    """The table of perf/README.md: microseconds, ours / the best peer's, TP 2 and TP 8 shards in one cell."""
    rows = {}
    for line in results:
        shape = (line["n"], line["k"])
        name, tp = PROJECTIONS.get(shape, (f"N={line['n']} K={line['k']}", 0))
        title = f"{line['op']} {name}" + (f", {line['cores']} cores" if line.get("cores", 1) > 1 else "")
        cell = f"{short(line['us'])} / {short(line['peer_us'])}"
        rows.setdefault(title, {}).setdefault(line["m"], {})[tp] = cell
    heads = sorted({m for cells in rows.values() for m in cells})
    yield "| M (TP 2; TP 8) | " + " | ".join(map(str, heads)) + " |"
    yield "|---" * (len(heads) + 1) + "|"
    for title, cells in rows.items():
        yield f"| {title} | " + " | ".join("; ".join(text for _, text in sorted(cells.get(m, {}).items())) for m in heads) + " |"


def short(us):
    """Three digits: 4.52, 17.6, 8360, 120000."""
    return f"{us:.3g}" if us < 100 else f"{float(f'{us:.3g}'):.0f}"


def large_first(cases):
    return sorted(dict.fromkeys(cases), key=lambda c: (-c.weight_bytes(), c.op, c.n, -c.m, c.cores))


# ---- perf-gemm --------------------------------------------------------------------------------------
BAR_N, BAR_K = 4096, 8192
ONE_CORE = {m: Case("gemm", m, BAR_N, BAR_K) for m in (512, 64, 8, 1)}
TWO_CORES = Case("gemm", 1, BAR_N, BAR_K, cores=2)


def gemm_cases(quick):
    cases = [*ONE_CORE.values(), TWO_CORES]
    if not quick:
        cases += [Case("gemm", m, n, k) for tp in TENSOR_PARALLEL
                  for n, k in column_parallel(tp) + row_parallel(tp) for m in ROWS]
    return large_first(cases)


# ---- perf-fused -------------------------------------------------------------------------------------
FUSED_BARS = ((512, 4096), (512, 1024), (64, 1024), (8, 1024))  # (M, K) at N = HIDDEN


def all_reduce(m, k):
    return Case("gemm_all_reduce", m, HIDDEN, k, ranks=2)


def fused_cases(quick):
    cases = [all_reduce(m, k) for m, k in FUSED_BARS]
    if quick:
        return large_first(cases)
    for tp in TENSOR_PARALLEL:
        for op, shapes in (("gemm_all_reduce", row_parallel(tp)), ("gemm_reduce_scatter", row_parallel(tp)),
                           ("all_gather_gemm", column_parallel(tp))):
            cases += [Case(op, m, n, k, ranks=2) for n, k in shapes for m in ROWS]
    cases += [Case("gemm_all_to_all", m, QKV, HIDDEN, ranks=2) for m in ROWS]
    cases += [Case("all_reduce_residual_rms_norm", m, HIDDEN, 0, ranks=2) for m in ROWS]
    return large_first(cases)


# ---- Bars -------------------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True)
class Bar:
    """`must` and `stretch`: machine column -> the least figure of any case. What is not in `must` is
    not for that machine."""

    name: str
    kind: str  # ratio (peer's time / ours), dram (share), overlap (GEMM / fused), unfused (unfused / ours)
    cases: tuple
    must: dict
    stretch: dict


def both(value):
    return {"A": value, "B": value}


def gemm_bars():
    row = f"K={BAR_K}, N={BAR_N}"
    bar = lambda name, kind, case, must, stretch: Bar(f"GEMM {name}, {row}", kind, (case,), must, stretch)
    return [
        bar("M=512 vs oneDNN", "ratio", ONE_CORE[512], {"A": 2.0, "B": 0.97}, {"A": 2.6, "B": 1.0}),
        bar("M=64 vs oneDNN", "ratio", ONE_CORE[64], {"A": 1.3, "B": 1.0}, {"A": 1.8, "B": 1.1}),
        bar("M=8 vs oneDNN", "ratio", ONE_CORE[8], both(1.0), {"A": 1.05, "B": 1.4}),
        bar("M=1 vs oneDNN, one core", "ratio", ONE_CORE[1], {"A": 1.0, "B": 1.25}, {"A": 1.0, "B": 1.35}),
        bar("M=1 vs oneDNN, two cores", "ratio", TWO_CORES, {"A": 1.0, "B": 1.6}, {"A": 1.0, "B": 1.85}),
        bar("M=1 share of the DRAM read rate, one core", "dram", ONE_CORE[1], both(0.92), both(0.97)),
        bar("M=1 share of the DRAM read rate, two cores", "dram", TWO_CORES, both(0.92), both(0.97)),
    ]


def fused_bars(cases):
    musts = {"A": (1.7, 1.3, 1.35, 1.05), "B": (1.0, 1.03, 1.1, 1.2)}
    stretches = {"A": (2.2, 1.7, 1.8, 1.15), "B": (1.05, 1.08, 1.3, 1.4)}
    overlap = ((0.93, 0.95), (0.87, 0.95), (0.97, 0.97), (0.97, 0.97))
    bars = []
    for at, (m, k) in enumerate(FUSED_BARS):
        pick = lambda table, at=at: {column: values[at] for column, values in table.items()}
        bars.append(Bar(f"GEMM + all-reduce M={m} K={k} vs oneDNN + best MPI", "ratio", (all_reduce(m, k),),
                        pick(musts), pick(stretches)))
    for (m, k), (must, stretch) in zip(FUSED_BARS, overlap):
        bars.append(Bar(f"overlap M={m} K={k}: GEMM alone / fused", "overlap", (all_reduce(m, k),),
                        both(must), both(stretch)))
    bars.append(Bar("as called vs our own unfused, every size", "unfused", tuple(cases), both(0.99), both(1.05)))
    return bars


def machine_column(flags, vendor, family):
    """The column of the bars that holds for this CPU: A, B or None."""
    if "amx_bf16" in flags:
        return "A"
    if vendor == "AuthenticAMD" and family == 25 and "avx512_bf16" in flags:
        return "B"
    return None


def judge(bar, figures, column, cores):
    """(verdict, sentence). `figures`: (kind, case) -> figure, of what was measured."""
    if column not in bar.must:
        return "not for this machine", "its bars are for Xeons with AMX (A) and AMD Zen 4 (B)"
    needed = max(case.ranks * case.cores for case in bar.cases)
    if cores < needed:
        return "not for this machine", f"asks for {needed} cores, this machine gives {cores}"
    must = bar.must[column]
    if any((bar.kind, case) not in figures for case in bar.cases):
        return "not measured", f"must {must} ({column})"
    worst = min(bar.cases, key=lambda case: figures[bar.kind, case])
    least = figures[bar.kind, worst]
    where = f" at {worst}" if len(bar.cases) > 1 else ""
    sentence = f"{least:.3f}{where}; must {must}, stretch {bar.stretch[column]} ({column})"
    if least < must:
        return "MISSED", sentence
    return ("met, stretch too" if least >= bar.stretch[column] else "met"), sentence


def close_cases(bars, figures, column):
    """Cases whose figure is near or below the bar, so that more rounds may tell."""
    return list(dict.fromkeys(case for bar in bars if column in bar.must for case in bar.cases
                              if figures.get((bar.kind, case), math.inf) < CLOSE * bar.must[column]))


def verdicts(say, bars, figures, column, cores):
    """Prints every bar; whether a must was missed."""
    missed = False
    for bar in bars:
        verdict, sentence = judge(bar, figures, column, cores)
        missed |= verdict == "MISSED"
        say(f"  {verdict:20} {bar.name}: {sentence}")
    return missed
