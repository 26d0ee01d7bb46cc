// A Replay: what a call of a static function does once it was traced. It tells whether what the trace met outside of the arguments
// is still so, collects the program's inputs, runs the program, and hands out results and gradients. No Python code runs, but for
// what only few functions have: numbers that are read again, attributes, results that gradients flow through, errors.
#pragma once

#include <cstdint>
#include <vector>

#include "python/program_object.h"

namespace weft {

// A tensor whose gradient is read or assigned.
struct Owner {
  Ref tensor;           // null: an argument
  size_t argument = 0;  // its number among the tensors
  TensorObject* of(TensorObject* const* tensors) const { return tensor ? as_tensor(tensor.get()) : tensors[argument]; }
};

// Where an input, a result or a gradient of a call is found.
struct Place {
  enum Kind : uint8_t { made, argument, fixed, gradient, again } kind;
  size_t index = 0;            // made: the program's output; argument: its number among the tensors; again: an earlier result
  Ref object{};                // fixed: itself
  Owner owner{};               // gradient: whose it is
  const Meta* meta = nullptr;  // of an input that is a gradient: the layout it must have; otherwise of a view of it, if any
  int64_t delta = 0;           // where the view begins in it, in elements
  int64_t base = no_base;      // what the view has as its base: a result, by its number, or one of these
  static constexpr int64_t no_base = -1, source_base = -2;  // source: what it is a view of
};

class Replay {
 public:
  // The parameters are those of the Python class, see _native.pyi.
  Replay(nb::handle program, size_t arguments, nb::handle inputs, nb::handle outputs, size_t hidden, nb::handle structure,
         nb::handle grads, nb::handle replaced, nb::handle attributes, nb::handle grads_read, nb::handle host, nb::handle apart,
         nb::handle shared, nb::handle failed, nb::handle attach);
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;

  // How many tensors a call is given.
  size_t arguments() const { return arguments_; }
  // Whether what the trace found besides the layouts of the arguments is still so. Throws what reading an attribute raises.
  bool holds(TensorObject* const* tensors) const;
  // Makes the call, which nothing may record meanwhile. `numbers` are Python numbers, for the program's first scalars. The
  // caller keeps everything alive, this replay included. A new reference. Throws.
  PyObject* run(TensorObject* const* tensors, PyObject* const* numbers, size_t n_numbers) const;
  // The program's inputs in a call with these tensors.
  nb::list inputs(nb::handle tensors) const;

  int traverse(visitproc visit, void* arg) const;
  void clear();

 private:
  struct Attribute {
    Ref owner, name, value;
    bool of_tensor;  // requires_grad of a tensor, whose value is `required`
    bool required;
  };
  struct GradRead {
    Owner owner;
    const Meta* found;  // null: there was none
  };
  struct Grad {
    Owner owner;
    bool none;  // it is None after a call
    Place place;
  };
  class Made;

  Owner read_owner(PyObject* given, const char* what) const;
  Place read_place(PyObject* given, bool input, size_t results) const;
  void collect(TensorObject* const* tensors, TensorObject** inputs, Ref* kept) const;
  void check_apart(TensorObject* const* inputs) const;
  void check_gradients(TensorObject* const* tensors) const;
  Ref give(const Place& place, const Made& made, TensorObject* const* tensors) const;
  void give_gradients(const Made& made, TensorObject* const* tensors, const Ref* results) const;
  [[noreturn]] void raise_located(nb::python_error& error) const;
  void record(TensorObject* const* tensors, TensorObject* const* inputs, const uint32_t* versions, PyObject* const* numbers,
              size_t n_numbers, const Ref* host_numbers, const Ref* results) const;

  Ref program_object_;
  const ProgramObject* program_ = nullptr;  // null: cleared by the garbage collector
  size_t arguments_;
  std::vector<Place> inputs_, outputs_;
  size_t hidden_;               // the last results, which are but bases of others
  size_t input_gradients_ = 0;  // inputs that are gradients
  Ref structure_;
  std::vector<Grad> grads_;
  std::vector<Owner> replaced_;
  bool differentiates_;         // the call finds gradients
  std::vector<Ref> apart_;      // tensors from outside that they flow to
  std::vector<Attribute> attributes_;
  std::vector<GradRead> grads_read_;
  std::vector<Ref> host_;
  Ref shared_, failed_, attach_;  // callables; null where there is none
};

}  // namespace weft
