// A test harness of one page: TEST(name) { CHECK(condition); } and a main that runs every test of the file.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <vector>

namespace check {

struct Test {
  const char* name;
  void (*body)();
};

inline std::vector<Test>& tests() {
  static std::vector<Test> list;
  return list;
}

struct Register {
  Register(const char* name, void (*body)()) { tests().push_back({name, body}); }
};

inline void require(bool condition, const char* text, const char* file, int line) {
  if (condition) return;
  std::fprintf(stderr, "%s:%d: not true: %s\n", file, line, text);
  std::abort();
}

}  // namespace check

// For what is compared with: its loops, which touch nothing that threads share, would be most of a sanitizer's time.
#define NOT_SANITIZED __attribute__((no_sanitize_address, no_sanitize_thread))

#define CHECK(condition) check::require(static_cast<bool>(condition), #condition, __FILE__, __LINE__)
#define CHECK_THROWS(expression, exception)        \
  do {                                             \
    bool thrown = false;                           \
    try {                                          \
      static_cast<void>(expression);               \
    } catch (const exception&) {                   \
      thrown = true;                               \
    }                                              \
    CHECK(thrown && #expression " throws");        \
  } while (false)
#define TEST(name)                                          \
  static void name();                                       \
  static const check::Register register_##name(#name, name); \
  static void name()

int main() {
  for (const check::Test& t : check::tests()) {
    std::fprintf(stderr, "%s\n", t.name);
    t.body();
  }
  return 0;
}
