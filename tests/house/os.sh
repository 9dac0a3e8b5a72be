#!/bin/sh
# os.sh - os_linux.c is the only file that talks to the kernel about memory, time and the machine

. "$(dirname "$0")/../lib/common.sh"
need_program perl

cd "$SRCDIR/src" || exit 99
perl - <<'END'
use strict;
use warnings;

my @calls = qw(mmap mmap64 munmap mremap mprotect madvise posix_madvise process_madvise mincore
    mlock mlock2 mlockall munlock munlockall msync brk sbrk prctl arch_prctl membarrier rseq
    getrandom getentropy sysconf getpagesize get_nprocs getauxval getrlimit setrlimit prlimit
    open open64 openat read pread readv close ioctl fcntl memfd_create
    clock_gettime gettimeofday time nanosleep usleep pthread_create
    sched_getaffinity sched_getcpu getcpu sched_yield sched_setaffinity
    getenv secure_getenv syscall vsyscall);
my $names = join("|", @calls);

# What may stand outside, and why it is said in the README: below os, a lock and a message.
my %allowed = (
    "base/lock.c" => qr/syscall\(SYS_futex\b/,
    "base/emit.c" => qr/syscall\(SYS_write\b/,
);

my $bad = 0;
for my $path (glob("*/*.c */*.h")) {
    next if $path eq "os/os_linux.c";
    my $text = do { local (@ARGV, $/) = $path; <> };
    $text =~ s{(/\*.*?\*/|"(?:[^"\\]|\\.)*"|//[^\n]*)}{ (my $s = $1) =~ tr/\n//cd; $s }gse;
    my $line = 0;
    for (split /\n/, $text) {
        $line++;
        next if $allowed{$path} && /$allowed{$path}/;
        next unless /(?<![\w.>])($names)\s*\(/ || /\b(MADV_|PROT_|MAP_|MREMAP_|SYS_|PR_SET_)\w+/;
        print STDERR "os: $path:$line: $_\n";
        $bad = 1;
    }
}
exit $bad;
END
