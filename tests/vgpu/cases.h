// Conformance cases of instructions whose lanes are independent of each other: the instruction's
// text and a reference in C++, from the PTX manual's words.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace tw::test {

/// A type of PTX registers for the cases. kPred results are 0 and 1.
enum class Kind : uint8_t { kInteger, kFloat, kHalf, kBfloat, kHalfPair, kBfloatPair, kPredicate };

struct Half {
  uint16_t bits;
};
struct Bfloat {
  uint16_t bits;
};
struct HalfPair {
  uint32_t bits;
};
struct BfloatPair {
  uint32_t bits;
};

struct Operand {
  int bytes;
  Kind kind;
};

template <class T>
constexpr Operand operand_of() {
  if constexpr (std::is_same_v<T, bool>)
    return {4, Kind::kPredicate};
  else if constexpr (std::is_same_v<T, Half>)
    return {2, Kind::kHalf};
  else if constexpr (std::is_same_v<T, Bfloat>)
    return {2, Kind::kBfloat};
  else if constexpr (std::is_same_v<T, HalfPair>)
    return {4, Kind::kHalfPair};
  else if constexpr (std::is_same_v<T, BfloatPair>)
    return {4, Kind::kBfloatPair};
  else
    return {sizeof(T), std::is_floating_point_v<T> ? Kind::kFloat : Kind::kInteger};
}

template <class T>
T from_bits(uint64_t bits) {
  if constexpr (std::is_same_v<T, bool>) {
    return bits & 1;
  } else {
    T value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }
}

template <class T>
uint64_t to_bits(T value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value ? 1 : 0;
  } else {
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    return bits;
  }
}

/// `text` has $d for the result and $a $b $c $e for the sources.
struct Case {
  std::string text;
  Operand result;
  std::vector<Operand> sources;
  uint64_t (*reference)(const void* function, const uint64_t* sources);
  const void* function;
  double tolerance = 0;  // relative, for approximations
};

template <class D, class... S>
Case make_case(const char* text, D (*function)(S...), double tolerance = 0) {
  const auto reference = [](const void* stored, const uint64_t* sources) -> uint64_t {
    const auto call = reinterpret_cast<D (*)(S...)>(reinterpret_cast<uintptr_t>(stored));
    return [&]<size_t... I>(std::index_sequence<I...>) {
      return to_bits<D>(call(from_bits<S>(sources[I])...));
    }
    (std::index_sequence_for<S...>());
  };
  return {text,
          operand_of<D>(),
          {operand_of<S>()...},
          reference,
          reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(function)),
          tolerance};
}

/// The tables, by family.
std::vector<Case> integer_cases();
std::vector<Case> bit_cases();
std::vector<Case> float_cases();
std::vector<Case> small_float_cases();
std::vector<Case> compare_cases();
std::vector<Case> convert_cases();

}  // namespace tw::test
