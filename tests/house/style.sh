#!/bin/sh
# style.sh - what a reader may count on in every file of src/ and include/

. "$(dirname "$0")/../lib/common.sh"
need_program perl

cd "$SRCDIR" || exit 99
perl - <<'END'
use strict;
use warnings;

my $most_lines = 530;
my $most_columns = 100;
my $bad = 0;
sub wrong { print STDERR "style: @_\n"; $bad = 1 }

for my $path (glob("src/*/* include/*/*")) {
    next unless $path =~ /\.(c|h|def|map)$/;
    my ($name) = $path =~ m{([^/]+)$};
    my $text = do { local (@ARGV, $/) = $path; <> };
    my @lines = split /\n/, $text, -1;
    wrong("$path does not open with \"$name - what it is for\"")
        unless $text =~ m{^/\*(?:\n \*)? \Q$name\E - \S};
    if ($path =~ /\.[ch]$/ && $path =~ /^src/) {
        my ($opening) = $text =~ m{^(/\*.*?\*/)}s;
        for my $heading ("Layer") {
            wrong("$path does not say its $heading") unless ($opening // "") =~ /^ \* $heading\b/m;
        }
    }
    wrong("$path has more than $most_lines lines: $#lines") if $#lines > $most_lines;
    wrong("$path does not end with a newline") unless $text =~ /\n\z/;
    wrong("$path has a byte that is not ASCII") if $text =~ /[^\x00-\x7f]/;
    for my $i (0 .. $#lines) {
        my $at = "$path:" . ($i + 1);
        wrong("$at is longer than $most_columns columns") if length($lines[$i]) > $most_columns;
        wrong("$at leaves something to do") if $lines[$i] =~ /\b(TODO|FIXME|XXX|HACK)\b/;
        wrong("$at ends in blanks or holds a tab") if $lines[$i] =~ /[ \t]$|\t/;
        wrong("$at switches code off") if $lines[$i] =~ /^\s*#\s*if\s+0\b/;
    }
}
exit $bad;
END
