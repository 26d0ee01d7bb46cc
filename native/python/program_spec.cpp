// Reading a Program from the dict that Python's scheduler makes. Everything that can be checked is: after this, running
// needs no checks beyond the number and kind of its arguments.
#include <algorithm>
#include <string>

#include "base/names.h"
#include "gemm/small.h"
#include "gemm/tile.h"
#include "python/program_object.h"

namespace weft {
namespace {

[[noreturn]] void bad(const char* what, PyObject* value) {
  raise(PyExc_ValueError, "Program: %s, not %R.", what, value);
}

// The elements of a Python sequence, read one after another.
class Fields {
 public:
  Fields(PyObject* o, const char* what) : what_(what), items_(Ref::steal(PySequence_Tuple(o))) {
    if (items_) return;
    PyErr_Clear();
    raise(PyExc_TypeError, "Program: %s must be a sequence, not %R.", what, o);
  }
  Py_ssize_t size() const { return PyTuple_GET_SIZE(items_.get()); }
  bool more() const { return next_ < size(); }
  PyObject* object() {
    if (!more()) raise(PyExc_ValueError, "Program: %s has too few fields: %R.", what_, items_.get());
    return PyTuple_GET_ITEM(items_.get(), next_++);
  }
  int64_t integer() {
    PyObject* o = object();
    const long long v = PyLong_Check(o) ? PyLong_AsLongLong(o) : -1;
    if (!PyLong_Check(o) || PyErr_Occurred()) {
      PyErr_Clear();
      raise(PyExc_TypeError, "Program: %s has %R where an integer is needed.", what_, o);
    }
    return v;
  }
  int64_t integer(int64_t least, int64_t end) {
    const int64_t v = integer();
    if (v < least || v >= end)
      raise(PyExc_ValueError, "Program: %s has the number %lld, which is out of range: %R.", what_,
            static_cast<long long>(v), items_.get());
    return v;
  }
  std::string text() {
    PyObject* o = object();
    const char* utf8 = PyUnicode_Check(o) ? PyUnicode_AsUTF8(o) : nullptr;
    if (!utf8) {
      PyErr_Clear();
      raise(PyExc_TypeError, "Program: %s has %R where a string is needed.", what_, o);
    }
    return utf8;
  }
  void done() const {
    if (more()) raise(PyExc_ValueError, "Program: %s has too many fields: %R.", what_, items_.get());
  }

 private:
  const char* what_;
  Ref items_;
  Py_ssize_t next_ = 0;
};

constexpr int64_t any_size = INT64_MAX;

Ref entry(PyObject* spec, const char* key) {
  PyObject* value = PyDict_GetItemString(spec, key);
  if (!value) raise(PyExc_KeyError, "Program: the entry '%s' is missing.", key);
  return Ref::borrow(value);
}

Ref optional_entry(PyObject* spec, const char* key) {
  PyObject* value = PyDict_GetItemString(spec, key);
  return Ref::borrow(value == Py_None ? nullptr : value);
}

int64_t integer_of(PyObject* o, const char* what, int64_t end) {
  const long long v = PyLong_Check(o) ? PyLong_AsLongLong(o) : -1;
  if (PyErr_Occurred() || v < 0 || v >= end) {
    PyErr_Clear();
    bad(what, o);
  }
  return v;
}

class Reader {
 public:
  Reader(ProgramObject& object, PyObject* spec) : object_(object), p_(object.core), spec_(spec) {}

  void read() {
    const Ref name = entry(spec_, "name");
    if (!PyUnicode_Check(name.get())) bad("the name is a string", name.get());
    const char* utf8 = PyUnicode_AsUTF8(name.get());
    if (!utf8) throw_python_error();
    p_.name = name_of(name_id(utf8));
    p_.inputs = static_cast<int32_t>(integer_of(entry(spec_, "inputs").get(), "inputs is a number of tensors", 1 << 20));
    read_scalars();
    read_arena();
    read_buffers();
    read_outputs();
    read_instructions();
    read_writes();
    read_input_metas();
    read_sites();
    if (const Ref release = optional_entry(spec_, "release")) p_.release_gil = PyObject_IsTrue(release.get()) == 1;
  }

 private:
  void read_scalars() {
    const Ref kinds = optional_entry(spec_, "scalars");
    if (!kinds) return;
    for (Fields f(kinds.get(), "scalars"); f.more();) {
      const std::string kind = f.text();
      if (kind != "f" && kind != "i") bad("the kind of a scalar is 'f' or 'i'", kinds.get());
      p_.scalar_kinds += kind;
    }
  }

  void read_arena() {
    if (const Ref arena = optional_entry(spec_, "arena"))
      p_.arena_bytes = integer_of(arena.get(), "arena is a number of bytes", INT64_MAX);
  }

  // ("input", i) | ("output", o) | ("fresh", k, nbytes) | ("temp", byte offset) | ("const", tensor)
  void read_buffers() {
    const Ref list = entry(spec_, "buffers");
    for (Fields all(list.get(), "buffers"); all.more();) {
      Fields f(all.object(), "a buffer");
      const std::string kind = f.text();
      int64_t output = -1, number = -1;
      if (kind == "input") {
        p_.buffers.push_back({Buffer::input, f.integer(0, p_.inputs), nullptr});
      } else if (kind == "temp") {
        p_.buffers.push_back({Buffer::temp, f.integer(0, p_.arena_bytes + 1), nullptr});
      } else if (kind == "output" || kind == "fresh") {
        const int64_t index = f.integer(0, 1 << 20);
        int64_t bytes = -1;
        if (kind == "output")
          output = index;
        else
          number = index, bytes = f.integer(0, INT64_MAX);
        p_.buffers.push_back({Buffer::fresh, fresh_index(output, number, bytes), nullptr});
      } else if (kind == "const") {
        TensorObject* t = expect_tensor(f.object(), "Program", "constant");
        ensure_real(t, "A program's constant");
        // An alias of our own, whose storage nobody can replace.
        object_.constants.push_back(checked(new_alias(t, t->meta, t->offset)));
        p_.buffers.push_back({Buffer::constant, t->offset * t->meta->itemsize(), t->storage});
      } else {
        raise(PyExc_ValueError, "Program: a buffer has the unknown kind '%s'.", kind.c_str());
      }
      f.done();
    }
  }

  // Storages are numbered in the order in which buffers first name them.
  int64_t fresh_index(int64_t output, int64_t number, int64_t bytes) {
    for (size_t i = 0; i < fresh_names_.size(); ++i) {
      if (fresh_names_[i] != std::pair{output, number}) continue;
      p_.fresh_bytes[i] = std::max(p_.fresh_bytes[i], bytes);
      return static_cast<int64_t>(i);
    }
    fresh_names_.emplace_back(output, number);
    p_.fresh_bytes.push_back(bytes);
    return static_cast<int64_t>(fresh_names_.size()) - 1;
  }

  // ("fresh", buffer, dtype code, shape, strides, offset) | ("input", i) | ("alias", i, dtype code, shape, strides, offset)
  void read_outputs() {
    const Ref list = entry(spec_, "outputs");
    for (Fields all(list.get(), "outputs"); all.more();) {
      Fields f(all.object(), "an output");
      const std::string kind = f.text();
      if (kind == "input") {
        p_.outputs.push_back({Output::same_input, static_cast<int32_t>(f.integer(0, p_.inputs)), false, nullptr, 0});
      } else if (kind == "fresh" || kind == "alias") {
        const bool fresh = kind == "fresh";
        const int64_t end = fresh ? static_cast<int64_t>(p_.buffers.size()) : p_.inputs;
        auto index = static_cast<int32_t>(f.integer(0, end));
        const auto dtype = static_cast<DType>(f.integer(0, dtype_count));
        const Dims shape = parse_dims(f.object(), "shape"), strides = parse_dims(f.object(), "strides");
        const Meta* meta = intern_meta(dtype, shape.span(), strides.span());
        const int64_t offset = f.integer(-farthest_offset, farthest_offset);
        if (fresh) index = fresh_output(index, meta, offset);
        p_.outputs.push_back({fresh ? Output::fresh : Output::view_of_input, index, false, meta, offset});
      } else {
        raise(PyExc_ValueError, "Program: an output has the unknown kind '%s'.", kind.c_str());
      }
      f.done();
    }
    for (size_t i = 0; i < fresh_names_.size(); ++i) {
      const auto [output, number] = fresh_names_[i];
      if (p_.fresh_bytes[i] < 0)
        raise(PyExc_ValueError, "Program: the buffer ('output', %lld) names no output.", static_cast<long long>(output));
    }
    std::vector<bool> seen(p_.fresh_bytes.size());
    for (auto o = p_.outputs.rbegin(); o != p_.outputs.rend(); ++o) {
      if (o->kind != Output::fresh) continue;
      o->last_use = !seen[static_cast<size_t>(o->index)];
      seen[static_cast<size_t>(o->index)] = true;
    }
  }

  int32_t fresh_output(int32_t buffer, const Meta* meta, int64_t offset) {
    const Buffer& b = p_.buffers[static_cast<size_t>(buffer)];
    if (b.kind != Buffer::fresh) raise(PyExc_ValueError, "Program: an output is in buffer %d, which is not new.", buffer);
    const auto index = static_cast<size_t>(b.index);
    if (offset < -meta->low) raise(PyExc_ValueError, "Program: an output begins before its storage.");
    int64_t& bytes = p_.fresh_bytes[index];
    const bool sized_by_output = fresh_names_[index].first >= 0;
    if (sized_by_output)
      bytes = std::max(bytes, meta->span_bytes(offset));
    else if (meta->span_bytes(offset) > bytes)
      raise(PyExc_ValueError, "Program: an output needs %lld bytes of a storage of %lld.",
            static_cast<long long>(meta->span_bytes(offset)), static_cast<long long>(bytes));
    return static_cast<int32_t>(index);
  }

  int32_t buffer_number(Fields& f) {
    return static_cast<int32_t>(f.integer(0, static_cast<int64_t>(p_.buffers.size())));
  }

  void read_instructions() {
    const Ref list = entry(spec_, "instrs");
    for (Fields all(list.get(), "instrs"); all.more();) {
      Fields f(all.object(), "an instruction");
      const std::string kind = f.text();
      if (kind == "kernel")
        read_kernel(f);
      else if (kind == "gemm")
        read_gemm(f);
      else if (kind == "attention")
        read_attention(f);
      else
        raise(PyExc_ValueError, "Program: an instruction has the unknown kind '%s'.", kind.c_str());
      f.done();
    }
    find_launches();
  }

  // Sets `launches`; checks what runs with products, and names these after it.
  void find_launches() {
    const auto count = static_cast<int64_t>(p_.instructions.size());
    int64_t end = 0;  // of the launch before
    for (int64_t i = 0; i < count; ++i) {
      Instruction& product = p_.instructions[static_cast<size_t>(i)];
      if (!product.is_gemm || i < end) continue;
      const int64_t first = i - product.leaders, last = i + product.followers;
      bool enough = first >= end && last < count;
      for (int64_t k = first; enough && k <= last; ++k) {
        const Instruction& instr = p_.instructions[static_cast<size_t>(k)];
        enough = k >= i ? !instr.attention : !instr.attention && !instr.is_gemm;
      }
      if (!enough)
        raise(PyExc_ValueError, "Program: a matrix product runs with %d kernels before it and %d instructions after it, but "
              "there are fewer.", product.leaders, product.followers);
      for (int64_t k = end; k < first; ++k) p_.launches.push_back(static_cast<int32_t>(k));
      take_beside(product);
      p_.launches.push_back(static_cast<int32_t>(i));
      end = last + 1;
      std::string name;
      for (int64_t k = first; k <= last; ++k) {
        const Instruction& instr = p_.instructions[static_cast<size_t>(k)];
        if (k != i) check_companion(product, instr, k > i);
        name += std::string(k == first ? "" : " + ") + instr.name;
      }
      for (const int32_t k : product.beside) name += std::string(" beside ") + p_.instructions[static_cast<size_t>(k)].name;
      product.name = name_of(name_id(name));
    }
    for (int64_t k = end; k < count; ++k) p_.launches.push_back(static_cast<int32_t>(k));
  }

  // The last launches so far become those that run beside a product.
  void take_beside(Instruction& product) {
    std::vector<int32_t>& launches = p_.launches;
    const auto count = static_cast<std::ptrdiff_t>(product.beside.size());
    bool able = count <= static_cast<std::ptrdiff_t>(launches.size());
    if (able) {
      product.beside.assign(launches.end() - count, launches.end());
      launches.resize(launches.size() - static_cast<size_t>(count));
    }
    for (const int32_t launch : product.beside) {
      const auto first = static_cast<size_t>(launch);
      const Instruction& alone = p_.instructions[first];
      able = able && !alone.attention && alone.beside.empty();
      for (size_t k = first; able && k <= first + static_cast<size_t>(alone.followers); ++k)
        able = !p_.instructions[k].fallible;
    }
    if (!able)
      raise(PyExc_ValueError, "Program: the %lld launches before a matrix product cannot run beside it: there are fewer, or they "
            "may fail, are attention or have others beside them.", static_cast<long long>(count));
  }

  void check_companion(const Instruction& product, const Instruction& kernel, bool follows) {
    int64_t rows = product.gemm.m;
    for (int64_t size : product.gemm.batch) rows *= size;
    if (kernel.is_gemm) {
      if (kernel.leaders || kernel.followers || kernel.gemm.m != rows || !product.whole_rows || !has_small_rows(kernel.gemm))
        raise(PyExc_ValueError, "Program: a product that follows another has as many rows, few terms, no batch and nothing that "
              "runs with it, and the other has an epilogue of whole rows.");
      return;
    }
    for (const Phase& phase : kernel.phases)
      if (rows <= 0 || phase.total % rows != 0)
        raise(PyExc_ValueError, "Program: the kernel %s runs with a product of %lld rows, among which its %lld units do not "
              "divide evenly.", kernel.name, static_cast<long long>(rows), static_cast<long long>(phase.total));
    if (follows && !product.whole_rows && (kernel.phases.size() != 1 || kernel.phases[0].total != rows * product.gemm.n))
      raise(PyExc_ValueError, "Program: the kernel %s follows a product element by element, but has another number of "
            "units.", kernel.name);
    if (!follows && kernel.fallible)
      raise(PyExc_ValueError, "Program: the kernel %s may fail, so it cannot be the prologue of a product.", kernel.name);
  }

  // ("kernel", name, phases, buffers, params, patches, fallible)
  void read_kernel(Fields& f) {
    Instruction instr{.name = name_of(name_id(f.text()))};
    for (Fields phases(f.object(), "the phases of a kernel"); phases.more();) {
      Fields phase(phases.object(), "a phase");
      PyObject* address = phase.object();
      void* function = PyLong_Check(address) ? PyLong_AsVoidPtr(address) : nullptr;
      if (!function) {
        PyErr_Clear();
        bad("a kernel's address is a positive integer", address);
      }
      const int64_t total = phase.integer(0, any_size), grain = phase.integer(0, any_size);
      instr.phases.push_back({reinterpret_cast<KernelFn>(function), total, std::max<int64_t>(grain, 1)});
      phase.done();
    }
    for (Fields buffers(f.object(), "the buffers of a kernel"); buffers.more();) {
      Fields buffer(buffers.object(), "a kernel's buffer");
      const int32_t number = buffer_number(buffer);
      instr.buffers.push_back({number, buffer.integer()});
      buffer.done();
    }
    for (Fields params(f.object(), "the parameters of a kernel"); params.more();) instr.params.push_back(params.integer());
    for (Fields patches(f.object(), "the patches of a kernel"); patches.more();) {
      Fields patch(patches.object(), "a patch");
      const auto param = static_cast<int32_t>(patch.integer(0, static_cast<int64_t>(instr.params.size())));
      const auto scalar = static_cast<int32_t>(patch.integer(0, static_cast<int64_t>(p_.scalar_kinds.size())));
      instr.patches.push_back({param, scalar});
      patch.done();
    }
    if (f.more()) instr.fallible = PyObject_IsTrue(f.object()) == 1;
    p_.instructions.push_back(std::move(instr));
  }

  // ("gemm", dtype code, batch shape, m, n, k, a, b, c) with each operand (buffer, byte offset, batch strides, row stride,
  // column stride); then perhaps (leaders, their work, followers, their work, whether these want whole rows, and perhaps the
  // number of launches before that run beside it), and then
  // perhaps (a temporary that nothing else uses meanwhile, its bytes)
  void read_gemm(Fields& f) {
    Instruction instr{.name = name_of(name_id("gemm")), .is_gemm = true};
    Gemm& g = instr.gemm;
    g.dtype = static_cast<DType>(f.integer(1, dtype_count));
    check_tiles(g.dtype);
    for (Fields batch(f.object(), "a batch shape"); batch.more();) g.batch.push_back(batch.integer(0, any_size));
    g.m = f.integer(0, any_size), g.n = f.integer(0, any_size), g.k = f.integer(0, any_size);
    for (GemmOperand* operand : {&g.a, &g.b, &g.c})
      instr.buffers.push_back(read_operand(f.object(), g.batch.size(), *operand));
    if (f.more()) {
      Fields along(f.object(), "what runs with a matrix product");
      instr.leaders = static_cast<int32_t>(along.integer(0, most_leaders + 1));
      instr.leader_work = static_cast<double>(along.integer(0, any_size));
      instr.followers = static_cast<int32_t>(along.integer(0, most_followers + 1));
      instr.follower_work = static_cast<double>(along.integer(0, any_size));
      instr.whole_rows = PyObject_IsTrue(along.object()) == 1;
      if (along.more()) instr.beside.resize(static_cast<size_t>(along.integer(0, most_beside + 1)));
      along.done();
    }
    if (f.more()) {
      Fields spare(f.object(), "the spare memory of a matrix product");
      instr.spare = buffer_number(spare);
      const Buffer& buffer = p_.buffers[static_cast<size_t>(instr.spare)];
      if (buffer.kind != Buffer::temp) raise(PyExc_ValueError, "Program: spare memory is a part of the arena.");
      instr.spare_bytes = spare.integer(1, p_.arena_bytes - buffer.index + 1);
      spare.done();
    }
    p_.instructions.push_back(std::move(instr));
  }

  // ("attention", dtype code, causal, batch shape, (rows, keys, width, value width), pitch, operands q, k, v, g and mask as
  // those of a product or None, bytes of the mask's elements, results (out, dq, dk, dv) each a buffer or None, the kernels
  // of weights and slopes as (address, parameters), the second None where there is no g)
  void read_attention(Fields& f) {
    Attention at{};
    at.dtype = static_cast<DType>(f.integer(0, dtype_count));
    if (at.dtype != DType::float32 && at.dtype != DType::float64)
      raise(PyExc_ValueError, "Program: an attention is of float32 or float64.");
    check_tiles(at.dtype);
    at.causal = PyObject_IsTrue(f.object()) == 1;
    for (Fields batch(f.object(), "a batch shape"); batch.more();) at.batch.push_back(batch.integer(0, any_size));
    Fields sizes(f.object(), "the sizes of an attention");
    at.rows = sizes.integer(0, any_size), at.keys = sizes.integer(0, any_size);
    at.width = sizes.integer(0, any_size), at.value_width = sizes.integer(0, any_size);
    sizes.done();
    at.pitch = f.integer(at.keys, any_size);
    Instruction instr{.name = name_of(name_id("attention"))};
    for (GemmOperand* operand : {&at.q, &at.k, &at.v, &at.g, &at.mask}) {
      PyObject* given = f.object();
      if (given == Py_None) {
        if (operand != &at.g && operand != &at.mask) bad("an attention has queries, keys and values", given);
        instr.buffers.push_back({-1, 0});
      } else {
        instr.buffers.push_back(read_operand(given, at.batch.size(), *operand));
      }
    }
    at.gradient = instr.buffers[3].buffer >= 0;
    at.mask_size = f.integer(0, 9);
    if ((at.mask_size > 0) != (instr.buffers[4].buffer >= 0)) raise(PyExc_ValueError, "Program: a mask's elements have bytes.");
    Fields results(f.object(), "the results of an attention");
    for (int i = 0; i < 4; ++i) {
      PyObject* given = results.object();
      if (given == Py_None) {
        instr.buffers.push_back({-1, 0});
        continue;
      }
      instr.buffers.push_back({static_cast<int32_t>(integer_of(given, "a result is a buffer",
                                                               static_cast<int64_t>(p_.buffers.size()))), 0});
    }
    results.done();
    if (at.gradient == (instr.buffers[5].buffer >= 0))
      raise(PyExc_ValueError, "Program: an attention gives its output or, of a gradient, some of the others.");
    at.weights = read_row_kernel(f.object());
    PyObject* slopes = f.object();
    if ((slopes != Py_None) != at.gradient) bad("the gradient of an attention has a kernel of slopes, the attention none", slopes);
    if (at.gradient) at.slopes = read_row_kernel(slopes);
    instr.attention = std::make_shared<const Attention>(std::move(at));
    p_.instructions.push_back(std::move(instr));
  }

  static void check_tiles(DType dtype) {
    if (is_floating(dtype) && !(dtype == DType::float64 ? tile_set<double>() != nullptr : tile_set<float>() != nullptr))
      raise(PyExc_ValueError, "Program: there are no tiles for matrix products of %s yet (set_tiles).", dtype_name(dtype));
  }

  RowKernel read_row_kernel(PyObject* o) {
    Fields f(o, "a kernel over rows");
    PyObject* address = f.object();
    void* function = PyLong_Check(address) ? PyLong_AsVoidPtr(address) : nullptr;
    if (!function) {
      PyErr_Clear();
      bad("a kernel's address is a positive integer", address);
    }
    RowKernel kernel{reinterpret_cast<KernelFn>(function), {}};
    for (Fields params(f.object(), "the parameters of a kernel"); params.more();) kernel.params.push_back(params.integer());
    if (kernel.params.size() < 2) bad("a kernel over rows has the sizes of two loops", o);
    f.done();
    return kernel;
  }

  // (buffer, byte offset, batch strides, row stride, column stride)
  BufferAt read_operand(PyObject* given, size_t batch, GemmOperand& operand) {
    Fields o(given, "an operand of a matrix product");
    const int32_t number = buffer_number(o);
    const BufferAt at{number, o.integer()};
    for (Fields strides(o.object(), "batch strides"); strides.more();) operand.batch_strides.push_back(strides.integer());
    if (operand.batch_strides.size() != batch)
      raise(PyExc_ValueError, "Program: a matrix product has %zu batch strides for %zu batch dimensions.",
            operand.batch_strides.size(), batch);
    operand.row_stride = o.integer(), operand.col_stride = o.integer();
    o.done();
    return at;
  }

  // (input, op name) or (input, op name, first instruction that writes it)
  void read_writes() {
    p_.first_write = static_cast<int32_t>(p_.instructions.size());
    const Ref list = optional_entry(spec_, "writes");
    if (!list) return;
    for (Fields all(list.get(), "writes"); all.more();) {
      Fields f(all.object(), "a write");
      const auto input = static_cast<int32_t>(f.integer(0, p_.inputs));
      p_.writes.push_back({input, name_id(f.text())});
      const auto end = static_cast<int64_t>(p_.instructions.size()) + 1;
      const auto first = f.more() ? static_cast<int32_t>(f.integer(0, end)) : 0;
      p_.first_write = std::min(p_.first_write, first);
      f.done();
    }
  }

  void read_input_metas() {
    const Ref list = optional_entry(spec_, "input_layouts");
    if (!list) return;
    for (Fields all(list.get(), "input_layouts"); all.more();) {
      PyObject* layout = all.object();
      p_.input_metas.push_back(layout == Py_None ? nullptr : meta_from_layout(layout));
    }
    if (p_.input_metas.size() != static_cast<size_t>(p_.inputs))
      raise(PyExc_ValueError, "Program: there are %zu input layouts for %d inputs.", p_.input_metas.size(), p_.inputs);
  }

  void read_sites() {
    object_.sites.resize(p_.instructions.size());
    const Ref sites = optional_entry(spec_, "sites");
    if (!sites) return;
    if (!PyDict_Check(sites.get())) bad("sites is a dict", sites.get());
    PyObject *key, *value;
    for (Py_ssize_t i = 0; PyDict_Next(sites.get(), &i, &key, &value);) {
      const int64_t index = integer_of(key, "the key of a site is the number of an instruction",
                                       static_cast<int64_t>(p_.instructions.size()));
      object_.sites[static_cast<size_t>(index)] = Ref::borrow(value);
    }
  }

  ProgramObject& object_;
  Program& p_;
  PyObject* spec_;
  std::vector<std::pair<int64_t, int64_t>> fresh_names_;  // (output, -1) or (-1, number)
};

}  // namespace

ProgramObject::ProgramObject(nb::handle spec) : core{} {
  if (!PyDict_Check(spec.ptr())) raise(PyExc_TypeError, "Program takes a dict, not %R.", spec.ptr());
  Reader(*this, spec.ptr()).read();
}

}  // namespace weft
