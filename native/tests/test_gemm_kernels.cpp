// Loops that are compiled for each instruction set.
#include <cmath>
#include <cstring>
#include <vector>

#include "gemm/vectors.h"
#include "products.h"

// The loops for each instruction set that this CPU has, with numbers whose sums are exact: nothing is fused in the portable ones.
template <class T>
static void check_tiny_kernels() {
  const TinyKernels<T>* found[most_instruction_sets];
  const int count = runnable_kernels(found);
  CHECK(count > 0 && &tiny_kernels<T>() == found[count - 1]);
  constexpr int64_t matrices = 2, k = 11, first = 4, rest = 3, gap = 3;
  for (const TinyKernels<T>* kernels : {found[0], found[count - 1], found[count / 2]})
    for (int vectors : {1, 2})
      for (int rows = 1; rows <= (vectors == 1 ? kernels->most_of_one : kernels->most_of_two); ++rows)
        for (int64_t columns = (vectors - 1) * kernels->width + 1; columns <= vectors * kernels->width; ++columns) {
          std::vector<T> a(static_cast<size_t>(matrices * rows * k)), b(static_cast<size_t>(matrices * k * columns)),
              c(static_cast<size_t>(matrices * rows * (columns + gap)), T(77)), expected = c;
          for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<T>(i % 13);
          for (size_t i = 0; i < b.size(); ++i) b[i] = static_cast<T>(i % 17);
          for (int64_t m = 0; m < matrices; ++m)
            for (int64_t i = 0; i < rows; ++i)
              for (int64_t j = 0; j < columns; ++j) {
                T& sum = expected[static_cast<size_t>((m * rows + i) * (columns + gap) + j)] = 0;
                for (int64_t p = 0; p < k; ++p)
                  sum += a[static_cast<size_t>((m * rows + i) * k + p)] * b[static_cast<size_t>((m * k + p) * columns + j)];
              }
          (vectors == 1 ? kernels->of_one : kernels->of_two)[rows - 1](
              {.count = matrices, .columns = columns, .k = k, .first = first, .rest = rest, .a = a.data(), .a_matrix = rows * k,
               .a_row = k, .a_k = 1, .b = b.data(), .b_matrix = k * columns, .b_k = columns, .c = c.data(),
               .c_matrix = rows * (columns + gap), .c_row = columns + gap});
          CHECK(c == expected);
        }
  for (const TinyKernels<T>* kernels : {found[0], found[count - 1], found[count / 2]})
    for (int64_t lines = 1; lines <= 2 * kernels->width + 1; ++lines)
      for (int64_t length : {1, 3, 4, 7, 8, 18}) {
        const int64_t line = length + 1, matrix = lines * line + 2;
        std::vector<T> from(static_cast<size_t>(matrices * matrix)), to(static_cast<size_t>(matrices * lines * length));
        for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<T>(i);
        kernels->turn(matrices, lines, length, from.data(), matrix, line, to.data());
        for (int64_t m = 0; m < matrices; ++m)
          for (int64_t p = 0; p < length; ++p)
            for (int64_t j = 0; j < lines; ++j)
              CHECK(to[static_cast<size_t>((m * length + p) * lines + j)] == from[static_cast<size_t>(m * matrix + j * line + p)]);
      }
}

TEST(tiny_kernels_of_every_instruction_set) {
  check_tiny_kernels<float>();
  check_tiny_kernels<double>();
}

template <class T>
static void check_few_row_kernels() {
  const FewRowKernels<T>* found[most_instruction_sets];
  const int count = runnable_kernels(found);
  CHECK(count > 0 && &few_row_kernels<T>() == found[count - 1]);
  constexpr int64_t k = 37, first = 12, rest = 10, gap = 3;
  for (const FewRowKernels<T>* kernels : {found[0], found[count - 1], found[count / 2]})
    for (int rows = 1; rows <= kernels->most; ++rows)
      for (const int64_t lines : {int64_t{1}, kernels->width - 1, kernels->width, 2 * kernels->width + 3})
        for (const bool beside : {true, false}) {  // lines of C, or rows
          std::vector<T> x(static_cast<size_t>(k * (rows + 1))), l(static_cast<size_t>(lines * (k + gap))),
              c(static_cast<size_t>((rows + gap) * (lines + gap)), T(77)), expected = c;
          for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(i % 13);
          for (size_t i = 0; i < l.size(); ++i) l[i] = static_cast<T>(i % 17);
          const int64_t c_row = beside ? lines + gap : 1, c_line = beside ? 1 : rows + gap;
          for (int64_t r = 0; r < rows; ++r)
            for (int64_t j = 0; j < lines; ++j) {
              T& sum = expected[static_cast<size_t>(r * c_row + j * c_line)] = 0;
              for (int64_t p = 0; p < k; ++p) sum += x[static_cast<size_t>(p * (rows + 1) + r)] * l[static_cast<size_t>(j * (k + gap) + p)];
            }
          kernels->of_rows[rows - 1]({.lines = lines, .k = k, .first = first, .rest = rest, .x = x.data(), .x_k = rows + 1, .l = l.data(),
                                      .line = k + gap, .c = c.data(), .c_row = c_row, .c_line = c_line});
          CHECK(c == expected);
        }
}

TEST(kernels_of_few_rows_of_every_instruction_set) {
  check_few_row_kernels<float>();
  check_few_row_kernels<double>();
}

template <class T>
static void check_far_row_kernels() {
  const FarRowKernels<T>* found[most_instruction_sets];
  const int count = runnable_kernels(found);
  CHECK(count > 0 && &far_row_kernels<T>() == found[count - 1]);
  constexpr int64_t gap = 3, room = 64;
  for (const FarRowKernels<T>* kernels : {found[0], found[count - 1], found[count / 2]})
    for (int rows = 1; rows <= most_far_rows; ++rows)
      for (const int64_t k : {1, 7, 8, 27})
        for (const int64_t columns : {1, 15, 16, 33, 64})
          for (const bool beside : {true, false}) {  // elements of a row of X, or of a column
            std::vector<T> x(static_cast<size_t>((k + gap) * (rows + gap))), l(static_cast<size_t>((k - 1) * (columns + gap) + columns)),
                sums(static_cast<size_t>(rows * room), T(77));
            for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(i % 13);
            for (size_t i = 0; i < l.size(); ++i) l[i] = static_cast<T>(i % 17);
            const int64_t x_row = beside ? k + gap : 1, x_k = beside ? 1 : rows + gap;
            kernels->of_rows[rows - 1]({.columns = columns, .k = k, .x = x.data(), .x_row = x_row, .x_k = x_k, .l = l.data(),
                                        .line = columns + gap, .sums = sums.data(), .sums_row = room});
            for (int64_t r = 0; r < rows; ++r)
              for (int64_t j = 0; j < columns; ++j) {
                T sum = 0;
                for (int64_t p = 0; p < k; ++p)
                  sum += x[static_cast<size_t>(r * x_row + p * x_k)] * l[static_cast<size_t>(p * (columns + gap) + j)];
                CHECK(sums[static_cast<size_t>(r * room + j)] == sum);
              }
          }
}

TEST(kernels_of_far_rows_of_every_instruction_set) {
  check_far_row_kernels<float>();
  check_far_row_kernels<double>();
}

TEST(few_rows_by_a_far_matrix) {
  for (int threads : {1, 2}) {
    set_num_threads(threads);
    for (int kind : {0, 1, 2, 3, 4}) {
      compare<float>(DType::float32, 5, 3100, 1000, {}, kind, 2, kind);
      compare<double>(DType::float64, 8, 1400, 1000, {}, kind, 4, kind);
      compare<float>(DType::float32, 3100, 4, 1000, {}, 1, kind, kind);
    }
  }
  // A poll is asked between columns.
  const std::vector<float> b(1000 * 3100);
  std::vector<float> c(5 * 3100);
  const Poll stop{[](void*) { return true; }, nullptr};
  CHECK(!run_gemm({DType::float32, {}, 5, 3100, 1000, {{}, 1000, 1}, {{}, 3100, 1}, {{}, 3100, 1}}, b.data(), b.data(), c.data(), &stop));
}
