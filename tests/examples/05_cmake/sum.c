/* A foreign program: one barrier and one sum over the ranks of tw_run. */
#include <stdio.h>
#include <tilewire.h>

int main(void) {
  tw_comm_t comm;
  int rank = -1, size = 0, sum = 0;
  tw_status_t status = tw_comm_create_env(NULL, &comm);
  if (status == TW_OK) status = tw_comm_rank(comm, &rank);
  if (status == TW_OK) status = tw_comm_size(comm, &size);
  if (status == TW_OK) status = tw_barrier(comm, NULL);
  if (status == TW_OK) status = tw_all_reduce(&rank, &sum, 1, TW_INT32, TW_SUM, comm, NULL);
  if (status == TW_OK) status = tw_comm_destroy(comm);
  if (status != TW_OK) {
    fprintf(stderr, "%s: %s\n", tw_status_name(status), tw_last_error());
    return 1;
  }
  printf("rank %d of %d: the ranks add up to %d\n", rank, size, sum);
  return sum == size * (size - 1) / 2 ? 0 : 1;
}
