// How products are divided and their operands read: that nothing is left out or done twice, and the rules, case by case.
#include <random>
#include <string_view>

#include "check.h"
#include "gemm/division.h"

using namespace weft;

// float32 tiles of AVX-512, and an L2 cache of 2 MiB.
static constexpr TileSizes sizes{6, 64, 6, 16, 4, 2 << 20};

// m x k by k x n, each row-major (N) or transposed (T); what B has between two lines.
static Gemm product(int64_t m, int64_t k, int64_t n, std::string_view layout, int64_t gap = 0) {
  const auto operand = [](int64_t rows, int64_t columns, char kind, int64_t apart) {
    return kind == 'N' ? GemmOperand{{}, columns + apart, 1} : GemmOperand{{}, 1, rows + apart};
  };
  return {DType::float32, {}, m, n, k, operand(m, k, layout[0], 0), operand(k, n, layout[1], gap), {{}, n, 1}};
}

static Division division(int64_t m, int64_t k, int64_t n, std::string_view layout, int64_t threads, bool followed = false,
                         int64_t gap = 0) {
  return {product(m, k, n, layout, gap), sizes, threads, followed};
}

static void check_complete(const Division& d, int64_t m, int64_t k, int64_t n, int64_t threads) {
  CHECK(d.threads >= 1 && d.threads <= threads && d.threads <= d.units());
  CHECK(d.k_parts == 1 || d.column_units == 1);
  CHECK(d.row_of(0) == 0 && d.row_of(d.row_units) == m);
  for (int64_t unit = 0; unit < d.row_units; ++unit) {
    const UnitRows rows = d.rows_of(unit);
    CHECK(rows.first == d.row_of(unit) && rows.first + rows.count == d.row_of(unit + 1));
    CHECK(rows.at(0) == 0 && rows.at(rows.tiles) == rows.count);
    for (int64_t t = 0; t < rows.tiles; ++t) CHECK(rows.at(t) < rows.at(t + 1) && rows.at(t + 1) - rows.at(t) <= sizes.mr);
  }
  CHECK(d.panel_of(0) == 0 && d.panel_of(d.column_units) == d.panels);
  for (int64_t unit = 0; unit < d.column_units; ++unit) CHECK(d.panel_of(unit) < d.panel_of(unit + 1));
  int64_t columns = 0, steps = 0;
  for (int64_t panel = 0; panel < d.panels; ++panel) CHECK(d.width(panel) > 0 && d.width(panel) <= sizes.nr), columns += d.width(panel);
  CHECK(columns == n);
  for (int64_t block = 0; block < d.blocks; ++block) {
    CHECK(d.first_k(block) == steps && d.depth(block) > 0 && d.depth(block) <= d.deepest);
    steps += d.depth(block);
  }
  CHECK(steps == k);
  CHECK(d.first_block(0) == 0 && d.first_block(d.k_parts) == d.blocks);
  for (int64_t part = 0; part < d.k_parts; ++part) CHECK(d.first_block(part) < d.first_block(part + 1));
  CHECK(d.two_chains == 0 || (d.blocks == 1 && d.two_chains < k));
  // Panels of one unit are packed by it; those of several are not.
  if (d.b == Reading::by_unit) CHECK(d.row_units == 1);
  if (d.a == Reading::by_unit) CHECK(d.column_units == 1);
  if (d.opens) CHECK(d.b == Reading::by_unit && d.whole_tiles);
}

TEST(nothing_is_left_out) {
  std::mt19937 random(17);
  const auto size = [&] {
    const int64_t drawn = 1 + random() % (2u << random() % 12);
    return random() % 4 ? drawn : (drawn / 64 + 1) * 64;
  };
  for (int i = 0; i < 20000; ++i) {
    const int64_t m = size(), k = size(), n = size(), threads = 1 + random() % 17;
    const std::string_view layout = std::string_view("NNNTTNTT").substr(random() % 4 * 2, 2);
    check_complete(division(m, k, n, layout, threads, random() % 2), m, k, n, threads);
  }
}

TEST(one_thread_divides_nothing_that_its_caches_hold) {
  const Division d = division(64, 1000, 100, "NN", 1);
  CHECK(d.units() == 1 && d.a == Reading::in_place && d.b == Reading::in_place);
}

TEST(one_thread_reads_a_far_b_once) {
  const Division d = division(200, 1024, 4096, "NN", 1);  // whose rows would be two units
  CHECK(d.units() == 1 && d.b == Reading::by_unit);
  CHECK(division(600, 1024, 4096, "NN", 1).row_units == 4);  // whose rows of A would not stay near
}

TEST(rows_are_divided_and_b_is_packed_once) {
  const Division d = division(1024, 1024, 1024, "NN", 2);
  CHECK(d.row_units == 8 && d.column_units == 1 && d.k_parts == 1 && d.threads == 2);
  CHECK(d.a == Reading::by_unit && d.b == Reading::shared && d.far_b && d.streams && d.whole_tiles);
  CHECK(!division(1024, 1024, 1024, "NT", 2).streams);  // lines of a transposed B are written in parts
}

TEST(a_b_in_reach_is_packed_by_each_thread_for_itself) {
  CHECK(division(256, 256, 250, "NN", 2).b == Reading::own);        // rows begin within a line
  CHECK(division(256, 256, 250, "NN", 16).b == Reading::in_place);  // of which each is read too seldom for that
  CHECK(division(200, 256, 200, "TT", 16).b == Reading::shared);    // a copy for each would be too much
}

TEST(few_rows_divide_columns) {
  const Division near = division(32, 256, 128, "NN", 2), far = division(32, 4096, 4096, "NN", 2);
  CHECK(near.row_units == 1 && near.column_units == 2 && near.b == Reading::in_place);
  CHECK(far.row_units == 1 && far.column_units == 8 && far.a == Reading::shared && far.b == Reading::by_unit);
}

TEST(columns_of_a_b_that_does_not_stay_near_are_divided) {
  CHECK(division(200, 1024, 384, "TN", 2).row_units == 1);  // 1.5 MiB beside A
  CHECK(division(200, 512, 384, "TN", 2).column_units == 1);
  CHECK(division(200, 1024, 384, "TT", 2).column_units == 1);  // a transposed B is turned when it is packed
  CHECK(division(200, 2048, 384, "TT", 2).row_units == 1);
}

TEST(a_column_s_first_tile_packs_b_where_its_lines_do_not_compete) {
  CHECK(division(16, 512, 512, "NN", 2).opens);
  CHECK(!division(32, 4096, 4096, "NN", 2).opens);
  CHECK(division(32, 4096, 4096, "NN", 2, false, 16).opens);
  CHECK(!division(32, 4096, 4096, "NT", 2, false, 16).opens);
}

TEST(few_rows_and_columns_divide_k) {
  const Division d = division(64, 1000, 100, "NN", 2);
  CHECK(d.row_units == 4 && d.column_units == 1 && d.k_parts == 2);
  CHECK(division(64, 184, 100, "NN", 2).k_parts == 1);  // the sums that wait cost more
}

TEST(the_last_panel_is_not_much_less_than_the_one_before) {
  const auto widths = [](int64_t n, int64_t before, int64_t last, std::string_view layout = "NN") {
    const Division d = division(64, 1000, n, layout, 2);
    return d.width(d.panels - 2) == before && d.width(d.panels - 1) == last;
  };
  CHECK(widths(96, 48, 48));
  CHECK(widths(100, 48, 52));
  CHECK(widths(80, 64, 16));
  CHECK(widths(112, 64, 48));
  CHECK(widths(68, 64, 4));
  CHECK(widths(128, 64, 64));
  CHECK(widths(96, 64, 32, "NT"));  // packed
}

TEST(far_rows_of_a_are_read_some_at_a_time) {
  CHECK(division(4096, 4096, 32, "NN", 2).row_units == 176);
  CHECK(division(4096, 4096, 32, "TN", 2).row_units == 24);
}

TEST(an_epilogue_finds_its_rows_near) {
  const Division plain = division(4096, 64, 64, "NN", 2), with = division(4096, 64, 64, "NN", 2, true);
  CHECK(plain.row_units == 24 && !plain.followed);
  CHECK(with.row_units == 88 && with.followed);
}

TEST(a_transposed_b_of_even_panels_is_divided_by_columns) {
  CHECK(division(200, 200, 256, "NT", 2).column_units == 4);
  CHECK(division(200, 200, 256, "TT", 2).column_units == 1);  // A would be read again for each panel, across its lines
}

TEST(two_chains_go_through_one_tile) {
  const Division d = division(256, 256, 256, "NN", 2);
  CHECK(d.blocks == 1 && d.two_chains == 80 && d.deepest == 256);
}
