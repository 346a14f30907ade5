#include "perf/runner/options.h"

#include <getopt.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace tw::perf {

namespace {

const char kHelp[] =
    "  -b BYTES       smallest size (default 8); K, M, G are understood\n"
    "  -e BYTES       largest size (default 64M)\n"
    "  -f FACTOR      from one size to the next (default 2)\n"
    "  -i BYTES       add BYTES from one size to the next instead\n"
    "  -n COUNT       iterations a batch (default 0: enough for 2 ms)\n"
    "  -w COUNT       warm-up iterations before the first batch (default 1)\n"
    "  -d TYPE        fp32, bf16, ... or nccl-tests' float, bfloat16, ...; or all (default fp32)\n"
    "  -o OP          sum prod min max avg all (default sum)\n"
    "  -r ROOT        root of rooted ops (default 0)\n"
    "  -c 0|1         check results (default 1)\n"
    "  -z 0|1         1: blocking calls (default); 0: queue them on a stream, one wait a batch\n"
    "  -g COUNT       ranks in this process, as threads (default 1)\n"
    "  --batches N    the time is the median of N batches (default 11)\n"
    "  --raw          time the call alone: no writing of its input, no reading of its output\n"
    "  --rotate N     go through N sets of buffers in turn (default 1)\n"
    "  --buffers window|private   what the buffers are (default window)\n"
    "  --place both|in|out        in place, out of place (default both)\n"
    "  --bind core|none           a rank to a core when there are enough (default core)\n"
    "  --alone        a world of one rank is what I want\n"
    "  --json FILE    append one object a measurement\n"
    "  --op NAME      which op (default: from the program's name)\n"
    "  --serve DIR    take cases from pipes in DIR (for tools/perf_coll)\n";

[[noreturn]] void fail(const char* program, const std::string& what) {
  std::fprintf(stderr, "%s: %s (see --help)\n", program, what.c_str());
  std::exit(2);
}

const Op* op_of_program(const char* path) {
  const char* slash = std::strrchr(path, '/');
  std::string name = slash ? slash + 1 : path;
  const size_t suffix = name.rfind("_perf");
  if (suffix != std::string::npos) name.resize(suffix);
  return find_op(name.c_str());
}

bool parse_int(const char* text, int low, int high, int* value) {
  char* end = nullptr;
  const long parsed = std::strtol(text, &end, 10);
  if (end == text || *end || parsed < low || parsed > high) return false;
  *value = static_cast<int>(parsed);
  return true;
}

bool parse_types(const char* text, std::vector<tw_type_t>* types) {
  types->clear();
  for (const TypeRow* row = kTypes; row->name; ++row)
    if (!std::strcmp(text, "all")) types->push_back(row->type);
  if (const TypeRow* row = find_type(text)) types->push_back(row->type);
  return !types->empty();
}

bool parse_redops(const char* text, std::vector<tw_op_t>* redops) {
  redops->clear();
  for (const RedopRow* row = kRedops; row->name; ++row)
    if (!std::strcmp(text, "all") || !std::strcmp(text, row->name)) redops->push_back(row->redop);
  return !redops->empty();
}

// One of two words, as a bool: whether it is the first.
bool parse_word(const char* text, const char* yes, const char* no, bool* value) {
  *value = !std::strcmp(text, yes);
  return *value || !std::strcmp(text, no);
}

enum Long { kBatches = 256, kRaw, kRotate, kBuffers, kPlace, kBind, kAlone, kJson, kOp, kServe };

const option kLong[] = {
    {"batches", required_argument, nullptr, kBatches},
    {"raw", no_argument, nullptr, kRaw},
    {"rotate", required_argument, nullptr, kRotate},
    {"buffers", required_argument, nullptr, kBuffers},
    {"place", required_argument, nullptr, kPlace},
    {"bind", required_argument, nullptr, kBind},
    {"alone", no_argument, nullptr, kAlone},
    {"json", required_argument, nullptr, kJson},
    {"op", required_argument, nullptr, kOp},
    {"serve", required_argument, nullptr, kServe},
    {"help", no_argument, nullptr, 'h'},
    {nullptr, 0, nullptr, 0},
};

bool parse_placement(const char* text, Placement* placement) {
  if (!std::strcmp(text, "both")) return *placement = Placement::kBoth, true;
  if (!std::strcmp(text, "in")) return *placement = Placement::kInPlace, true;
  if (!std::strcmp(text, "out")) return *placement = Placement::kOutOfPlace, true;
  return false;
}

bool parse_factor(const char* text, double* factor) {
  char* end = nullptr;
  *factor = std::strtod(text, &end);
  return end != text && !*end && *factor > 1;
}

// Whether `value` is valid for `letter`.
bool take(Options* o, int letter, const char* value) {
  bool flag = false;
  switch (letter) {
    case 'b':
      return parse_size(value, &o->min_bytes);
    case 'e':
      return parse_size(value, &o->max_bytes);
    case 'i':
      return parse_size(value, &o->step_bytes);
    case 'f':
      return parse_factor(value, &o->factor);
    case 'n':
      return parse_int(value, 0, 1 << 30, &o->loop.iterations);
    case 'w':
      return parse_int(value, 0, 1 << 30, &o->loop.warm);
    case 'd':
      return parse_types(value, &o->types);
    case 'o':
      return parse_redops(value, &o->redops);
    case 'r':
      return parse_int(value, 0, 1 << 20, &o->root);
    case 'c':
      return parse_word(value, "1", "0", &o->check);
    case 'z':
      if (!parse_word(value, "0", "1", &flag)) return false;
      o->loop.queued = o->backend.queued = flag;
      return true;
    case 'g':
      return parse_int(value, 1, 64, &o->backend.threads);
    case kBatches:
      return parse_int(value, 1, 1 << 20, &o->loop.batches);
    case kRaw:
      return o->loop.raw = true;
    case kRotate:
      return parse_int(value, 1, 1 << 10, &o->rotate);
    case kBuffers:
      if (!parse_word(value, "window", "private", &flag)) return false;
      o->backend.memory = flag ? Memory::kWindow : Memory::kPrivate;
      return true;
    case kPlace:
      return parse_placement(value, &o->placement);
    case kBind:
      return parse_word(value, "core", "none", &o->bind);
    case kAlone:
      return o->alone = true;
    case kJson:
      o->json = value;
      return true;
    case kServe:
      o->serve = value;
      return true;
    case kOp:
      return (o->op = find_op(value)) != nullptr;
    default:
      return false;
  }
}

}  // namespace

bool parse_size(const char* text, size_t* bytes) {
  char* end = nullptr;
  const unsigned long long number = std::strtoull(text, &end, 10);
  if (end == text) return false;
  int shift = 0;
  switch (*end) {
    case 'k':
    case 'K':
      shift = 10;
      break;
    case 'm':
    case 'M':
      shift = 20;
      break;
    case 'g':
    case 'G':
      shift = 30;
      break;
    default:
      break;
  }
  if (shift) ++end;
  if (*end == 'B' || *end == 'b') ++end;
  *bytes = static_cast<size_t>(number) << shift;
  return !*end;
}

std::vector<size_t> Options::sizes() const {
  std::vector<size_t> sizes;
  for (size_t bytes = min_bytes; bytes <= max_bytes;) {
    sizes.push_back(bytes);
    const size_t next =
        step_bytes ? bytes + step_bytes : static_cast<size_t>(static_cast<double>(bytes) * factor);
    bytes = next > bytes ? next : bytes + 1;
  }
  return sizes;
}

Options parse_options(int argc, char** argv) {
  Options options;
  options.op = op_of_program(argv[0]);
  for (;;) {
    const int letter = getopt_long(argc, argv, "b:e:f:i:n:w:d:o:r:c:z:g:h", kLong, nullptr);
    if (letter == -1) break;
    if (letter == '?') std::exit(2);
    if (letter == 'h') {
      std::printf("%s [options]\n%s", argv[0], kHelp);
      std::exit(0);
    }
    if (!take(&options, letter, optarg))
      fail(argv[0], std::string("invalid value \"") + (optarg ? optarg : "") + "\"");
  }
  if (optind < argc) fail(argv[0], std::string("unknown argument ") + argv[optind]);
  if (!options.op && options.serve.empty()) fail(argv[0], "which op? say --op NAME");
  if (options.min_bytes > options.max_bytes) fail(argv[0], "-b is larger than -e");
  return options;
}

}  // namespace tw::perf
