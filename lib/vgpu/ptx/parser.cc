// A module's top level: directives, variables, functions.
#include "lib/vgpu/ptx/body.h"
#include "lib/vgpu/ptx/cursor.h"
#include "lib/vgpu/ptx/declaration.h"
#include "lib/vgpu/ptx/module.h"

namespace tw::vgpu::ptx {
namespace {

class Parser {
 public:
  explicit Parser(Module* module) : module_(*module), cursor_(module->text) {}

  void parse() {
    while (!cursor_.at_end()) top_level();
    if (module_.version == 0) cursor_.fail("a module without .version");
    if (module_.target.empty()) cursor_.fail("a module without .target");
  }

 private:
  void top_level() {
    const int line = cursor_.line();
    const std::string_view word = cursor_.token().text;
    Space space;
    if (cursor_.take_if(".version")) {
      version(line);
    } else if (cursor_.take_if(".target")) {
      module_.target = cursor_.expect_word("a target");
      while (cursor_.take_if(',')) cursor_.expect_word("an option of .target");
    } else if (cursor_.take_if(".address_size")) {
      if (cursor_.expect_integer("64") != 64) throw Error(line, ".address_size must be 64");
    } else if (cursor_.take_if(".file")) {
      file(line);
    } else if (cursor_.take_if(".section")) {
      section();
    } else if (word == ".visible" || word == ".extern" || word == ".weak" || word == ".common") {
      is_extern_ = is_extern_ || word == ".extern";
      cursor_.take();
    } else if (cursor_.token().is(".entry") || cursor_.token().is(".func")) {
      function();
    } else if (word.size() > 1 && space_named(word.substr(1), &space)) {
      variables();
    } else if (cursor_.take_if(';')) {
      return;
    } else {
      cursor_.fail("not known at the top level of a module");
    }
  }

  void version(int line) {
    // "9.0" reads as the integer 9 and the word ".0".
    const uint64_t major = cursor_.expect_integer("a version");
    const std::string_view minor = cursor_.expect_word("a version");
    module_.version = static_cast<int>(major) * 10 + (minor.size() == 2 ? minor[1] - '0' : 0);
    if (major < 6 || major > 9)
      throw Error(line, "PTX version " + std::to_string(major) + ": valid are 6.0 to 9.9");
  }

  void file(int line) {
    const uint64_t number = cursor_.expect_integer("a file's number");
    if (cursor_.token().kind != Token::Kind::kString) cursor_.fail("expected a file's name");
    const std::string_view name = cursor_.take().text;
    if (number > 1 << 16) throw Error(line, "more than 2^16 files");
    if (module_.files.size() <= number) module_.files.resize(number + 1);
    module_.files[number] = name;
    cursor_.skip_line(line);
  }

  void section() {
    cursor_.expect_word("a section's name");
    cursor_.expect('{');
    while (!cursor_.take_if('}')) {
      if (cursor_.at_end()) cursor_.fail("a .section without an end");
      cursor_.take();
    }
  }

  void variables() {
    for (Variable& variable : parse_declaration(cursor_, true)) {
      variable.is_extern = is_extern_;
      module_.variables.push_back(std::move(variable));
    }
    cursor_.expect(';');
    is_extern_ = false;
  }

  int product() {
    uint64_t result = cursor_.expect_integer("a number");
    while (cursor_.take_if(',')) result *= cursor_.expect_integer("a number");
    if (result > 1 << 20) cursor_.fail("a size above 2^20");
    return static_cast<int>(result);
  }

  /// A directive between a function's parameters and its body; false when none stands there.
  bool tuning(Function* function) {
    if (cursor_.take_if(".maxntid"))
      function->max_threads = product();
    else if (cursor_.take_if(".reqntid"))
      function->required_threads = product();
    else if (cursor_.take_if(".minnctapersm"))
      function->min_blocks = product();
    else if (cursor_.take_if(".maxnctapersm"))
      product();
    else if (cursor_.take_if(".maxnreg"))
      function->max_registers = product();
    else if (cursor_.take_if(".reqnctapercluster"))
      function->cluster_blocks = product();
    else if (cursor_.take_if(".maxclusterrank"))
      product();
    else if (cursor_.take_if(".explicitcluster") || cursor_.take_if(".noreturn"))
      return true;
    else if (cursor_.take_if(".pragma"))
      while (!cursor_.take_if(';')) cursor_.take();
    else
      return false;
    return true;
  }

  void function() {
    Function function;
    function.line = cursor_.line();
    function.is_entry = cursor_.take().text == ".entry";
    is_extern_ = false;
    if (!function.is_entry) function.results = parse_parameters(cursor_);
    function.name = cursor_.expect_word("a function's name");
    function.parameters = parse_parameters(cursor_);
    while (tuning(&function)) {
    }
    function.has_body = cursor_.take_if('{');
    if (function.has_body)
      parse_body(cursor_, &function);
    else
      cursor_.expect(';');
    module_.functions.push_back(std::move(function));
  }

  Module& module_;
  Cursor cursor_;
  bool is_extern_ = false;
};

}  // namespace

const Function* Module::function(std::string_view name) const {
  const Function* declared = nullptr;
  for (const Function& function : functions) {
    if (function.name != name) continue;
    if (function.has_body) return &function;
    declared = &function;
  }
  return declared;
}

std::unique_ptr<Module> parse(std::string text) {
  auto module = std::make_unique<Module>();
  module->text = std::move(text);
  Parser(module.get()).parse();
  return module;
}

}  // namespace tw::vgpu::ptx
