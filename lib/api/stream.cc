// Streams: tilewire.h, "Streams".
#include "lib/device/stream.h"

#include "lib/api/guard.h"

using namespace tw;       // NOLINT(google-build-using-namespace): entry points of this layer
using namespace tw::api;  // NOLINT(google-build-using-namespace): entry points of this layer

tw_status_t tw_stream_create(const tw_device_t* device, tw_stream_t* stream) {
  return guard([&] {
    require(stream, "tw_stream_create", "stream");
    const tw_device_t defaults = TW_DEVICE_INIT;
    const tw_device_t d = versioned(device, defaults, "tw_device_t");
    require_range(d.kind, TW_DEVICE_AUTO, TW_DEVICE_GPU, "tw_stream_create", "device.kind");
    if (d.kind == TW_DEVICE_GPU)
      fail(
          TW_ERROR_UNSUPPORTED,
          "tw_stream_create: device.kind = TW_DEVICE_GPU; valid: CPU (a GPU's streams are CUDA's)");
    *stream = create_stream();
  });
}

tw_status_t tw_stream_synchronize(tw_stream_t stream) {
  return guard([&] {
    if (stream != nullptr) stream_of(stream)->synchronize();
  });
}

tw_status_t tw_stream_destroy(tw_stream_t stream) {
  return guard([&] { destroy_stream(stream); });
}
