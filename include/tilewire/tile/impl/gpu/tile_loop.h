// Loops over tiles and items: numbers come from Block::take, `Of` makes of a number what is asked.
#pragma once

#include <cstdint>

#include "tilewire/tile/grid.h"
#include "tilewire/tile/target.h"

namespace TW_NS {

template <class Block, class Of>
class TileLoop {
 public:
  TW_FN TileLoop(Block& block, uint32_t n, int phase, Of of)
      : block_(block), n_(n), phase_(phase), of_(of) {}
  struct End {};
  /// The next number is taken where the loop asks whether there is one: the only place, since what
  /// taking is compiled to is long.
  class Iterator {
   public:
    TW_FN explicit Iterator(TileLoop& loop) : loop_(loop) {}
    TW_FN Iterator& operator++() { return *this; }
    TW_FN auto operator*() const { return loop_.of_(number_); }
    TW_FN bool operator!=(End /*end*/) {
      number_ = loop_.block_.take(loop_.phase_, loop_.n_);
      return number_ < loop_.n_;
    }

   private:
    TileLoop& loop_;
    uint32_t number_ = 0;
  };
  TW_FN Iterator begin() { return Iterator(*this); }
  TW_FN End end() const { return {}; }

 private:
  Block& block_;
  uint32_t n_;
  int phase_;
  Of of_;
};

struct TileOf {
  TilePart part;
  TW_FN Tile operator()(uint32_t number) const { return part.at(number); }
};
struct ItemOf {
  TW_FN uint32_t operator()(uint32_t number) const { return number; }
};

}  // namespace TW_NS
