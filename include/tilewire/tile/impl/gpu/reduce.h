// The loop of every reduction on GPUs: n sources, in order, into m destinations; sources and
// destinations are memory or inboxes of packets.
//
// A thread works on units: 16 bytes of memory (8 of 8-bit types), or the 8 of a packet. What it
// reads runs kAhead reads ahead of what it adds, across sources and units, so that reads of peers
// overlap; packets that had not come by then are polled again when their turn is there.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/impl/gpu/copy.h"
#include "tilewire/tile/impl/gpu/lanes.h"
#include "tilewire/tile/impl/gpu/shared.h"

namespace TW_NS {

// ---- Ragged accesses: `n` <= 16 bytes by the widest word that address and size allow ----

/// Loads into the first `n` bytes of a unit; the rest is 0.
TW_FN Raw load_ragged(const Byte* from, int n) {
  Raw raw = {};
  const uintptr_t odd = reinterpret_cast<uintptr_t>(from) | static_cast<uintptr_t>(n);
  if (odd % 4 == 0) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (4 * i < n) raw.w[i] = reinterpret_cast<const uint32_t*>(from)[i];
  } else if (odd % 2 == 0) {
#pragma unroll
    for (int i = 0; i < 8; ++i)
      if (2 * i < n)
        raw.w[i / 2] |= uint32_t{reinterpret_cast<const uint16_t*>(from)[i]} << (i % 2 * 16);
  } else {
#pragma unroll
    for (int i = 0; i < 16; ++i)
      if (i < n) raw.w[i / 4] |= uint32_t{from[i]} << (i % 4 * 8);
  }
  return raw;
}

TW_FN void store_ragged(Byte* to, const Raw& raw, int n) {
  const uintptr_t odd = reinterpret_cast<uintptr_t>(to) | static_cast<uintptr_t>(n);
  if (odd % 4 == 0) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (4 * i < n) reinterpret_cast<uint32_t*>(to)[i] = raw.w[i];
  } else if (odd % 2 == 0) {
#pragma unroll
    for (int i = 0; i < 8; ++i)
      if (2 * i < n)
        reinterpret_cast<uint16_t*>(to)[i] = static_cast<uint16_t>(raw.w[i / 2] >> (i % 2 * 16));
  } else {
#pragma unroll
    for (int i = 0; i < 16; ++i)
      if (i < n) to[i] = static_cast<Byte>(raw.w[i / 4] >> (i % 4 * 8));
  }
}

TW_FN Raw load_unit(const Byte* from, int n) {
  if (n == 16 && aligned(from, 16)) {
    const uint4 v = *reinterpret_cast<const uint4*>(from);
    return {{v.x, v.y, v.z, v.w}};
  }
  if (n == 8 && aligned(from, 8)) {
    const uint2 v = *reinterpret_cast<const uint2*>(from);
    return {{v.x, v.y, 0, 0}};
  }
  return load_ragged(from, n);
}

TW_FN void store_unit(Byte* to, const Raw& raw, int n) {
  if (n == 16 && aligned(to, 16)) {
    *reinterpret_cast<uint4*>(to) = make_uint4(raw.w[0], raw.w[1], raw.w[2], raw.w[3]);
  } else if (n == 8 && aligned(to, 8)) {
    *reinterpret_cast<uint2*>(to) = make_uint2(raw.w[0], raw.w[1]);
  } else {
    store_ragged(to, raw, n);
  }
}

TW_FN Raw raw_of(ptx::Packet p) {
  return {{low_word(p.payload), high_word(p.payload), low_word(p.word), high_word(p.word)}};
}

/// Polls for one packet. False: the comm has failed.
TW_FN bool take_packet(const Byte* from, uint64_t word, int peer, ptx::Packet& p) {
  bool matches = true;
  return poll(peer, 0, word,
              [&](uint64_t& got) {
                p = ptx::load_packet_relaxed_sys(from);
                got = p.word;
                return has_come(got, word, peer, matches);
              }) &&
         matches;
}

/// Units of packets are payloads. Units of memory are aligned at `to`, if that keeps elements
/// whole.
TW_FN Units cut(size_t bytes, size_t element, tw_type_t type, bool packets, const void* to) {
  if (packets) {
    constexpr size_t kUnit = Target::kPacketPayload;
    return {bytes, kUnit, bytes == 0 ? 1 : (bytes + kUnit - 1) / kUnit, kUnit};
  }
  const int unit = is_byte(type) ? 8 : 16;
  const size_t head = to_boundary(to, unit);
  const size_t first = head != 0 && head % element == 0 ? head : unit;
  if (bytes <= first) return {bytes, first, bytes == 0 ? size_t{0} : size_t{1}, unit};
  return {bytes, first, 1 + (bytes - first + unit - 1) / unit, unit};
}

/// One thread's walk over (unit, source).
struct Cursor {
  size_t unit;
  int source;
  TW_FN void step(int sources) {
    if (++source == sources) {
      source = 0;
      unit += Target::kThreads;
    }
  }
};

TW_FN Raw fetch(const Work& work, const Units& units, Cursor at) {
  const Byte* from = in_global(work.source[at.source]);
  if (work.own >= 0 && at.source != work.own)
    return raw_of(ptx::load_packet_relaxed_sys(from + at.unit * Target::kPacketBytes));
  return load_unit(from + units.begin(at.unit), units.size(at.unit));
}

/// Takes the payload of a fetched packet, polling for it when it has not come.
TW_FN bool settle_packet(const Work& work, Cursor at, Raw& raw) {
  ptx::Packet p = {pair(raw.w[0], raw.w[1]), pair(raw.w[2], raw.w[3])};
  if (p.word != work.word && !take_packet(work.source[at.source] + at.unit * Target::kPacketBytes,
                                          work.word, work.peer + at.source, p))
    return false;
  raw = raw_of({p.payload, 0});
  return true;
}

/// A source's elements as accumulators, times its factor: the product is rounded to the type.
/// There is one copy of `widen`, which factor, source and product pass in turn.
TW_FN Lanes widen_source(const Work& work, const Arithmetic& how, int source, const Raw& raw) {
  const bool scaled = work.scaled[source] != 0;
  const uint64_t bits = work.factor[source];
  Raw next = scaled ? Raw{{low_word(bits), high_word(bits), 0, 0}} : raw;
  uint64_t factor = 0;
#pragma unroll 1
  for (int left = scaled ? 2 : 0;; --left) {
    Lanes lanes = widen(how.type, next);
    if (left == 0) return lanes;
    if (left == 2) {
      factor = lanes.q(0);
      next = raw;
    } else {
      multiply(how, lanes, factor);
      next = narrow(how.type, lanes);
    }
  }
}

/// One store to all destinations where it is whole and aligned. All of them have the same offset in
/// a page, so that the multicast address tells their alignment.
TW_FN bool store_everywhere(const Work& work, const Units& units, size_t u, const Raw& raw) {
  if (work.everywhere == nullptr) return false;
  Byte* to = in_global(work.everywhere) + units.begin(u);
  const int n = units.size(u);
  if (n == 16 && aligned(to, 16)) {
    ptx::store_everywhere_weak(to, make_uint4(raw.w[0], raw.w[1], raw.w[2], raw.w[3]));
  } else if (n == 8 && aligned(to, 8)) {
    ptx::store_everywhere_weak(to, make_uint2(raw.w[0], raw.w[1]));
  } else {
    return false;
  }
  return true;
}

TW_FN void store_result(const Work& work, const Units& units, size_t u, const Raw& raw) {
  if (store_everywhere(work, units, u, raw)) return;
#pragma unroll 1
  for (int d = 0; d < work.destinations; ++d) {
    Byte* to = in_global(work.destination[d]);
    if (work.to_inbox) {
      ptx::store_packet_relaxed_sys(to + u * Target::kPacketBytes,
                                    {pair(raw.w[0], raw.w[1]), work.word});
    } else {
      store_unit(to + units.begin(u), raw, units.size(u));
    }
  }
}

/// Does the block's Work; all threads call it after a barrier. False in a thread: the comm has
/// failed.
TW_CALLED_FN bool reduce_units() {
  const Work& work = shared().work;
  const Units& units = work.units;
  const Arithmetic how(work.type, work.op);
  constexpr int kAhead = 3;
  Raw fetched[kAhead] = {};
  int primed = 0;
  Lanes sum = {};
  Cursor ahead{static_cast<size_t>(this_thread()), 0};
  Cursor at = ahead;
#pragma unroll 1
  while (at.unit < units.count) {
    Raw raw = fetched[0];
    fetched[0] = fetched[1];
    fetched[1] = fetched[2];
    if (ahead.unit < units.count) {
      fetched[2] = fetch(work, units, ahead);
      ahead.step(work.sources);
    }
    if (primed < kAhead) {
      ++primed;
      continue;
    }
    if (work.own >= 0 && at.source != work.own && !settle_packet(work, at, raw)) return false;
    const Lanes lanes = widen_source(work, how, at.source, raw);
    if (at.source == 0) {
      sum = lanes;
    } else {
      combine(how, sum, lanes);
    }
    if (at.source == work.sources - 1) {
      if (how.op == TW_AVG) divide(how, sum, work.sources);
      store_result(work, units, at.unit, narrow(how.type, sum));
    }
    at.step(work.sources);
  }
  return true;
}

}  // namespace TW_NS
