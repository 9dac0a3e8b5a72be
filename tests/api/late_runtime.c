/*
 * late_runtime.c - operators new work in a C program that loads a C++ runtime later and locally
 *
 * As an interpreter written in C does with an extension written in C++. The library was loaded
 * long before, so nothing it could have been linked with helps it.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/wait.h>

#include "expect.h"

static const size_t IMPOSSIBLE = (size_t)PTRDIFF_MAX;

static void *(*operator_new)(size_t);
static void *(*operator_new_nothrow)(size_t, const void *);

static void find_operators(void)
{
    *(void **)&operator_new = dlsym(RTLD_DEFAULT, "_Znwm");
    *(void **)&operator_new_nothrow = dlsym(RTLD_DEFAULT, "_ZnwmRKSt9nothrow_t");
    if (operator_new == NULL || operator_new_nothrow == NULL)
        SKIP("this malloc brings no C++ operators");
}

/* What a child that runs out of memory in operator new says before it ends by SIGABRT. */
static void read_last_words(char *text, size_t size)
{
    int ends[2];
    EXPECT(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        dup2(ends[1], STDERR_FILENO);
        launder(operator_new(IMPOSSIBLE));
        _exit(TEST_PASS);
    }
    close(ends[1]);
    size_t len = 0;
    ssize_t got;
    while (len < size - 1 && (got = read(ends[0], text + len, size - 1 - len)) > 0)
        len += (size_t)got;
    text[len] = '\0';
    close(ends[0]);
    int status;
    EXPECT(waitpid(child, &status, 0) == child);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %x", (unsigned)status);
}

/* Nobody could catch an exception, so the program ends, and says why. */
static void check_without_runtime(void)
{
    char words[1024];
    EXPECT(operator_new_nothrow(IMPOSSIBLE, "") == NULL);
    read_last_words(words, sizeof(words));
    EXPECT(strncmp(words, "ashlar: out of memory", 21) == 0, "%s", words);
}

/* std::__throw_bad_alloc is a handler like any other: it throws. */
static void check_with_runtime(void *runtime)
{
    char words[1024];
    void *(*set_new_handler)(void *);
    *(void **)&set_new_handler = dlsym(runtime, "_ZSt15set_new_handlerPFvvE");
    void *throw_bad_alloc = dlsym(runtime, "_ZSt17__throw_bad_allocv");
    EXPECT(set_new_handler != NULL && throw_bad_alloc != NULL);

    read_last_words(words, sizeof(words));
    EXPECT(strstr(words, "bad_alloc") != NULL && strstr(words, "ashlar: ") == NULL, "%s", words);
    EXPECT(operator_new_nothrow(IMPOSSIBLE, "") == NULL);
    set_new_handler(throw_bad_alloc);
    EXPECT(operator_new_nothrow(IMPOSSIBLE, "") == NULL);
}

int main(void)
{
    test_begin(60);
    find_operators();
    check_without_runtime();
    void *runtime = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_LOCAL);
    if (runtime == NULL)
        SKIP("no libstdc++ here");
    check_with_runtime(runtime);
    return TEST_PASS;
}
