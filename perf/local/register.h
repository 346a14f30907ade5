// A benchmark made at run time: a name and what it does.
#pragma once

#include <benchmark/benchmark.h>

#include <functional>
#include <string>
#include <utility>

namespace tw::perf {

using Body = std::function<void(benchmark::State&)>;

class Loop final : public benchmark::internal::Benchmark {
 public:
  Loop(const std::string& name, Body body) : Benchmark(name.c_str()), body_(std::move(body)) {}
  void Run(benchmark::State& state) override { body_(state); }

 private:
  Body body_;
};

inline benchmark::internal::Benchmark* register_loop(const std::string& name, Body body) {
  // NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDeleteLeaks): the library's registry owns it
  return benchmark::internal::RegisterBenchmarkInternal(new Loop(name, std::move(body)));
}

}  // namespace tw::perf
