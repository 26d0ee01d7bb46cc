// See attention.h. A unit of work is some of the blocks of rows of one head (one index of the batch). It packs the head's keys
// and values into panels of a tile's width in memory of its own, which then serve all its blocks.
#include "attention/attention.h"

#include <algorithm>
#include <exception>
#include <mutex>

#include "attention/parts.h"
#include "base/allocator.h"
#include "gemm/tile.h"

namespace weft {
namespace {

constexpr int64_t block_k = 256;        // terms of a chain of multiply-adds: part of every result's definition
constexpr int64_t gradient_units = 8;   // units among which the gradient of few heads is divided: part of the definition too
constexpr int64_t blocks_per_pack = 4;  // blocks of rows for which packing a head again pays
constexpr double unit_work = 1 << 17;   // multiply-adds for which waking another thread pays
int64_t rounded_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// What a tile reads columns from: column j, the first of a tile, begins at j * col; its rows are `row` apart.
template <class T>
struct Panels {
  const T* data;
  int64_t col, row;
};

// Packs a matrix of k x n elements into panels of a tile's columns.
template <class T>
void pack(const TileSet<T>& set, const Matrix<T>& b, int64_t k, int64_t n, T* to) {
  for (int64_t j = 0; j < n; j += set.nr, to += k * set.nr)
    set.pack_b(k, b.data + j * b.col, b.col, b.row, to, std::min<int64_t>(set.nr, n - j));
}

// What the units share.
template <class T>
struct Job {
  const Attention& at;
  const AttentionMemory& memory;
  const TileSet<T>& set;
  int64_t parts;   // units of a head
  int64_t blocks;  // of rows
  T* sums;         // of a gradient: dk and dv of each part of each head but its first
  Stop stop;  // asked between two blocks of rows
  std::mutex mutex{};
  std::exception_ptr failure{};

  Matrix<T> matrix(const void* data, const GemmOperand& operand, int64_t head) const {
    return matrix_of<T>(at, data, operand, head);
  }
  int64_t sums_size() const {
    return (memory.dk ? at.keys * at.width : 0) + (memory.dv ? at.keys * at.value_width : 0);
  }
};

template <class T>
class Unit {
 public:
  Unit(Job<T>& job, int64_t unit)
      : job_(job), at_(job.at), set_(job.set), head_(unit / job.parts), part_(unit % job.parts),
        q_(job.matrix(job.memory.q, at_.q, head_)), k_(job.matrix(job.memory.k, at_.k, head_)),
        v_(job.matrix(job.memory.v, at_.v, head_)),
        g_(at_.gradient ? job.matrix(job.memory.g, at_.g, head_) : Matrix<T>{nullptr, 0, 0}),
        sight_(sight_of(at_, job.memory.mask, head_)) {}

  void forward() {
    const int64_t keys = keys_of_part();
    // Packing values takes longer than reading them a few times where they are.
    const bool in_place = v_.col == 1 && at_.rows <= 2 * set_.mr;
    const Block memory(bytes(panels(keys, at_.width) + at_.pitch * attention_rows +
                             (in_place ? 0 : panels(at_.value_width, keys))));
    T* next = static_cast<T*>(memory.data());
    T* scores = take(next, at_.pitch * attention_rows);
    T* right = take(next, panels(keys, at_.width));
    pack<T>(set_, {k_.data, k_.col, k_.row}, at_.width, keys, right);
    if (!in_place) pack<T>(set_, v_, keys, at_.value_width, next);
    const Panels<T> values = in_place ? Panels<T>{v_.data, 1, v_.row} : Panels<T>{next, keys, set_.nr};
    T* out = static_cast<T*>(job_.memory.out) + head_ * at_.rows * at_.value_width;
    Seen<T> seen(v_, at_.keys, at_.value_width);
    for (int64_t block = part_; block < job_.blocks && !job_.stop.asked(); block += job_.parts) {
      begin(block);
      T factors[attention_rows];
      weigh(right, scores, factors);
      sum_over_keys(scores, values, seen, at_.value_width, out);
      scale_rows(out, at_.value_width, factors);
    }
  }

  void gradient() {
    const auto& m = job_.memory;
    const int64_t keys = keys_of_part(), e = at_.width, ev = at_.value_width, rows = attention_rows;
    const bool scores_too = m.dq || m.dk;
    const Block memory(bytes(panels(keys, e) + 2 * at_.pitch * rows + (scores_too ? panels(keys, ev) : 0) +
                             (m.dq ? panels(e, keys) : 0) + panels(std::max(e, ev), rows)));
    T* next = static_cast<T*>(memory.data());
    T *weights = take(next, at_.pitch * rows), *slopes = take(next, at_.pitch * rows);
    T* keys_across = take(next, panels(keys, e));
    pack<T>(set_, {k_.data, k_.col, k_.row}, e, keys, keys_across);
    T* values_across = scores_too ? take(next, panels(keys, ev)) : nullptr;
    if (scores_too) pack<T>(set_, {v_.data, v_.col, v_.row}, ev, keys, values_across);
    T* keys_along = m.dq ? take(next, panels(e, keys)) : nullptr;
    if (m.dq) pack<T>(set_, k_, keys, e, keys_along);
    T* block_panels = next;
    // The first part of a head sums where the result belongs.
    T *dk = nullptr, *dv = nullptr;
    if (part_ == 0) {
      if (m.dk) dk = static_cast<T*>(m.dk) + head_ * at_.keys * e;
      if (m.dv) dv = static_cast<T*>(m.dv) + head_ * at_.keys * ev;
    } else {
      T* own = job_.sums + (head_ * (job_.parts - 1) + part_ - 1) * job_.sums_size();
      if (m.dk) dk = take(own, at_.keys * e);
      if (m.dv) dv = own;
    }
    if (dk) std::fill(dk, dk + at_.keys * e, T{});
    if (dv) std::fill(dv, dv + at_.keys * ev, T{});
    Seen<T> seen(k_, at_.keys, e);
    for (int64_t block = part_; block < job_.blocks && !job_.stop.asked(); block += job_.parts) {
      begin(block);
      weigh(keys_across, weights, nullptr);
      if (dv) sum_over_rows(weights, g_, ev, block_panels, dv);
      if (!scores_too) continue;
      across({g_.at(first_), g_.row, g_.col}, values_across, ev, slopes);
      run_rows(at_, at_.slopes, first_, height_, weights, slopes, mask());
      clear_hidden(slopes);
      if (m.dq)
        sum_over_keys(slopes, Panels<T>{keys_along, keys, set_.nr}, seen, e, static_cast<T*>(m.dq) + head_ * at_.rows * e);
      if (dk) sum_over_rows(slopes, q_, e, block_panels, dk);
    }
  }

 private:
  static size_t bytes(int64_t elements) { return static_cast<size_t>(elements) * sizeof(T); }
  static T* take(T*& next, int64_t elements) {
    T* result = next;
    next += elements;
    return result;
  }
  int64_t panels(int64_t n, int64_t k) const { return rounded_up(n, set_.nr) * k; }

  // The keys that any block of this part sees.
  int64_t keys_of_part() const {
    if (!at_.causal) return at_.keys;
    const int64_t last = part_ + (job_.blocks - 1 - part_) / job_.parts * job_.parts;
    return std::min(at_.keys, (last + 1) * attention_rows);
  }

  void begin(int64_t block) {
    first_ = block * attention_rows;
    height_ = std::min(attention_rows, at_.rows - first_);
    seen_ = seen_by(height_ - 1);
  }
  // How many keys row i of the block sees.
  int64_t seen_by(int64_t i) const { return at_.causal ? std::min(at_.keys, first_ + i + 1) : at_.keys; }

  // a @ panels for the keys that the block sees: a row of a for each row, a column of the panels for each key.
  void across(const Matrix<T>& a, const T* panel, int64_t k, T* to) const {
    const int64_t nr = set_.nr;
    for (int64_t j = 0; j < seen_; j += nr, panel += k * nr)
      for (int64_t i = 0; i < height_; i += set_.mr) {
        const int64_t tall = std::min<int64_t>(set_.mr, height_ - i);
        if (seen_by(i + tall - 1) > j)
          set_.run(tall, std::min(nr, at_.keys - j), k, 0, a.at(i), a.row, a.col, panel, nr, to + i * at_.pitch + j, at_.pitch, 1,
                   false);
      }
  }

  void weigh(const T* keys_across, T* scores, T* factors) const {
    across({q_.at(first_), q_.row, q_.col}, keys_across, at_.width, scores);
    run_rows(at_, at_.weights, first_, height_, scores, mask(), factors);
    clear_hidden(scores);
  }

  // Of the block's rows.
  void* mask() const { return const_cast<char*>(mask_of(at_, job_.memory.mask, head_, first_)); }

  // Zeros where a row does not see what the block sees.
  void clear_hidden(T* scores) const {
    if (!at_.causal) return;
    for (int64_t i = 0; i < height_; ++i) {
      T* row = scores + i * at_.pitch;
      std::fill(row + seen_by(i), row + seen_, T{});
    }
  }

  // Rows of the result: weights @ right, which has n columns.
  void sum_over_keys(const T* weights, const Panels<T>& right, Seen<T>& seen, int64_t n, T* result) const {
    sum_rows(0, height_, weights, right, n, result);
    if (!sight_) return;
    for (int64_t i = 0; i < height_; ++i)
      if (!all_finite(result + (first_ + i) * n, 1, n))
        if (const T* part = seen.by(first_ + i, sight_)) sum_rows(i, i + 1, weights, Panels<T>{part, 1, n}, n, result);
  }

  // Some of these rows.
  void sum_rows(int64_t begin, int64_t end, const T* weights, const Panels<T>& right, int64_t n, T* result) const {
    T* to = result + first_ * n;
    for (int64_t p = 0; p < seen_; p += block_k)
      for (int64_t j = 0; j < n; j += set_.nr)
        for (int64_t i = begin; i < end; i += set_.mr) {
          const int64_t tall = std::min<int64_t>(set_.mr, end - i);
          const int64_t k = std::min(block_k, seen_by(i + tall - 1) - p);
          if (k > 0)
            set_.run(tall, std::min<int64_t>(set_.nr, n - j), k, 0, weights + i * at_.pitch + p, at_.pitch, 1,
                     right.data + j * right.col + p * right.row, right.row, to + i * n + j, n, 1, p > 0);
        }
  }

  // Multiplies the block's rows of the result by a factor each.
  void scale_rows(T* result, int64_t n, const T* factors) const {
    for (int64_t i = 0; i < height_; ++i) {
      T* row = result + (first_ + i) * n;
      for (int64_t j = 0; j < n; ++j) row[j] *= factors[i];
    }
  }

  // result += weights^T @ the block's rows of a matrix of n columns. `panels` is memory for them.
  void sum_over_rows(const T* weights, const Matrix<T>& rows, int64_t n, T* panels, T* result) const {
    pack<T>(set_, {rows.at(first_), rows.row, rows.col}, height_, n, panels);
    // A row that is not finite is added on its own, and only where it sees something: 0 times it is not 0.
    bool apart[attention_rows] = {};
    if (sight_)
      for (int64_t i = 0; i < height_; ++i) {
        apart[i] = !all_finite(rows.at(first_ + i), rows.col, n);
        if (apart[i])
          for (int64_t j = 0; j < n; j += set_.nr) std::fill_n(panels + j * height_ + i * set_.nr, set_.nr, T{});
      }
    for (int64_t i = 0; i < seen_; i += set_.mr) {
      const int64_t tall = std::min<int64_t>(set_.mr, seen_ - i);
      const int64_t hidden = at_.causal ? std::max<int64_t>(0, i - first_) : 0;  // rows that see none of these keys
      for (int64_t j = 0; j < n; j += set_.nr)
        set_.run(tall, std::min<int64_t>(set_.nr, n - j), height_ - hidden, 0, weights + i + hidden * at_.pitch, 1, at_.pitch,
                 panels + j * height_ + hidden * set_.nr, set_.nr, result + i * n + j, n, 1, true);
    }
    for (int64_t i = 0; i < height_; ++i)
      for (int64_t key = 0; apart[i] && key < seen_by(i); ++key)
        if (sight_.sees(first_ + i, key))
          for (int64_t j = 0; j < n; ++j)
            result[key * n + j] += weights[i * at_.pitch + key] * rows.at(first_ + i)[j * rows.col];
  }

  Job<T>& job_;
  const Attention& at_;
  const TileSet<T>& set_;
  int64_t head_, part_;
  Matrix<T> q_, k_, v_, g_;
  Sight sight_;
  int64_t first_ = 0, height_ = 0, seen_ = 0;  // of the current block: its first row, its rows, the keys its last row sees
};

template <class T, void (Unit<T>::*Run)()>
void run_units(void* context, int64_t begin, int64_t end) {
  auto& job = *static_cast<Job<T>*>(context);
  try {
    for (int64_t i = begin; i < end; ++i) (Unit<T>(job, i).*Run)();
  } catch (...) {
    std::lock_guard lock(job.mutex);
    if (!job.failure) job.failure = std::current_exception();
  }
}

// Adds the parts of a head's gradients to the first, in order; a unit is a head.
template <class T>
void add_parts(void* context, int64_t begin, int64_t end) {
  auto& job = *static_cast<Job<T>*>(context);
  const int64_t dk_size = job.memory.dk ? job.at.keys * job.at.width : 0, size = job.sums_size();
  for (int64_t head = begin; head < end; ++head) {
    T* dk = static_cast<T*>(job.memory.dk) + head * dk_size;
    T* dv = static_cast<T*>(job.memory.dv) + head * (size - dk_size);
    const T* part = job.sums + head * (job.parts - 1) * size;
    for (int64_t p = 1; p < job.parts; ++p, part += size) {
      for (int64_t i = 0; i < dk_size; ++i) dk[i] += part[i];
      for (int64_t i = dk_size; i < size; ++i) dv[i - dk_size] += part[i];
    }
  }
}

template <class T>
bool run_typed(const Attention& at, const AttentionMemory& memory, const Poll* poll) {
  int64_t heads = 1;
  for (int64_t size : at.batch) heads *= size;
  const auto clear = [](void* data, int64_t elements) {
    if (data) std::fill_n(static_cast<T*>(data), elements, T{});
  };
  if (heads == 0) return true;
  if (at.rows == 0 || at.keys == 0) {
    clear(memory.out, heads * at.rows * at.value_width);
    clear(memory.dq, heads * at.rows * at.width);
    clear(memory.dk, heads * at.keys * at.width);
    clear(memory.dv, heads * at.keys * at.value_width);
    return true;
  }
  if (at.rows <= few_rows && !at.gradient) return run_few_rows<T>(at, memory, poll);
  Job<T> job{.at = at, .memory = memory, .set = *tile_set<T>(), .parts = 1,
             .blocks = (at.rows + attention_rows - 1) / attention_rows, .sums = nullptr, .stop = Stop(poll)};
  const int64_t products = at.gradient ? 5 : 2;
  const double work = static_cast<double>(at.rows) * static_cast<double>(at.keys) * static_cast<double>(products) *
                      static_cast<double>(at.width + at.value_width) / (at.causal ? 4 : 2);
  if (at.gradient) {
    job.parts = std::clamp<int64_t>(gradient_units / heads, 1, job.blocks);
  } else if (work > unit_work) {
    const int64_t wanted = (4 * num_threads() + heads - 1) / heads;
    job.parts = std::clamp<int64_t>(std::min(wanted, job.blocks / blocks_per_pack), 1, job.blocks);
  }
  const bool divided = at.gradient && job.parts > 1 && job.sums_size() > 0;
  const Block sums(divided ? static_cast<size_t>(heads * (job.parts - 1) * job.sums_size()) * sizeof(T) : 0);
  job.sums = static_cast<T*>(sums.data());
  const auto grain = static_cast<int64_t>(unit_work * static_cast<double>(job.parts) / work);
  const auto units = at.gradient ? run_units<T, &Unit<T>::gradient> : run_units<T, &Unit<T>::forward>;
  const int64_t count = heads * job.parts;
  bool completed = parallel_for(count, std::clamp<int64_t>(grain, 1, count), units, &job, poll) && !job.stop.stopped();
  if (job.failure) std::rethrow_exception(job.failure);
  if (completed && divided) completed = parallel_for(heads, 1, add_parts<T>, &job, poll);
  return completed;
}

}  // namespace

bool run_attention(const Attention& at, const AttentionMemory& memory, const Poll* poll) {
  return at.dtype == DType::float32 ? run_typed<float>(at, memory, poll) : run_typed<double>(at, memory, poll);
}

}  // namespace weft
