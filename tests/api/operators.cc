/*
 * operators.cc - every operator new and delete, and what they do when there is no memory
 *
 * run:
 * run: ASHLAR_CONF=guard:mprotect,decay_ms:0
 */
#include <cstdint>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "expect.h"

/* Clang declares these only with -fsized-deallocation. */
#ifndef __cpp_sized_deallocation
void operator delete(void *ptr, size_t size) noexcept;
void operator delete[](void *ptr, size_t size) noexcept;
void operator delete(void *ptr, size_t size, std::align_val_t align) noexcept;
void operator delete[](void *ptr, size_t size, std::align_val_t align) noexcept;
#endif

static const size_t sizes[] = {0, 1, 8, 24, 100, 1000, 5000, 50000, 131072, 200000, 3000000};

static void check_made(void *ptr, size_t size, size_t align)
{
    EXPECT(ptr != nullptr && is_aligned(ptr, align), "new of %zu bytes at %zu: %p", size, align,
           ptr);
    EXPECT(malloc_usable_size(ptr) >= size);
    pattern_fill(ptr, size, size);
    EXPECT(pattern_holds(ptr, size, size));
}

static void check_plain_operators(size_t size)
{
    const std::nothrow_t &quiet = std::nothrow;
    void *ptr = ::operator new(size);
    check_made(ptr, size, 16);
    ::operator delete(ptr);
    ptr = ::operator new[](size);
    check_made(ptr, size, 16);
    ::operator delete[](ptr);
    ptr = ::operator new(size, quiet);
    check_made(ptr, size, 16);
    ::operator delete(ptr, quiet);
    ptr = ::operator new[](size, quiet);
    check_made(ptr, size, 16);
    ::operator delete[](ptr, quiet);
    ::operator delete(::operator new(size), size);
    ::operator delete[](::operator new[](size), size);
}

static void check_aligned_operators(size_t size, size_t align_bytes)
{
    const std::nothrow_t &quiet = std::nothrow;
    std::align_val_t align{align_bytes};
    void *ptr = ::operator new(size, align);
    check_made(ptr, size, align_bytes);
    ::operator delete(ptr, align);
    ptr = ::operator new[](size, align);
    check_made(ptr, size, align_bytes);
    ::operator delete[](ptr, align);
    ptr = ::operator new(size, align, quiet);
    check_made(ptr, size, align_bytes);
    ::operator delete(ptr, align, quiet);
    ptr = ::operator new[](size, align, quiet);
    check_made(ptr, size, align_bytes);
    ::operator delete[](ptr, align, quiet);
    ::operator delete(::operator new(size, align), size, align);
    ::operator delete[](::operator new[](size, align), size, align);
}

static void check_null_deletes()
{
    std::align_val_t align{64};
    ::operator delete(nullptr);
    ::operator delete[](nullptr);
    ::operator delete(nullptr, std::nothrow);
    ::operator delete[](nullptr, std::nothrow);
    ::operator delete(nullptr, (size_t)8);
    ::operator delete[](nullptr, (size_t)8);
    ::operator delete(nullptr, align);
    ::operator delete[](nullptr, align);
    ::operator delete(nullptr, (size_t)8, align);
    ::operator delete[](nullptr, (size_t)8, align);
}

template <typename Make> static bool throws_bad_alloc(Make make)
{
    try {
        void *ptr = launder(make());
        (void)ptr;
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

/* Impossible sizes throw where that is declared and give null where it is not. */
static void check_impossible(size_t size)
{
    std::align_val_t align{4096};
    EXPECT(throws_bad_alloc([=] { return ::operator new(size); }), "%zu", size);
    EXPECT(throws_bad_alloc([=] { return ::operator new[](size); }), "%zu", size);
    EXPECT(launder(::operator new(size, std::nothrow)) == nullptr, "%zu", size);
    EXPECT(launder(::operator new[](size, std::nothrow)) == nullptr, "%zu", size);
    if (!on_ashlar() && size + 4096 < size)
        return; /* libstdc++ rounds up to the alignment, past the end, to 0 */
    EXPECT(throws_bad_alloc([=] { return ::operator new(size, align); }), "%zu", size);
    EXPECT(throws_bad_alloc([=] { return ::operator new[](size, align); }), "%zu", size);
    EXPECT(launder(::operator new(size, align, std::nothrow)) == nullptr, "%zu", size);
    EXPECT(launder(::operator new[](size, align, std::nothrow)) == nullptr, "%zu", size);
}

static int handler_calls;

static void handler_gives_up_third_time()
{
    if (++handler_calls == 3)
        std::set_new_handler(nullptr);
}

static void handler_throws()
{
    handler_calls++;
    throw std::bad_alloc();
}

/* The handler is asked until it gives up, before the operator does. */
template <typename Make> static void check_handler(Make make, const char *name)
{
    handler_calls = 0;
    std::set_new_handler(handler_gives_up_third_time);
    bool threw = throws_bad_alloc(make);
    EXPECT(handler_calls == 3, "%s called the handler %d times", name, handler_calls);
    EXPECT(threw == (strstr(name, "nothrow") == nullptr), "%s", name);
    handler_calls = 0;
    std::set_new_handler(handler_throws);
    threw = throws_bad_alloc(make);
    std::set_new_handler(nullptr);
    EXPECT(handler_calls == 1, "%s called the handler %d times", name, handler_calls);
    EXPECT(threw == (strstr(name, "nothrow") == nullptr), "%s", name);
}

static void *reserve; /* what a handler may let go of */
static size_t retry_size;

static void handler_frees_reserve()
{
    EXPECT(reserve != nullptr, "the handler ran again although it had made room");
    free(reserve);
    reserve = nullptr;
    struct rlimit unlimited;
    getrlimit(RLIMIT_AS, &unlimited);
    unlimited.rlim_cur = unlimited.rlim_max;
    setrlimit(RLIMIT_AS, &unlimited);
}

/* The operator tries again after the handler, and succeeds. */
static void check_handler_makes_room()
{
    struct rlimit limit;
    getrlimit(RLIMIT_AS, &limit);
    if (limit.rlim_max != RLIM_INFINITY)
        return;
    reserve = malloc(1000);
    retry_size = 2 * GIB; /* little enough for a small machine */
    limit.rlim_cur = 1 * GIB;
    EXPECT(setrlimit(RLIMIT_AS, &limit) == 0);
    std::set_new_handler(handler_frees_reserve);
    void *ptr = ::operator new(retry_size);
    EXPECT(ptr != nullptr && reserve == nullptr);
    ::operator delete(ptr);
    std::set_new_handler(nullptr);
}

struct alignas(256) Wide {
    char bytes[300];
};

/* What programs do with them. */
static void check_standard_library()
{
    std::map<std::string, std::vector<int>> map;
    for (int i = 0; i < 20000; i++)
        map["key number " + std::to_string(i % 700)].push_back(i);
    size_t count = 0;
    for (const auto &entry : map)
        count += entry.second.size();
    EXPECT(count == 20000);
    std::list<std::unique_ptr<Wide>> wide;
    for (int i = 0; i < 1000; i++) {
        wide.push_back(std::make_unique<Wide>());
        EXPECT(is_aligned(wide.back().get(), 256));
        if (i % 3 == 0)
            wide.pop_front();
    }
    auto shared = std::make_shared<std::vector<double>>(1000000, 1.5);
    std::thread([shared] { shared->resize(2000000, 2.5); }).join();
    EXPECT((*shared)[999999] == 1.5 && (*shared)[1999999] == 2.5);
    std::vector<char> huge;
    bool threw = false;
    try {
        huge.reserve(std::numeric_limits<ptrdiff_t>::max() - 100);
        launder(huge.data());
    } catch (const std::bad_alloc &) {
        threw = true;
    }
    EXPECT(threw);
}

int main()
{
    test_begin(60);
    for (size_t size : sizes) {
        check_plain_operators(size);
        for (size_t align = 1; align <= 2 * MIB; align *= 2)
            check_aligned_operators(size, align);
    }
    check_null_deletes();
    for (size_t size :
         {SIZE_MAX, SIZE_MAX - 4096, (size_t)PTRDIFF_MAX + 1, (size_t)PTRDIFF_MAX - 4096})
        check_impossible(size);
    volatile size_t impossible = SIZE_MAX / 2 + 1;
    std::align_val_t align{64};
    check_handler([&] { return ::operator new(impossible); }, "new");
    check_handler([&] { return ::operator new[](impossible); }, "new[]");
    check_handler([&] { return ::operator new(impossible, align); }, "aligned new");
    check_handler([&] { return ::operator new[](impossible, align); }, "aligned new[]");
    check_handler([&] { return ::operator new(impossible, std::nothrow); }, "nothrow new");
    check_handler([&] { return ::operator new[](impossible, std::nothrow); }, "nothrow new[]");
    check_handler([&] { return ::operator new(impossible, align, std::nothrow); },
                  "nothrow aligned new");
    check_handler([&] { return ::operator new[](impossible, align, std::nothrow); },
                  "nothrow aligned new[]");
    check_standard_library();
    check_handler_makes_room();
    return TEST_PASS;
}
