// See gil.h.
#include "python/gil.h"

#include <pthread.h>

#include "base/fork.h"
#include "base/profile.h"

namespace weft {
namespace {

constexpr int64_t poll_interval_ns = 50'000'000;
pthread_t main_thread;

}  // namespace

ReleasedGil::ReleasedGil() : state_(PyEval_SaveThread()), next_(now_ns() + poll_interval_ns) {
  if (pthread_equal(pthread_self(), main_thread)) poll_ = {ask, this};
}

bool ReleasedGil::ask(void* self) {
  auto* gil = static_cast<ReleasedGil*>(self);
  if (now_ns() < gil->next_) return false;
  PyEval_RestoreThread(gil->state_);
  const bool raised = PyErr_CheckSignals() != 0;
  gil->state_ = PyEval_SaveThread();
  gil->next_ = now_ns() + poll_interval_ns;
  return raised;
}

void remember_main_thread() {
  const Ref threading = checked(PyImport_ImportModule("threading"));
  const Ref thread = checked(PyObject_CallMethod(threading.get(), "main_thread", nullptr));
  const Ref ident = checked(PyObject_GetAttrString(thread.get(), "ident"));
  main_thread = static_cast<pthread_t>(PyLong_AsUnsignedLong(ident.get()));
  if (PyErr_Occurred()) throw_python_error();
  after_fork_in_child([] { main_thread = pthread_self(); });
}

}  // namespace weft
