// Reductions of the user's own: scaled sums.
#include <cstring>

#include "lib/api/guard.h"
#include "lib/api/handles.h"
#include "lib/coll/collectives.h"
#include "lib/comm/comm.h"

using tw::api::CommInUse;
using tw::api::guard;

tw_status_t tw_op_create_scaled_sum(const void* factor, tw_type_t type, tw_comm_t comm,
                                    tw_op_t* op) {
  return guard([&] {
    const CommInUse use(comm);
    tw::Comm& c = *use;
    tw::api::require(factor, "tw_op_create_scaled_sum", "factor");
    tw::api::require(op, "tw_op_create_scaled_sum", "op");
    const int number = type;
    tw::api::require_range(number, 0, tw::kTypes - 1, "tw_op_create_scaled_sum", "type");
    uint64_t bits = 0;
    std::memcpy(&bits, factor, tw::kTypeBytes[number]);
    *op = c.collectives().create_scaled_sum(bits, number);
  });
}

tw_status_t tw_op_destroy(tw_op_t op, tw_comm_t comm) {
  return guard([&] {
    const CommInUse use(comm);
    tw::Comm& c = *use;
    c.collectives().destroy_op(op);
  });
}
