// Operation names as small numbers, for fields that are written on every call and read only in messages.
#pragma once

#include <cstdint>
#include <string_view>

namespace weft {

// The number of this name: always the same one, from 1.
uint32_t name_id(std::string_view name);
// The name with this number; "" for 0. Valid for ever.
const char* name_of(uint32_t id);

}  // namespace weft
