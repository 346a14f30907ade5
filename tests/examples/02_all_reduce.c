/* An all-reduce from C: every rank contributes a vector, every rank gets the sum.
 *
 *     build/bin/tw_run -n 4 build/examples/02_all_reduce
 */
#include <stdio.h>
#include <stdlib.h>
#include <tilewire.h>

#define COUNT 1000

/* Ends this rank when a call failed; tw_run then ends the others. */
static void check(tw_status_t status) {
  if (status == TW_OK) return;
  fprintf(stderr, "%s: %s\n", tw_status_name(status), tw_last_error());
  exit(1);
}

int main(void) {
  tw_comm_t comm;
  tw_window_t window;
  void* memory;
  float* data;
  int rank, size, i, wrong = 0;

  check(tw_comm_create_env(NULL, &comm));
  check(tw_comm_rank(comm, &rank));
  check(tw_comm_size(comm, &size));

  /* Any memory will do; a window is reduced in place by all ranks without a copy. */
  check(tw_window_create(comm, COUNT * sizeof(float), &window));
  check(tw_window_ptr(window, rank, &memory));
  data = memory;
  for (i = 0; i < COUNT; ++i) data[i] = (float)(i % 100 + rank);

  check(tw_all_reduce(data, data, COUNT, TW_FP32, TW_SUM, comm, NULL));

  for (i = 0; i < COUNT; ++i) {
    int want = i % 100 * size + size * (size - 1) / 2;
    if (data[i] != (float)want) ++wrong;
  }
  printf("rank %d of %d: sum[42] = %g, %d of %d wrong\n", rank, size, data[42], wrong, COUNT);

  check(tw_window_destroy(window));
  check(tw_comm_destroy(comm));
  return wrong == 0 ? 0 : 1;
}
