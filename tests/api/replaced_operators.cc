/*
 * replaced_operators.cc - a program's own operator new and delete get all that the standard gives them
 *
 * Most operators are defined by others, and programs replace only some: this one the two plainest.
 * A library that serves the rest by itself frees blocks of the program's pool.
 */
#include <new>

#include "expect.h"

/* Clang declares these only when asked to; gcc asks for definitions, which is not the point here. */
void operator delete(void *ptr, size_t size) noexcept;
void operator delete[](void *ptr, size_t size) noexcept;
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wsized-deallocation"
#endif

/* Ahead of each block, so that a foreign one shows. */
static const long MARK = 0x70617274;
static const size_t HEAD_BYTES = 32;

static int new_calls;
static int delete_calls;
static bool is_out;

void *operator new(size_t size)
{
    new_calls++;
    if (is_out)
        throw std::bad_alloc();
    char *head = static_cast<char *>(malloc(size + HEAD_BYTES));
    memcpy(head, &MARK, sizeof(MARK));
    return head + HEAD_BYTES;
}

void operator delete(void *ptr) noexcept
{
    if (ptr == nullptr)
        return;
    delete_calls++;
    char *head = static_cast<char *>(ptr) - HEAD_BYTES;
    EXPECT(memcmp(head, &MARK, sizeof(MARK)) == 0, "this block is not of operator new here");
    free(head);
}

/* One block goes through one call of each of the two, whatever forms it is made and freed by. */
template <typename Make, typename Free>
static void check_pair(Make make, Free free, const char *name)
{
    new_calls = 0;
    delete_calls = 0;
    void *ptr = launder(make());
    EXPECT(ptr != nullptr && new_calls == 1, "%s: %d calls of new", name, new_calls);
    free(ptr);
    EXPECT(delete_calls == 1, "%s: %d calls of delete", name, delete_calls);
}

static void check_frees()
{
    auto make = [] { return ::operator new(5); };
    check_pair(make, [](void *p) { ::operator delete(p); }, "delete");
    check_pair(make, [](void *p) { ::operator delete[](p); }, "delete[]");
    check_pair(make, [](void *p) { ::operator delete(p, size_t{5}); }, "sized delete");
    check_pair(make, [](void *p) { ::operator delete[](p, size_t{5}); }, "sized delete[]");
    check_pair(make, [](void *p) { ::operator delete(p, std::nothrow); }, "nothrow delete");
    check_pair(make, [](void *p) { ::operator delete[](p, std::nothrow); }, "nothrow delete[]");
}

static void check_makers()
{
    auto free = [](void *p) { ::operator delete(p); };
    check_pair([] { return ::operator new[](5); }, free, "new[]");
    check_pair([] { return ::operator new(5, std::nothrow); }, free, "nothrow new");
    check_pair([] { return ::operator new[](5, std::nothrow); }, free, "nothrow new[]");
}

static void check_nothrow_swallows()
{
    is_out = true;
    EXPECT(launder(::operator new(5, std::nothrow)) == nullptr);
    EXPECT(launder(::operator new[](5, std::nothrow)) == nullptr);
    is_out = false;
}

int main()
{
    test_begin(60);
    check_frees();
    check_makers();
    check_nothrow_swallows();
    return TEST_PASS;
}
