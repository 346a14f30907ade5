#include "lib/api/attach.h"

#include "lib/api/handles.h"
#include "lib/coll/collectives.h"

namespace tw::api {

std::string collectives_agreement() {
  return Forced::from_environment().agreement() + "choice_table=" + this_machine().name + "\n";
}

void attach_collectives(Comm& comm) {
  comm.attach(CollectivesPtr(new Collectives(comm, Forced::from_environment()),
                             {[](Collectives* collectives) { delete collectives; }}));
}

void set_collective_blocks(Comm& comm, int max_blocks) {
  const InUse use(comm);
  comm.set_max_blocks(comm.collectives().set_max_blocks(max_blocks));
}

}  // namespace tw::api
