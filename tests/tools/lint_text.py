"""The checks of `make lint` that read text: include arrows, budgets, contracts, house rules."""

import os
import re

# ---- Include arrows: api -> model -> {program, coll} -> comm -> {net, topo, boot} -> device -> base ----
LEVELS = {"api": 6, "model": 5, "program": 4, "coll": 4, "comm": 3, "net": 2, "topo": 2, "boot": 2, "device": 1, "base": 0}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
PUBLIC = re.compile(r"^tilewire(\.h$|/)")
# What a kernel may see: the tile layer, argument structs, and the views that users' kernels take.
KERNEL_SEES = re.compile(r"^(tilewire/(tile/(?!impl/)|kernels/|\w+_device\.h$)|kernels/)")
# Third-party headers and the only folders that may include them.
OWNERS = {
    "hwloc.h": ("lib/topo/",),
    "sodium.h": ("lib/boot/", "lib/net/", "lib/base/", "tests/"),
    "pcre2.h": ("lib/text/",),
    "mpi.h": ("include/tilewire/mpi.h", "perf/", "tests/"),
    "cuda.h": ("lib/vgpu/driver/", "tests/vgpu"), "cuda_runtime.h": (),
    "dlfcn.h": ("lib/device/", "lib/net/", "lib/base/", "tests/", "perf/"),
}


def side(path):
    """'gpu' or 'cpu' when a folder or the file's name says so."""
    parts = re.split(r"[/_.]", path)
    return "gpu" if "gpu" in parts else "cpu" if "cpu" in parts else ""


def layer(path):
    match = re.match(r"lib/(\w+)/", path)
    return match.group(1) if match else ""


def arrow(path, quote, target):
    """Why `path` may not include `target`, or ''."""
    base = os.path.basename(target)
    if base in OWNERS and quote == "<" and not path.startswith(OWNERS[base]):
        return f"<{base}> belongs to {', '.join(OWNERS[base]) or 'nobody (driver API through dlopen)'}"
    if quote == "<":
        return ""
    if path.startswith(("lib/", "include/", "kernels/")) and {side(path), side(target)} == {"gpu", "cpu"}:
        return "the gpu and cpu sides never include each other"
    # An example is a user's program: its own folder is its root.
    if path.startswith("tests/examples/") and os.path.exists(os.path.join(os.path.dirname(path), target)):
        return ""
    if not PUBLIC.match(target) and not os.path.exists(target):
        return f'"{target}" is neither a public header nor a path from the root'
    if path.startswith("kernels/") and not KERNEL_SEES.match(target):
        return "kernels see only tilewire/tile, tilewire/kernels and the device views"
    if path.startswith("include/") and not PUBLIC.match(target):
        return "public headers include only public headers"
    # make tune measures the choice table, which the public API does not show.
    tunes = path == "perf/tune.cc" and layer(target) == "coll"
    # The programs' own text and tokens: no part of the library. A model's file holds the vocabulary.
    tokens = path.startswith("lib/cli/") and (layer(target) == "text" or target == "lib/model/file.h")
    if path.startswith(("lib/cli/", "tests/examples/", "perf/")) and layer(target) not in ("", "cli") and not tunes and not tokens:
        return "programs, examples and perf use the public API only"
    mine, other = layer(path), layer(target)
    # What is known of tokens: read from files by the one, used by the other.
    if mine == "model" and target == "lib/text/vocabulary.h":
        return ""
    if mine == "vgpu" and other not in ("", "vgpu", "base"):
        return f"lib/vgpu may not include lib/{other}"
    if other == "vgpu" and mine != "vgpu" and not path.startswith("tests/vgpu"):
        return "only lib/vgpu and its tests include lib/vgpu"
    if mine == "text" and other not in ("", "text", "base"):
        return f"lib/text may not include lib/{other}"
    if mine in LEVELS and other in LEVELS and mine != other and LEVELS[other] >= LEVELS[mine]:
        return f"lib/{mine} may not include lib/{other}"
    if mine in LEVELS and other and other not in LEVELS:
        return f"the library may not include lib/{other}"
    return ""


def check_includes(path, lines):
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if match:
            why = arrow(path, match.group(1), match.group(2))
            if why:
                yield f"{path}:{number}: include arrow: {why}: {line.strip()}"


# ---- Budgets ----------------------------------------------------------------------------------------
FILE_GUIDE, FILE_CAP, FUNCTION_GUIDE, FUNCTION_CAP, COLUMNS = 400, 800, 40, 100, 100
NOT_A_FUNCTION = re.compile(r"^\s*(namespace|class|struct|enum|union|if|for|while|switch|do|else|try|return|extern|typedef)\b|\]\s*\(|= *\{$")


def functions(lines):
    """(first line, length, name) of each function in clang-formatted text."""
    begin = 0
    end_of_last = 0
    for number, line in enumerate(lines, 1):
        text = line.rstrip()
        if not text or text.lstrip().startswith(("//", "#", "*", "/*")) or text.endswith((";", "}", ":")):
            begin = 0
            continue
        begin = begin or number
        if not text.endswith("{"):
            continue
        head, first = " ".join(l.strip() for l in lines[begin - 1:number]), begin
        indent = len(lines[begin - 1]) - len(lines[begin - 1].lstrip())
        begin = 0
        if number <= end_of_last or "(" not in head or NOT_A_FUNCTION.search(head):
            continue
        close = next((n for n in range(number + 1, len(lines) + 1) if lines[n - 1].startswith(" " * indent + "}")), number)
        name = re.search(r"([~\w:]+(?:<[^()]*>)?|operator\S+)\s*\(", head)
        yield first, close - first + 1, name.group(1) if name else head[:40]
        end_of_last = close


def check_budgets(path, lines, guides):
    if len(lines) > FILE_CAP:
        yield f"{path}: budget: {len(lines)} lines, the cap is {FILE_CAP}"
    elif len(lines) > FILE_GUIDE:
        guides.append(f"{path}: {len(lines)} lines")
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS:
            yield f"{path}:{number}: budget: {len(line)} columns, the cap is {COLUMNS}"
    if path.endswith(".def"):
        return
    for number, length, name in functions(lines):
        if length > FUNCTION_CAP:
            yield f"{path}:{number}: budget: {name} has {length} lines, the cap is {FUNCTION_CAP}"
        elif length > FUNCTION_GUIDE:
            guides.append(f"{path}:{number}: {name} has {length} lines")


# ---- Contracts: a public function has a comment right above it or above the group it stands in --------
PUBLIC_FUNCTION = re.compile(r"^\s*(TW_API|TW_FN)\b")
ACCESSOR = re.compile(r"\) const { return [\w.]+; }$")  # of a member: its name says what it is


def check_contracts(path, lines):
    if not path.startswith("include/") or "/impl/" in path:
        return
    described = inside = private = False
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if re.match(r"(private|protected|public):", text):
            private = not text.startswith("public")
        elif line.startswith("};"):
            private = False
        if not text:
            described = False
        elif text.startswith(("//", "/*", "*")):
            described = True
        elif PUBLIC_FUNCTION.match(line) and not (inside or private or described or ACCESSOR.search(text)):
            yield f"{path}:{number}: contract: a public function without a comment: {text}"
        inside = bool(text) and not text.endswith((";", "}", "{", "*/", ":")) and not text.startswith(("#", "//", "*", "template"))


# ---- House rules ------------------------------------------------------------------------------------
ASM = re.compile(r"\b(asm|__asm__)\s*(volatile|__volatile__)?\s*\(")
NOLINT = re.compile(r"NOLINT(NEXTLINE|BEGIN|END)?\b(\([^)]*\))?(.*)$")
KERNEL_WORDS = re.compile(r"\b(threadIdx|blockIdx|__shared__|__global__|__device__|_mm\d*_\w+)\b|^\s*#\s*if")
LEAK = re.compile(re.escape(os.getcwd()) + "/")


def check_house(path, lines):
    if not re.fullmatch(r"[a-z0-9_/.]+", path):
        yield f"{path}: name: sources are snake_case"
    for number, line in enumerate(lines, 1):
        at = f"{path}:{number}:"
        match = NOLINT.search(line)
        if match and match.group(1) != "END":
            reason = re.sub(r"^[\s:*/-]+", "", match.group(3))
            if not match.group(2) or len(reason) < 8:
                yield f"{at} NOLINT needs the check's name and a reason: NOLINT(check): reason"
        if ASM.search(line) and not path.startswith(("include/tilewire/tile/impl/gpu/ptx/", "tests/")):
            yield f"{at} asm lives in include/tilewire/tile/impl/gpu/ptx only"
        if path.startswith("kernels/") and path.endswith(".cu") and KERNEL_WORDS.search(line):
            yield f"{at} kernels hold no CUDA or CPU names and no #if: {line.strip()}"
        if re.search(r"\bTODO\b(?!\([^)]+\))", line):
            yield f"{at} TODO only with its condition: TODO(when ...)"
        if LEAK.search(line):
            yield f"{at} a path of one machine"


def run(names):
    findings, guides = [], []
    for path in names:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
        findings += check_includes(path, lines)
        findings += check_budgets(path, lines, guides)
        findings += check_contracts(path, lines)
        findings += check_house(path, lines)
    for guide in guides:
        print(f"guide: {guide} (guides: {FILE_GUIDE} a file, {FUNCTION_GUIDE} a function)")
    return findings
