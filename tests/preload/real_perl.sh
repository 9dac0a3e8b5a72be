#!/bin/sh
# real_perl.sh - hashes, regular expressions, sorting, string growth, and forked children

. "$(dirname "$0")/common.sh"
need_program perl

prepare() {
    pseudo_random_lines 20000 >lines
    cat >work.pl <<'END'
use strict;
use warnings;
open(my $in, "<", $ARGV[0]) or die;
my (%count, %first, @lines);
while (my $line = <$in>) {
    chomp $line;
    push @lines, $line;
    $count{$1}++ while $line =~ /([a-f]{2,3})/g;
    push @{$first{substr($line, 0, 2)}}, $.;
}
print "$_ $count{$_}\n" for (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0 .. 30];
print join(",", map { scalar @{$first{$_}} } sort keys %first), "\n";
my $text = join("", @lines);
(my $other = $text) =~ s/(\d+)/<$1>/g;
print length($text), " ", length($other), " ", substr($other, 100000, 60), "\n";
my @sorted = sort { substr($a, 20) cmp substr($b, 20) } map { scalar reverse $_ } @lines;
print "$sorted[0] $sorted[-1]\n";
my $grown = "";
$grown .= sprintf("%d:%s;", $_, "x" x ($_ % 50)) for 1 .. 100000;
print length($grown), "\n";
my @tree = ([]);
for my $i (1 .. 30000) {
    push @tree, [];
    push @{$tree[$i * 7919 % @tree]}, $tree[-1];
}
print scalar(@tree), "\n";
for my $child (1 .. 5) {
    my $pid = fork() // die;
    if (!$pid) { my @copy = map { "$_$child" } @lines; exit(@copy == @lines ? $child : 99) }
    waitpid($pid, 0);
    print "child ", $? >> 8, "\n";
}
END
}

workload() {
    export PERL_HASH_SEED=0
    perl "$DATA/work.pl" "$DATA/lines"
}

compare_runs perl -e 'print 1'
