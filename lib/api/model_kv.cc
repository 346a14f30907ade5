// Keys and values of models: tilewire/model.h.
#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "lib/api/model.h"

namespace tw::api {
namespace {

constexpr size_t kMostElements = size_t{1} << 48;

void check_pages(uint32_t page_size, uint32_t pages, const char* function) {
  require_range(page_size, 1, 256, function, "page_size");
  require_range(pages, 1, 1 << 30, function, "pages");
}

struct Stride {
  size_t stride;  // elements
  size_t count;
  const char* name;
};

/// Throws unless no two elements meet: ordered by size, each stride steps over all that the smaller
/// ones reach.
void check_strides(const tw_kv_layout_t& layout) {
  std::array<Stride, 3> strides = {{{layout.token, layout.page_size, "token"},
                                    {layout.head, layout.heads, "head"},
                                    {layout.page, layout.pages, "page"}}};
  std::sort(strides.begin(), strides.end(),
            [](const Stride& a, const Stride& b) { return a.stride < b.stride; });
  size_t reach = layout.head_size;
  for (const Stride& s : strides) {
    if (s.count <= 1) continue;
    const size_t most = kMostElements / s.count;
    if (s.stride < reach || s.stride > most)
      fail(TW_ERROR_INVALID_ARGUMENT, "tw_model_kv_bind: layout.%s = %zu; valid: %zu to %zu",
           s.name, s.stride, reach, most);
    reach += (s.count - 1) * s.stride;
  }
}

void check_equal(size_t value, size_t valid, const char* name) {
  if (value != valid)
    fail(TW_ERROR_INVALID_ARGUMENT, "tw_model_kv_bind: layout.%s = %zu; valid: %zu", name, value,
         valid);
}

KvLayout checked_layout(const tw_kv_layout_t* layout, const Model& model) {
  require(layout, "tw_model_kv_bind", "layout");
  const tw_kv_layout_t given =
      versioned(layout, tw_kv_layout_t TW_KV_LAYOUT_INIT, "tw_kv_layout_t");
  check_pages(given.page_size, given.pages, "tw_model_kv_bind");
  KvLayout result = model.kv_layout(given.page_size, given.pages);
  check_equal(static_cast<size_t>(given.type), static_cast<size_t>(result.type), "type");
  check_equal(given.heads, result.heads, "heads");
  check_equal(given.head_size, result.head_size, "head_size");
  check_strides(given);
  result.page = given.page;
  result.head = given.head;
  result.token = given.token;
  return result;
}

std::vector<char*> bases(void* const* layers, size_t count, const char* name) {
  require(layers, "tw_model_kv_bind", name);
  std::vector<char*> result(count);
  for (size_t layer = 0; layer < count; ++layer) {
    if (layers[layer] == nullptr)
      fail(TW_ERROR_INVALID_ARGUMENT,
           "tw_model_kv_bind: %s[%zu] is NULL; valid: memory for a layer", name, layer);
    result[layer] = static_cast<char*>(layers[layer]);
  }
  return result;
}

}  // namespace
}  // namespace tw::api

using namespace tw;       // NOLINT(google-build-using-namespace): entry points of this layer
using namespace tw::api;  // NOLINT(google-build-using-namespace): entry points of this layer

tw_status_t tw_model_kv_layout(tw_model_t model, uint32_t page_size, uint32_t pages,
                               tw_kv_layout_t* layout) {
  return guard([&] {
    const auto pinned = pin(model);
    const Model& m = *pinned;
    require(layout, "tw_model_kv_layout", "layout");
    check_pages(page_size, pages, "tw_model_kv_layout");
    const KvLayout own = m.kv_layout(page_size, pages);
    tw_kv_layout_t told = TW_KV_LAYOUT_INIT;
    told.type = own.type;
    told.page_size = own.page_size;
    told.pages = own.pages;
    told.heads = own.heads;
    told.head_size = own.head_size;
    told.page = own.page;
    told.head = own.head;
    told.token = own.token;
    told.layer_bytes = m.kv_layer_bytes(own);
    answer(layout, told, "tw_kv_layout_t");
  });
}

tw_status_t tw_model_kv_bind(tw_model_t model, const tw_kv_layout_t* layout, void* const* k,
                             void* const* v) {
  return guard([&] {
    const ModelInUse m(model);
    KvMemory memory;
    memory.layout = checked_layout(layout, *m);
    const auto layers = static_cast<size_t>(m->desc().layers);
    memory.k = bases(k, layers, "k");
    memory.v = bases(v, layers, "v");
    m->kv_bind(memory);
  });
}

tw_status_t tw_model_kv_create(tw_model_t model, uint32_t page_size, uint32_t pages) {
  return guard([&] {
    const ModelInUse m(model);
    check_pages(page_size, pages, "tw_model_kv_create");
    m->kv_create(page_size, pages);
  });
}

tw_status_t tw_model_kv_copy(tw_model_t model, const uint32_t* from, const uint32_t* to,
                             size_t count) {
  return guard([&] {
    const ModelInUse m(model);
    if (count == 0) return;
    require(from, "tw_model_kv_copy", "from");
    require(to, "tw_model_kv_copy", "to");
    m->kv_copy(from, to, count);
  });
}
