// Attention and its gradient against plain loops, for sizes around the blocks, in several threads. The kernels of rows are
// written here as the generated ones work.
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "attention/attention.h"
#include "check.h"
#include "portable_tiles.h"

using namespace weft;

namespace {

template <class T>
T factor_of(const int64_t* params) {
  double factor;
  std::memcpy(&factor, &params[3], sizeof factor);
  return static_cast<T>(factor);
}

// Parameters: rows, length, pitch, factor, row stride of the mask.
template <class T>
void weights(void** buffers, const int64_t* params, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    T* x = static_cast<T*>(buffers[0]) + i * params[2];
    const bool* mask = buffers[1] ? static_cast<const bool*>(buffers[1]) + i * params[4] : nullptr;
    T top = -std::numeric_limits<T>::infinity(), total = 0;
    for (int64_t j = 0; j < params[1]; ++j) {
      x[j] = mask && !mask[j] ? -std::numeric_limits<T>::infinity() : x[j] * factor_of<T>(params);
      top = std::max(top, x[j]);
    }
    if (std::isinf(top)) top = 0;
    for (int64_t j = 0; j < params[1]; ++j) total += x[j] = std::exp(x[j] - top);
    const T share = total == 0 ? T{1} : 1 / total;
    if (buffers[2])
      static_cast<T*>(buffers[2])[i] = share;
    else
      for (int64_t j = 0; j < params[1]; ++j) x[j] *= share;
  }
}

template <class T>
void slopes(void** buffers, const int64_t* params, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const T* p = static_cast<T*>(buffers[0]) + i * params[2];
    T *x = static_cast<T*>(buffers[1]) + i * params[2], mean = 0;
    for (int64_t j = 0; j < params[1]; ++j) mean += p[j] * x[j];
    for (int64_t j = 0; j < params[1]; ++j) x[j] = p[j] * (x[j] - mean) * factor_of<T>(params);
  }
}

template <class T>
struct Case {
  int64_t heads, rows, keys, e, ev;
  bool causal, masked;
  std::vector<T> q = made(heads * rows * e, 1), k = made(heads * keys * e, 2), v = made(heads * keys * ev, 3);
  std::vector<T> g = made(heads * rows * ev, 4);
  std::vector<T> out = filled(heads * rows * ev), dq = filled(heads * rows * e), dk = filled(heads * keys * e),
                 dv = filled(heads * keys * ev);
  std::vector<char> mask = std::vector<char>(static_cast<size_t>(rows * keys), 1);

  static std::vector<T> made(int64_t n, int seed) {
    std::vector<T> x(static_cast<size_t>(n));
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(std::sin(static_cast<double>(i * 7 + i / 13) + seed));
    return x;
  }
  static std::vector<T> filled(int64_t n) { return std::vector<T>(static_cast<size_t>(n), T{77}); }

  Attention attention(bool gradient) const {
    const double factor = 0.5;
    Attention at{};
    at.dtype = sizeof(T) == 4 ? DType::float32 : DType::float64;
    at.causal = causal, at.gradient = gradient, at.batch = {heads};
    at.rows = rows, at.keys = keys, at.width = e, at.value_width = ev, at.pitch = keys + 3;
    at.q = {{rows * e}, e, 1}, at.k = {{keys * e}, e, 1}, at.v = {{keys * ev}, ev, 1}, at.g = {{rows * ev}, ev, 1};
    at.mask = {{0}, keys, 1}, at.mask_size = masked ? 1 : 0;
    std::vector<int64_t> params{attention_rows, keys, at.pitch, 0, keys};
    std::memcpy(&params[3], &factor, sizeof factor);
    at.weights = {weights<T>, params}, at.slopes = {slopes<T>, params};
    return at;
  }

  void run() {
    if (masked)
      for (size_t i = 0; i < mask.size(); ++i) mask[i] = i % 5 != 2;
    const void* seen = masked ? mask.data() : nullptr;
    CHECK(run_attention(attention(false), {q.data(), k.data(), v.data(), nullptr, seen, out.data(), nullptr, nullptr, nullptr}));
    CHECK(run_attention(attention(true), {q.data(), k.data(), v.data(), g.data(), seen, nullptr, dq.data(), dk.data(), dv.data()}));
  }

  bool right() const {
    auto at = [](const std::vector<T>& x, int64_t i) { return static_cast<double>(x[static_cast<size_t>(i)]); };
    bool good = true;
    const auto same = [&](double got, double want) {
      good &= std::abs(got - want) < (sizeof(T) == 4 ? 2e-5 : 1e-12) * (1 + std::abs(want));
    };
    for (int64_t h = 0; h < heads; ++h) {
      std::vector<double> dk_sum(static_cast<size_t>(keys * e)), dv_sum(static_cast<size_t>(keys * ev));
      for (int64_t i = 0; i < rows; ++i) {
        std::vector<double> p(static_cast<size_t>(keys)), s(static_cast<size_t>(keys));
        double total = 0, mean = 0;
        for (int64_t j = 0; j < keys; ++j) {
          double x = 0, d = 0;
          for (int64_t c = 0; c < e; ++c) x += at(q, (h * rows + i) * e + c) * at(k, (h * keys + j) * e + c);
          for (int64_t c = 0; c < ev; ++c) d += at(g, (h * rows + i) * ev + c) * at(v, (h * keys + j) * ev + c);
          const bool hidden = (causal && j > i) || !mask[static_cast<size_t>(i * keys + j)];
          total += p[static_cast<size_t>(j)] = hidden ? 0 : std::exp(x / 2);
          s[static_cast<size_t>(j)] = d;
        }
        for (size_t j = 0; j < p.size(); ++j) p[j] /= total == 0 ? 1 : total, mean += p[j] * s[j];
        for (size_t j = 0; j < p.size(); ++j) s[j] = p[j] * (s[j] - mean) / 2;
        for (int64_t c = 0; c < ev; ++c) {
          double sum = 0;
          for (int64_t j = 0; j < keys; ++j) {
            sum += p[static_cast<size_t>(j)] * at(v, (h * keys + j) * ev + c);
            dv_sum[static_cast<size_t>(j * ev + c)] += p[static_cast<size_t>(j)] * at(g, (h * rows + i) * ev + c);
          }
          same(at(out, (h * rows + i) * ev + c), sum);
        }
        for (int64_t c = 0; c < e; ++c) {
          double sum = 0;
          for (int64_t j = 0; j < keys; ++j) {
            sum += s[static_cast<size_t>(j)] * at(k, (h * keys + j) * e + c);
            dk_sum[static_cast<size_t>(j * e + c)] += s[static_cast<size_t>(j)] * at(q, (h * rows + i) * e + c);
          }
          same(at(dq, (h * rows + i) * e + c), sum);
        }
      }
      for (int64_t i = 0; i < keys * e; ++i) same(at(dk, h * keys * e + i), dk_sum[static_cast<size_t>(i)]);
      for (int64_t i = 0; i < keys * ev; ++i) same(at(dv, h * keys * ev + i), dv_sum[static_cast<size_t>(i)]);
    }
    return good;
  }
};

template <class T>
void check_sizes() {
  const int64_t sizes[][5] = {{1, 1, 1, 1, 1}, {2, 5, 9, 3, 17}, {3, 49, 47, 16, 5}, {1, 100, 130, 8, 16}, {2, 97, 20, 0, 2},
                              {2, 3, 5, 2, 0}, {2, 0, 5, 2, 3}, {2, 3, 0, 2, 3},
                              {9, 1, 600, 8, 3}, {2, 2, 7, 0, 5}, {2, 1, 7, 3, 0}};
  for (const auto& s : sizes)
    for (bool causal : {false, true})
      for (bool masked : {false, true}) {
        Case<T> c{.heads = s[0], .rows = s[1], .keys = s[2], .e = s[3], .ev = s[4], .causal = causal, .masked = masked};
        c.run();
        CHECK(c.right());
      }
}

bool stop(void* asked) { return ++*static_cast<int*>(asked) > 2; }

}  // namespace

TEST(outputs_and_gradients_are_right) {
  set_num_threads(2);
  check_sizes<float>();
  check_sizes<double>();
}

TEST(bits_do_not_depend_on_threads) {
  std::vector<float> first;
  for (int threads : {1, 2, 5}) {
    set_num_threads(threads);
    Case<float> c{.heads = 1, .rows = 500, .keys = 300, .e = 16, .ev = 24, .causal = true, .masked = false};
    c.run();
    std::vector<float> all = c.out;
    for (const auto* x : {&c.dq, &c.dk, &c.dv}) all.insert(all.end(), x->begin(), x->end());
    if (first.empty()) first = all;
    CHECK(all.size() == first.size() && std::memcmp(all.data(), first.data(), all.size() * sizeof(float)) == 0);
  }
}

TEST(a_call_can_be_interrupted) {
  for (int threads : {1, 3}) {
    set_num_threads(threads);
    Case<float> c{.heads = 1, .rows = 4000, .keys = 100, .e = 8, .ev = 8, .causal = false, .masked = false};
    int asked = 0;
    const Poll poll{stop, &asked};
    CHECK(!run_attention(c.attention(false), {c.q.data(), c.k.data(), c.v.data(), nullptr, nullptr, c.out.data(), nullptr, nullptr, nullptr}, &poll));
    CHECK(asked >= 3);
  }
}
