// The bandwidth yardstick: c = a + s * b over float32 (the triad of J. D. McCalpin's STREAM), on a given number of threads.
#include <cstdint>

#ifdef _OPENMP
extern "C" void triad(float *__restrict c, const float *__restrict a, const float *__restrict b, float s, int64_t n, int threads) {
#pragma omp parallel for simd num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; ++i) c[i] = a[i] + s * b[i];
}
#else
#include <thread>
#include <vector>

static void part(float *__restrict c, const float *__restrict a, const float *__restrict b, float s, int64_t n) {
    for (int64_t i = 0; i < n; ++i) c[i] = a[i] + s * b[i];
}

extern "C" void triad(float *c, const float *a, const float *b, float s, int64_t n, int threads) {
    std::vector<std::thread> others;
    int64_t chunk = (n + threads - 1) / threads;
    for (int64_t begin = chunk; begin < n; begin += chunk) {
        others.emplace_back(part, c + begin, a + begin, b + begin, s, n - begin < chunk ? n - begin : chunk);
    }
    part(c, a, b, s, n < chunk ? n : chunk);
    for (auto &t : others) t.join();
}
#endif
