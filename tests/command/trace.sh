#!/bin/sh
# trace.sh - what a program allocates is recorded and replayed: the same peak of live bytes

. "$(dirname "$0")/common.sh"

cd "$SCRATCH" || exit 99
replay() { "$ASHLAR_BUILD/tools/ashlar-replay" "$@"; }

# A program whose allocations are known to the byte.
cat >known.c <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    char *blocks[100];
    if (argc > 1)
        execl(argv[1], argv[1], (char *)0);
    for (int i = 0; i < 100; i++)
        blocks[i] = malloc(10000);
    for (int i = 0; i < 100; i += 2)
        free(blocks[i]);
    blocks[1] = realloc(blocks[1], 3000000);
    void *aligned;
    if (posix_memalign(&aligned, 4096, 5000) != 0)
        return 1;
    free(aligned);
    if (fork() == 0) {
        free(blocks[1]);
        blocks[1] = calloc(7, 1000000);
        free(blocks[1]);
        _exit(0);
    }
    wait(NULL);
    abort();
}
END
"${CC:-cc}" -O0 -fno-builtin -o known known.c || hard_error "cannot compile"
ashlar run --trace known.trace -- ./known >out 2>&1
gives 0 ashlar replay -l known.trace
# 50 x 10,000 less one, and the one grown to 3,000,000; aborted, so nothing was flushed at exit.
awk '$3 == 3490000 + 5000 && $4 == 100 { parent++ } $3 == 7490000 { child++ } END { exit !(parent == 1 && child == 1) }' \
    out || { cat out >&2; fail "peaks are not those of the program"; }
for pid in $(awk 'NR > 1 { print $1 }' out); do
    gives 0 replay -p "$pid" -t all known.trace
done

# Another program in the same process: exec loses nothing of the one before.
ashlar run --trace exec.trace -- ./known ./known >out 2>&1
gives 0 ashlar replay -l exec.trace
[ "$(grep -c known out)" -ge 2 ] || fail "the program before exec is not in the trace"

# A compiler run: every process is replayed with its own peak.
awk 'BEGIN { for (i = 0; i < 300; i++) printf "int f%d(int n) { int t = %d; while (n--) t ^= t * n; return t; }\n", i, i }' >big.c
gives 0 ashlar run --trace gcc.trace -- "${CC:-cc}" -O2 -c -o big.o big.c
gives 0 ashlar replay -l gcc.trace
processes=$(awk 'NR > 1 { print $1 }' "$SCRATCH/out")
[ "$(echo "$processes" | wc -l)" -ge 2 ] || fail "the compiler's own processes are not in the trace"
cat out >&2
for pid in $processes; do
    for library in "" "$ASHLAR_LIB"; do
        gives 0 env LD_PRELOAD="$library" "$ASHLAR_BUILD/tools/ashlar-replay" -p "$pid" gcc.trace
    done
done

# Threads that hand blocks over, and C++ operators.
cat >threads.cc <<'END'
#include <memory>
#include <thread>
#include <vector>
int main()
{
    std::vector<std::unique_ptr<char[]>> blocks(2000);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; t++)
        threads.emplace_back([&blocks, t] { for (int i = t; i < 2000; i += 4) blocks[i].reset(new char[1000]); });
    for (auto &thread : threads)
        thread.join();
    threads.clear();
    threads.emplace_back([&blocks] { blocks.clear(); });
    threads[0].join();
}
END
if command -v "${CXX:-c++}" >/dev/null && "${CXX:-c++}" -O1 -o threads threads.cc -lpthread; then
    gives 0 ashlar run --trace threads.trace -- ./threads
    gives 0 ashlar replay -l threads.trace
    awk 'NR == 2 && $3 >= 2000000 && $3 < 2300000 && $5 == 6 { found = 1 } END { exit !found }' out || {
        cat out >&2
        fail "threads or operators are not recorded"
    }
    gives 0 ashlar replay threads.trace
fi

# Damaged and foreign files.
echo nonsense >bad.trace
gives 2 ashlar replay bad.trace
one_line_on_stderr
head -c 70000 gcc.trace >short.trace
gives 2 ashlar replay short.trace
one_line_on_stderr
gives 2 ashlar replay absent.trace
one_line_on_stderr
gives 125 ashlar run --trace /absent/x.trace -- true
one_line_on_stderr

pass
