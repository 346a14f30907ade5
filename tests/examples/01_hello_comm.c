/* 01: make a communicator, say hello, meet at a barrier.
 *
 *   build/bin/tw_run -n 4 build/examples/01_hello_comm
 */
#include <stdio.h>

#include "tilewire.h"

#define CHECK(call)                                        \
  do {                                                     \
    if ((call) != TW_OK) {                                 \
      fprintf(stderr, "%s: %s\n", #call, tw_last_error()); \
      return 1;                                            \
    }                                                      \
  } while (0)

int main(void) {
  tw_comm_t comm;
  int rank, size;
  size_t bytes;
  CHECK(tw_comm_create_env(NULL, &comm)); /* TW_RANK, TW_WORLD_SIZE, TW_UNIQUE_ID: set by tw_run */
  CHECK(tw_comm_rank(comm, &rank));
  CHECK(tw_comm_size(comm, &size));
  CHECK(tw_comm_memory(comm, &bytes));
  CHECK(tw_barrier(comm, NULL));
  printf("hello from rank %d of %d; the comm may use up to %lu KiB here\n", rank, size,
         (unsigned long)(bytes / 1024));
  CHECK(tw_comm_destroy(comm));
  return 0;
}
