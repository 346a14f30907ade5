"""The cases of perf-model and perf-layer, and the bars that their figures are held against."""

import dataclasses

import gemm_bars

RANKS = 2
PREFILL = (128, 512)
DECODE_TOKENS, CONTEXTS, BATCHES = 16, (64, 2048), (1, 8, 32)
LAYER_ROWS, LAYER_CONTEXT, LAYER_PROMPT = (1, 8, 64, 512), 128, 128  # a prompt from so many rows on
ONE_LAUNCH = gemm_bars.both(0.99)  # op by op / one launch
ONE_LAUNCH_STRETCH = gemm_bars.both(1.05)


@dataclasses.dataclass(frozen=True)
class Case:
    """`tokens` of each of `batch` sequences, after `context`: at once (prefill), or one a step (decode)."""

    op: str
    tokens: int
    batch: int = 1
    context: int = 0
    ranks: int = RANKS
    cores: int = 1  # of a rank

    def words(self):
        return f"{self.op} {self.tokens} {self.batch} {self.context}"

    def __str__(self):
        if self.op == "prefill":
            return f"prefill {self.tokens}"
        return f"decode batch={self.batch} context={self.context}"


# ---- perf-model -------------------------------------------------------------------------------------
def decode(batch, context):
    return Case("decode", DECODE_TOKENS, batch, context)


TRACED = decode(1, CONTEXTS[0])  # the most instructions in the least time


def model_cases(quick):
    if quick:
        return [Case("prefill", 512), *(decode(1, context) for context in CONTEXTS)]
    return [Case("prefill", tokens) for tokens in PREFILL] + \
        [decode(batch, context) for context in CONTEXTS for batch in BATCHES]


def model_bars(cases):
    peer = lambda name, case, must, stretch: gemm_bars.Bar(f"{name} vs llama.cpp", "ratio", (case,), must, stretch)
    return [
        peer("decode, batch 1, context 64", decode(1, 64), {"A": 1.2, "B": 1.4}, {"A": 1.35, "B": 1.8}),
        peer("prefill 512", Case("prefill", 512), {"A": 10, "B": 1.3}, {"A": 30, "B": 1.8}),
        gemm_bars.Bar("one launch vs op by op, every case", "one_launch", tuple(cases), ONE_LAUNCH, ONE_LAUNCH_STRETCH),
        gemm_bars.Bar("one launch vs op by op, decode, batch 1", "one_launch", tuple(decode(1, c) for c in CONTEXTS),
                      gemm_bars.both(1.05), gemm_bars.both(1.1)),
        gemm_bars.Bar("a step without tracing vs with it", "traced", (TRACED,), gemm_bars.both(0.99), gemm_bars.both(1)),
    ]


# ---- perf-layer -------------------------------------------------------------------------------------
def layer_case(rows):
    """Few rows are sequences that decode, many a prompt; perf/model/options.cc has the same limit."""
    return Case("decode", 1, rows, LAYER_CONTEXT) if rows < LAYER_PROMPT else Case("prefill", rows)


def layer_bars(cases):
    return [
        gemm_bars.Bar("Llama-70B layer M=1: share of the DRAM read rate", "read", (layer_case(1),),
                      gemm_bars.both(0.90), gemm_bars.both(0.95)),
        gemm_bars.Bar("one launch vs op by op, every M", "one_launch", tuple(cases), ONE_LAUNCH, ONE_LAUNCH_STRETCH),
    ]
