// The entry point that ONNX Runtime calls when the library is registered with a session's options.
#include "gather_op.h"
#include "linear_op.h"
#include "products.h"

LILIMS_EXPORT ort::Status* ORT_CALL RegisterCustomOps(ort::SessionOptions* options, const ort::ApiBase* base) {
  const ort::Api* api = base->get_api(ort::kApiVersion);
  if (api == nullptr) {  // an older ONNX Runtime: say so through the oldest table, whose first entry makes a status
    return base->get_api(1)->create_status(ort::kFail, "lilims-kernels needs ONNX Runtime 1.18 or later");
  }
  static ort::Domain* domain = nullptr;  // lives as long as the library: sessions refer to it
  static ort::Status* failed = [api] {
    ort::Status* status = api->create_domain("lilims", &domain);
    if (status == nullptr) status = api->domain_add(domain, lilims::described<lilims::LinearKernel>());
    if (status == nullptr) status = api->domain_add(domain, lilims::described<lilims::GatherKernel>());
    return status;
  }();
  if (failed != nullptr) return api->create_status(ort::kFail, "lilims-kernels cannot describe its ops");
  return api->add_domain(options, domain);
}

// What the products are made of on this processor, such as "avx512vnni".
LILIMS_EXPORT const char* lilims_kernels_features() { return lilims::products().name; }
