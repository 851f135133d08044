#include "lanes_avx2.h"

namespace lilims {

const Products& avx2_products() {
  static const Products found = products_of<Lanes256>("avx2");
  return found;
}

}  // namespace lilims
