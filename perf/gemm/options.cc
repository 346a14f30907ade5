#include "perf/gemm/options.h"

#include <getopt.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace tw::perf {

namespace {

const char kHelp[] =
    "  -m ROWS[,ROWS...]   rows of all ranks together (default 512,64,8,1)\n"
    "  -n COLUMNS          of the product, at least 1 (default 4096)\n"
    "  -k K                of a rank, at least 1 (default 8192)\n"
    "  --copies COUNT      of the weights, used in turn (default: twice the last cache)\n"
    "  --cores COUNT       of a rank (default 1)\n"
    "  --iterations COUNT  a batch (default: enough for 2 ms)\n"
    "  --batches COUNT     the time is their median (default 11)\n"
    "  --check 0|1         check results (default 1)\n"
    "  --bind 0|1          ranks stay on their cores when there are enough (default 1)\n"
    "  --serve DIR         take cases from pipes in DIR (for tools/perf_gemm, perf_fused)\n";

[[noreturn]] void fail(const char* program, const std::string& what) {
  std::fprintf(stderr, "%s: %s (see --help)\n", program, what.c_str());
  std::exit(2);
}

bool parse_number(const char* text, unsigned long long high, unsigned long long* value) {
  char* end = nullptr;
  *value = std::strtoull(text, &end, 10);
  return end != text && !*end && *value <= high && *text != '-';
}

bool parse_sizes(const std::string& text, std::vector<size_t>* sizes) {
  sizes->clear();
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    unsigned long long value = 0;
    if (!parse_number(text.substr(at, end - at).c_str(), 1ull << 31, &value)) return false;
    sizes->push_back(value);
    at = end + 1;
  }
  return true;
}

const GemmOp* op_of_program(const char* path) {
  const char* slash = std::strrchr(path, '/');
  std::string name = slash ? slash + 1 : path;
  const size_t suffix = name.rfind("_perf");
  if (suffix != std::string::npos) name.resize(suffix);
  return find_gemm_op(name.c_str());
}

enum Long { kCopies = 256, kCores, kIterations, kBatches, kCheck, kBind, kServe };

const option kLong[] = {
    {"copies", required_argument, nullptr, kCopies},
    {"cores", required_argument, nullptr, kCores},
    {"iterations", required_argument, nullptr, kIterations},
    {"batches", required_argument, nullptr, kBatches},
    {"check", required_argument, nullptr, kCheck},
    {"bind", required_argument, nullptr, kBind},
    {"serve", required_argument, nullptr, kServe},
    {"help", no_argument, nullptr, 'h'},
    {nullptr, 0, nullptr, 0},
};

// "-n" or "--cores".
std::string name_of(int letter) {
  for (const option* o = kLong; letter >= kCopies && o->name != nullptr; ++o)
    if (o->val == letter) return std::string("--") + o->name;
  return {'-', static_cast<char>(letter)};
}

// Whether `value` is valid for `letter`.
bool take(GemmOptions* o, int letter, const char* value) {
  if (letter == kServe) return o->serve = value, true;
  if (letter == 'm') return parse_sizes(value, &o->m);
  unsigned long long number = 0;
  if (!parse_number(value, 1ull << 31, &number)) return false;
  const int small = static_cast<int>(number & 0xffffff);
  switch (letter) {
    case 'n':
      return (o->n = number) > 0;
    case 'k':
      return (o->k = number) > 0;
    case kCopies:
      return (o->copies = small) > 0;
    case kCores:
      return (o->cores = small) > 0;
    case kIterations:
      return (o->loop.iterations = small) > 0;
    case kBatches:
      return (o->loop.batches = small) > 0;
    case kCheck:
      o->check = number != 0;
      return number <= 1;
    case kBind:
      o->bind = number != 0;
      return number <= 1;
    default:
      return false;
  }
}

}  // namespace

GemmOptions parse_gemm_options(int argc, char** argv) {
  GemmOptions options;
  options.op = op_of_program(argv[0]);
  for (;;) {
    const int letter = getopt_long(argc, argv, "m:n:k:h", kLong, nullptr);
    if (letter == -1) break;
    if (letter == '?') std::exit(2);
    if (letter == 'h') {
      std::printf("%s [options]\n%s", argv[0], kHelp);
      std::exit(0);
    }
    if (!take(&options, letter, optarg))
      fail(argv[0], "invalid value \"" + std::string(optarg) + "\" of " + name_of(letter));
  }
  if (optind < argc) fail(argv[0], std::string("unknown argument ") + argv[optind]);
  if (!options.op && options.serve.empty())
    fail(argv[0], "no op is called as this program; build/perf/gemm_perf is one");
  return options;
}

}  // namespace tw::perf
