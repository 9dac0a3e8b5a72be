#!/bin/sh
# real_git.sh - import of a generated history, clone, gc, log with diffs, blame, archive

. "$(dirname "$0")/common.sh"
need_program git perl

prepare() {
    perl -e '
        my $x = 1;
        sub random { $x = ($x * 1103515245 + 12345) & 0x7fffffff; return ($x >> 8) % $_[0] }
        my @files = map { [map { "line $_ " . random(1000) } 1 .. 20 + random(200)] } 1 .. 60;
        for my $commit (1 .. 250) {
            my $time = 1600000000 + $commit * 3600;
            my $message = "Change number $commit\n";
            print "commit refs/heads/main\nmark :$commit\n";
            print "author A <a\@example.org> $time +0000\ncommitter A <a\@example.org> $time +0000\n";
            print "data ", length($message), "\n$message";
            print "from :", $commit - 1, "\n" if $commit > 1;
            for (1 .. 4) {
                my $i = random(scalar @files);
                my $file = $files[$i];
                splice(@$file, random(scalar @$file), 1 + random(3),
                    map { "new $commit " . random(100000) } 1 .. 1 + random(5)) if @$file;
                my $text = join("\n", @$file) . "\n";
                print "M 644 inline folder", $i % 7, "/file$i\ndata ", length($text), "\n$text\n";
            }
        }
        my $big = join("", map { chr(random(256)) } 1 .. 3000000);
        print "commit refs/heads/main\ncommitter A <a\@example.org> 1700000000 +0000\ndata 4\nbig\n";
        print "from :250\nM 644 inline big\ndata ", length($big), "\n$big\n";
    ' >stream
}

workload() {
    export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
    git init -q --bare -b main origin.git
    git -C origin.git fast-import --quiet <"$DATA/stream"
    git clone -q --no-local origin.git copy 2>&1
    cd copy
    git -c gc.autoDetach=false -c pack.threads=2 gc -q --aggressive --prune=now
    git fsck --full --strict 2>&1
    git rev-list --objects --all | sort | sha256sum
    git log -p --stat -M main | sha256sum
    git blame -M -C folder3/file3 | sha256sum
    git archive main | sha256sum
    git diff --minimal main~200 main | sha256sum
    git grep -c 'new 1' main | sort | head -n 20
    git checkout -q -b topic main~30
    echo changed >>folder1/file1
    git -c user.name=A -c user.email=a@example.org commit -q -a -m Topic \
        --date='1700000000 +0000'
    git status --porcelain
    git merge-base topic main
}

compare_runs git --version
