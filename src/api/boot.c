/*
 * boot.c - start-up, bottom to top
 *
 * Purpose     See boot.h.
 * Invariants  Two steps. The first needs nothing but the kernel and runs before the first request,
 *             which may come from the loader, before the C library is ready. The second, a
 *             constructor, registers what may allocate, and reads the environment if that was not
 *             there yet.
 * Locking     BOOT, held over a few system calls that find out what the kernel offers.
 * Layer       api/.
 */
#include "api/boot.h"

#include <unistd.h>

#include "api/fork.h"
#include "api/report.h"
#include "base/check.h"
#include "conf/options.h"
#include "os/os.h"

struct ashlar_lock ashlar_boot_lock = ASHLAR_LOCK_INIT(BOOT);

static _Atomic bool is_up;
static bool has_options; /* BOOT */

/* Says what was demanded and cannot be had. */
static void warn_of_kernel(void)
{
    if (ashlar_opt.guard == ASHLAR_GUARD_MADVISE && !ashlar_os_facts.has_guard_markers)
        ashlar_warn("guard:madvise: this kernel has no guard markers (Linux 6.13 has), so large "
                    "blocks are not fenced");
}

/* Takes the options over from an environment, once there is one. */
static void read_options(char *const *environment)
{
    if (has_options || environment == NULL)
        return;
    has_options = true;
    if (ashlar_os_is_privileged())
        return;
    ashlar_options_parse(ashlar_options_find_env(environment));
    warn_of_kernel();
}

static ASHLAR_COLD void bring_up(void)
{
    if (!ashlar_lock_take(&ashlar_boot_lock))
        return; /* in a handler that interrupted this, or a fork runs: the defaults serve */
    if (!atomic_load_explicit(&is_up, memory_order_relaxed)) {
        ashlar_os_boot();
        read_options(environ);
        atomic_store_explicit(&is_up, true, memory_order_release);
    }
    ashlar_lock_release(&ashlar_boot_lock);
}

void ashlar_boot(void)
{
    if (ASHLAR_UNLIKELY(!atomic_load_explicit(&is_up, memory_order_acquire)))
        bring_up();
}

__attribute__((constructor)) static void construct(int argc, char **argv, char **environment)
{
    (void)argc;
    (void)argv;
    ashlar_boot();
    if (ashlar_lock_take(&ashlar_boot_lock)) {
        read_options(environ != NULL ? environ : environment);
        ashlar_lock_release(&ashlar_boot_lock);
    }
    ashlar_heaps_boot();
    ashlar_fork_boot();
}

__attribute__((destructor)) static void destruct(void)
{
    struct ashlar_emit emit;
    if (ashlar_opt.stats_print == ASHLAR_STATS_OFF)
        return;
    ashlar_emit_begin(&emit, STDERR_FILENO);
    ashlar_report_emit(&emit, ashlar_opt.stats_print == ASHLAR_STATS_JSON ? ASHLAR_REPORT_JSON
                                                                          : ASHLAR_REPORT_TEXT);
}
