// Layouts: interning, extents, contiguity, refusal of impossible sizes; and the 16-bit conversions.
#include <cmath>
#include <limits>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/dtype.h"
#include "base/meta.h"
#include "check.h"

using namespace weft;
using Sizes = std::vector<int64_t>;

static const Meta* layout(const Sizes& shape, const Sizes& strides) {
  return intern_meta(DType::float32, shape, strides);
}

TEST(equal_layouts_are_one_object) {
  CHECK(layout({2, 3}, {3, 1}) == layout({2, 3}, {3, 1}));
  CHECK(layout({2, 3}, {3, 1}) != layout({2, 3}, {1, 2}));
  CHECK(layout({2, 3}, {3, 1}) != intern_meta(DType::int32, Sizes{2, 3}, Sizes{3, 1}));
  CHECK(layout({}, {}) == intern_contiguous(DType::float32, Sizes{}));
  CHECK(layout({2, 3}, {3, 1}) == intern_contiguous(DType::float32, Sizes{2, 3}));
}

TEST(extents_cover_what_is_touched) {
  const Meta* negative = layout({3, 2}, {-4, 1});
  CHECK(negative->low == -8 && negative->high == 1 && negative->numel == 6);
  CHECK(!negative->contiguous);
  CHECK(negative->fits(8, 40) && !negative->fits(7, 40) && !negative->fits(9, 40));
  const Meta* broadcast = layout({5, 2}, {0, 1});
  CHECK(broadcast->low == 0 && broadcast->high == 1 && broadcast->span_bytes(0) == 8);
}

TEST(empty_layouts_touch_nothing) {
  const Meta* empty = layout({0, 5}, {100, -3});
  CHECK(empty->numel == 0 && empty->low == 0 && empty->high == -1 && empty->contiguous);
  CHECK(empty->fits(1000, 0) && empty->span_bytes(7) == 0);
}

TEST(axes_of_size_one_do_not_break_contiguity) {
  CHECK(layout({2, 1, 3}, {3, 77, 1})->contiguous);
  CHECK(layout({1}, {-9})->contiguous);
  CHECK(!layout({2, 3}, {4, 1})->contiguous);
}

TEST(impossible_layouts_are_refused) {
  const int64_t huge = std::numeric_limits<int64_t>::max();
  CHECK_THROWS(layout({-1}, {1}), std::invalid_argument);
  CHECK_THROWS(layout({huge, huge}, {1, 1}), std::invalid_argument);
  CHECK_THROWS(layout({huge}, {1}), std::invalid_argument);  // elements fit, bytes do not
  CHECK_THROWS(layout({3}, {huge}), std::invalid_argument);
  CHECK_THROWS(layout(Sizes(65, 1), Sizes(65, 1)), std::invalid_argument);
  CHECK_THROWS(intern_contiguous(DType::int8, Sizes(65, 1)), std::invalid_argument);
  CHECK_THROWS(intern_contiguous(DType::int8, Sizes{huge, 2, huge}), std::invalid_argument);
  CHECK_THROWS(layout({2}, {1, 1}), std::invalid_argument);
}

TEST(threads_agree_on_the_object) {
  constexpr int count = 4, layouts = 200;
  std::vector<std::vector<const Meta*>> seen(count);
  std::vector<std::thread> threads;
  for (auto& mine : seen)
    threads.emplace_back([&mine] {
      for (int64_t i = 0; i < layouts; ++i) mine.push_back(layout({i, 9}, {9, 1}));
    });
  for (auto& t : threads) t.join();
  for (const auto& mine : seen) CHECK(mine == seen[0]);
}

TEST(half_conversions_are_exact_both_ways) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = half_to_float(half);
    if (std::isnan(value))
      CHECK(std::isnan(half_to_float(float_to_half(value))));
    else
      CHECK(float_to_half(value) == half);
    const float wide = bfloat16_to_float(half);
    if (std::isnan(wide))
      CHECK(std::isnan(bfloat16_to_float(float_to_bfloat16(wide))));
    else
      CHECK(float_to_bfloat16(wide) == half);
  }
}

TEST(half_rounds_to_nearest_even) {
  CHECK(half_to_float(float_to_half(1.0f + 0x1p-11f)) == 1.0f);                // tie, to even
  CHECK(half_to_float(float_to_half(1.0f + 3 * 0x1p-11f)) == 1.0f + 0x1p-9f);  // tie, to even
  CHECK(half_to_float(float_to_half(65519.0f)) == 65504.0f);
  CHECK(std::isinf(half_to_float(float_to_half(65520.0f))));
  CHECK(float_to_half(0x1p-25f) == 0 && float_to_half(0x1.000002p-25f) == 1);
  CHECK(float_to_half(-0.0f) == 0x8000);
  CHECK(bfloat16_to_float(float_to_bfloat16(1.0f + 0x1p-8f)) == 1.0f);
}
