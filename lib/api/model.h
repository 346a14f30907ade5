// What the entry points of models share: who uses a model, and structs of the C API as lib/model
// has them.
#pragma once

#include "lib/api/guard.h"
#include "lib/api/handles.h"
#include "lib/model/model.h"

namespace tw::api {

/// The model of a handle, its comm used by this thread alone for the scope's life. Throws
/// INVALID_HANDLE, and INVALID_STATE while another thread uses the comm.
class ModelInUse {
 public:
  explicit ModelInUse(tw_model_t handle) : pinned_(pin(handle)), use_((*pinned_).comm()) {}
  Model& operator*() const { return *pinned_; }
  Model* operator->() const { return &*pinned_; }
  /// Gives the handle up, to erase it; the comm stays in use.
  void release() { pinned_.release(); }

 private:
  decltype(pin(tw_model_t())) pinned_;
  InUse use_;
};

/// Throw INVALID_ARGUMENT naming function, field, value and what is valid.
ModelDesc checked_desc(const tw_model_desc_t* desc, const char* function);
/// `desc` must outlive the result's pointer.
tw_model_desc_t described(const ModelDesc& desc);

/// With the zeros that stand for defaults replaced. Ranges are the model's to check.
ModelLimits checked_limits(const tw_model_limits_t* limits, const Model& model,
                           const char* function);

/// Pointers, enumerations and sizes; the arrays' values are the model's to check.
Step checked_step(const tw_step_t* step, const Model& model, const char* function);

}  // namespace tw::api
