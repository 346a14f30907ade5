/* A tilewire comm of the ranks of an MPI communicator. Header-only, C99: the library itself never
 * links MPI, so any MPI works; compile with that MPI's flags. */
#ifndef TILEWIRE_MPI_H_
#define TILEWIRE_MPI_H_

#include <mpi.h>
#include <string.h>

#include "tilewire.h"

#ifdef __cplusplus
extern "C" {
#endif

/* As tw_comm_create, for the ranks of `mpi` with their numbers there. Collective over `mpi`, which
 * is used for one broadcast and stays the caller's: rank 0 makes the unique id and hands it out.
 * `config` and `comm` as for tw_comm_create.
 * Errors: those of tw_comm_create; INVALID_ARGUMENT when `mpi` is MPI_COMM_NULL or has two groups;
 * SYSTEM when MPI itself returns an error; what rank 0 got when it could not make the id, on all
 * ranks. */
static inline tw_status_t tw_comm_create_mpi(MPI_Comm mpi, const tw_comm_config_t* config,
                                             tw_comm_t* comm) {
  struct {
    tw_unique_id_t id;
    int status;
    char sentence[508];
  } message;
  int n = 0, rank = 0, two_groups = 0;
  if (mpi == MPI_COMM_NULL)
    return tw_fail(TW_ERROR_INVALID_ARGUMENT,
                   "tw_comm_create_mpi: mpi is MPI_COMM_NULL; valid: a communicator of this rank");
  if (MPI_Comm_test_inter(mpi, &two_groups) != MPI_SUCCESS)
    return tw_fail(TW_ERROR_SYSTEM, "tw_comm_create_mpi: MPI_Comm_test_inter failed");
  if (two_groups)
    return tw_fail(TW_ERROR_INVALID_ARGUMENT,
                   "tw_comm_create_mpi: mpi has two groups; valid: an intracommunicator");
  if (MPI_Comm_size(mpi, &n) != MPI_SUCCESS || MPI_Comm_rank(mpi, &rank) != MPI_SUCCESS)
    return tw_fail(TW_ERROR_SYSTEM, "tw_comm_create_mpi: MPI_Comm_size or MPI_Comm_rank failed");
  memset(&message, 0, sizeof message);
  if (rank == 0) {
    message.status = tw_unique_id_create(&message.id);
    if (message.status != TW_OK)
      strncpy(message.sentence, tw_last_error(), sizeof message.sentence - 1);
  }
  /* A failure is handed out too, so that nobody waits for an id that never comes. */
  if (MPI_Bcast(&message, (int)sizeof message, MPI_BYTE, 0, mpi) != MPI_SUCCESS)
    return tw_fail(TW_ERROR_SYSTEM, "tw_comm_create_mpi: MPI_Bcast failed");
  if (message.status != TW_OK) return tw_fail((tw_status_t)message.status, message.sentence);
  message.status = tw_comm_create(n, rank, &message.id, config, comm);
  /* Refused before it joined: the others need not wait. tw_last_error stays as it is. */
  if (message.status != TW_OK && rank == 0) tw_unique_id_destroy(&message.id);
  return (tw_status_t)message.status;
}

#ifdef __cplusplus
}
#endif

#endif /* TILEWIRE_MPI_H_ */
