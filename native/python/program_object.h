// weft._native.Program: a Program together with the Python objects it needs, and running one from Python.
#pragma once

#include <memory>
#include <vector>

#include "program/program.h"
#include "python/tensor.h"

namespace weft {

struct ProgramObject {
  Program core;
  std::vector<Ref> constants;  // the tensors behind constant buffers
  std::vector<Ref> sites;      // one per instruction, possibly null: handed to the index-error callback

  ProgramObject(const ProgramObject&) = delete;
  ProgramObject& operator=(const ProgramObject&) = delete;
  explicit ProgramObject(nb::handle spec);  // program_spec.cpp
};

// The bits of a Python number for a scalar of this kind ('f' or 'i'). Throws TypeError or OverflowError.
int64_t scalar_bits(PyObject* number, char kind, const char* program);

// Runs the program, releasing the GIL if it says so; then bumps the versions of what it writes. On success fills
// `fresh`. Throws the Python exception otherwise.
void execute(const ProgramObject& program, TensorObject* const* inputs, const int64_t* scalars, Storage** fresh);

// The output tensors, taking over the references in `fresh`.
void make_outputs(const Program& program, TensorObject* const* inputs, Storage** fresh, PyObject** outputs);

nb::list run_from_python(const ProgramObject& program, nb::handle inputs, nb::handle scalars, nb::handle into);

}  // namespace weft
