/* Compiled against the header of an old release (tests/abi/<version>/tilewire.h) and run with
 * today's library: every struct is as long as it was then. */
#include <stdio.h>
#include <string.h>
#include <tilewire.h>

#define RANKS 2

static int failed(const char* what) {
  fprintf(stderr, "%s: %s\n", what, tw_last_error());
  return 1;
}

int main(void) {
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  tw_device_t device = TW_DEVICE_INIT;
  tw_comm_t comms[RANKS];
  float data[RANKS][8];
  int rank, i, size = 0, wrong = 0;
  size_t bytes = 0;

  if (tw_version() < TW_VERSION) return failed("the library is older than the header");
  config.timeout_ms = 20000;
  config.name = "old";
  if (tw_comm_create_all(RANKS, &config, comms) != TW_OK) return failed("create_all");
  if (tw_comm_size(comms[1], &size) != TW_OK || size != RANKS) return failed("size");
  if (tw_comm_device(comms[0], &device) != TW_OK) return failed("device");
  if (device.kind == TW_DEVICE_AUTO) return failed("the device of a comm is never AUTO");
  if (tw_type_size(TW_BF16, &bytes) != TW_OK || bytes != 2) return failed("type_size");

  if (tw_group_begin() != TW_OK) return failed("group_begin");
  for (rank = 0; rank < RANKS; ++rank) {
    for (i = 0; i < 8; ++i) data[rank][i] = (float)(rank + i);
    if (tw_all_reduce(data[rank], data[rank], 8, TW_FP32, TW_MAX, comms[rank], NULL) != TW_OK)
      return failed("all_reduce");
  }
  if (tw_group_end() != TW_OK) return failed("group_end");
  for (rank = 0; rank < RANKS; ++rank)
    for (i = 0; i < 8; ++i) wrong += data[rank][i] != (float)(RANKS - 1 + i);

  if (tw_all_reduce(NULL, NULL, 8, TW_FP32, TW_MAX, NULL, NULL) != TW_ERROR_INVALID_HANDLE ||
      strlen(tw_last_error()) == 0)
    return failed("a null comm must be refused with a sentence");
  for (rank = 0; rank < RANKS; ++rank)
    if (tw_comm_destroy(comms[rank]) != TW_OK) return failed("destroy");
  return wrong;
}
