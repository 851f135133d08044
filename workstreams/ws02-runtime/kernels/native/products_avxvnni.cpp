#define LILIMS_VNNI
#include "lanes_avx2.h"

namespace lilims {

const Products& avxvnni_products() {
  static const Products found = products_of<Lanes256>("avxvnni");
  return found;
}

}  // namespace lilims
