#include "lib/coll/describe.h"

#include <cstdint>

#include "lib/base/config.h"
#include "lib/base/error.h"
#include "lib/coll/choice.h"

namespace tw {
namespace {

std::string size_text(size_t bytes) {
  const char* const units[] = {"", "K", "M", "G"};
  int unit = 0;
  for (; bytes != 0 && bytes % 1024 == 0 && unit < 3; ++unit) bytes /= 1024;
  return text("%zu%s", bytes, units[unit]);
}

/// "direct step 128K".
std::string choice_text(const ChoiceLine& line) {
  std::string out = name_of(line.algo);
  if (line.store != StorePolicy::kPlain) out += std::string(" ") + name_of(line.store);
  if (line.chunk != 0) out += " step " + size_text(line.chunk);
  return out;
}

/// One line for each op and ranks class, its choices by size.
std::string table_text(const std::vector<ChoiceLine>& lines) {
  std::string out;
  const ChoiceLine* before = nullptr;
  for (const ChoiceLine& line : lines) {
    const bool same = before != nullptr && before->op == line.op && before->ranks == line.ranks;
    if (same)
      out += "; ";
    else
      out += text("%s  %-16s %-5s ", before == nullptr ? "" : "\n", name_of(line.op),
                  name_of(line.ranks));
    const bool no_end = line.up_to == 0 || line.up_to == SIZE_MAX;
    if (!no_end)
      out += "to " + size_text(line.up_to) + " ";
    else if (same)
      out += "then ";
    out += choice_text(line);
    before = &line;
  }
  return out + "\n";
}

/// The same for fused calls.
std::string fused_text(const std::vector<FusedLine>& lines) {
  if (lines.empty()) return "  all in one kernel: small reductions one_shot, others via_owner\n";
  std::string out;
  const FusedLine* before = nullptr;
  for (const FusedLine& line : lines) {
    const bool same = before != nullptr && before->op == line.op && before->ranks == line.ranks;
    out += same ? "; "
                : text("%s  %-20s %-5s ", before == nullptr ? "" : "\n", name_of(line.op),
                       name_of(line.ranks));
    if (line.up_to != SIZE_MAX)
      out += "to " + size_text(line.up_to) + " ";
    else if (same)
      out += "then ";
    out += name_of(line.how);
    before = &line;
  }
  return out + "\n";
}

}  // namespace

std::string describe_choices() {
  const Machine& mine = this_machine();
  std::string out =
      text("this CPU   %s: row \"%s\" (%s)\n", cpu_description().c_str(), mine.name, mine.origin);
  for (const char* name : {"TW_COLL_ALGO", "TW_COLL_STORE", "TW_COLL_CHUNK", "TW_COLL_BLOCKS",
                           "TW_FUSED", "TW_FUSED_PATH"})
    if (config::is_set(name)) out += text("forced     %s=%s\n", name, config::string(name).c_str());
  out +=
      "ranks      two = two ranks with a core each, fits = more with a core each, over = more "
      "ranks than cores\n";
  out += "by bytes of one rank's message; stores are plain where nothing else is said:\n";
  out += table_text(mine.lines);
  out += "fused calls, by bytes of their m x n results:\n" + fused_text(mine.fused);
  out += "other rows";
  for (const Machine& machine : machines())
    if (&machine != &mine) out += text(" %s (%s)", machine.name, machine.origin);
  return out + "\n";
}

}  // namespace tw
