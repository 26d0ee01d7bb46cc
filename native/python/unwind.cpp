// What happens to a thread that CPython ends. Before 3.14, while the interpreter shuts down, a thread that asks for the GIL
// is ended by pthread_exit, wherever it is: in Python code that our code has called, in the finaliser of an object whose
// last reference our destructor drops, in a collection of garbage that an allocation begins. On ELF systems that unwinds
// the stack, and C++ frames do not survive it: it stops at functions that do not throw (std::terminate), and would run
// destructors without the GIL. So such a thread sleeps instead, as CPython itself makes it do from 3.14 on.
//
// The place to say so is the function that the unwinder asks about each C++ frame which has anything to do, its
// "personality". The module is linked with --wrap=__gxx_personality_v0, so that all its frames, nanobind's included, name
// the one below; frames of other libraries are not touched.
#include <unistd.h>
#include <unwind.h>

extern "C" {

_Unwind_Reason_Code __real___gxx_personality_v0(int version, _Unwind_Action actions, _Unwind_Exception_Class kind,
                                                _Unwind_Exception* exception, _Unwind_Context* context);

_Unwind_Reason_Code __wrap___gxx_personality_v0(int version, _Unwind_Action actions, _Unwind_Exception_Class kind,
                                                _Unwind_Exception* exception, _Unwind_Context* context) {
  if (actions & _UA_FORCE_UNWIND)  // nobody else unwinds a thread by force
    for (;;) pause();
  return __real___gxx_personality_v0(version, actions, kind, exception, context);
}

}  // extern "C"
