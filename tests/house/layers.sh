#!/bin/sh
# layers.sh - includes go down the stair only, and src/README.md draws the stair as it is

. "$(dirname "$0")/../lib/common.sh"
need_program perl

cd "$SRCDIR/src" || exit 99
perl - <<'END'
use strict;
use warnings;

# Bottom to top; small and large stand side by side.
my @steps = qw(base os conf map harden small large front api);
my %height = map { $steps[$_] => $_ } 0 .. $#steps;
my %siblings = ("small large" => 1, "large small" => 1);
my $bad = 0;
sub wrong { print STDERR "layers: @_\n"; $bad = 1 }

sub may_include {
    my ($from, $to) = @_;
    return $height{$to} <= $height{$from} && !$siblings{"$from $to"};
}

sub slurp { local (@ARGV, $/) = @_; return <> }

# The includes of every file.
my (%modules, %includes);
for my $path (glob("*/*")) {
    my ($step, $file) = split m{/}, $path;
    if (!exists $height{$step}) { wrong("src/$step is no step of the stair"); next }
    wrong("src/$path is a folder; the stair is one folder deep") if -d $path;
    next unless $file =~ /\.(c|h|def|map)$/;
    $modules{$step}{$file} = 1;
    for my $line (split /\n/, slurp($path)) {
        next unless $line =~ /^\s*#\s*include\s*"([^"]*)"/;
        my $target = $1;
        wrong("$path includes $target, a .c file") if $target =~ /\.c$/;
        if ($target =~ m{^ashlar/}) {
            wrong("$path includes the public header; only api may") if $step ne "api";
        } elsif ($target !~ m{^(\w+)/[\w-]+\.\w+$} || !exists $height{$1}) {
            wrong("$path includes $target, not by step and name");
        } else {
            my $to = $1;
            wrong("$path includes $target, up or across the stair") if !may_include($step, $to);
            wrong("$path includes $target, which does not exist") if !-e $target;
            $includes{$path}{$target} = 1;
        }
    }
}
for my $file (glob("*.c *.h")) { wrong("src/$file belongs to no step") }

# No header reaches itself.
sub reaches {
    my ($from, $to, $seen) = @_;
    for my $next (keys %{$includes{$from} || {}}) {
        return 1 if $next eq $to;
        return 1 if !$seen->{$next}++ && reaches($next, $to, $seen);
    }
    return 0;
}
for my $path (sort keys %includes) {
    wrong("$path includes itself in a circle") if reaches($path, $path, {});
}

# The picture: the first fenced block. It names every step, and each module beside or below its own.
my $readme = slurp("README.md");
my ($picture) = $readme =~ /^```\n(.*?)^```/ms or die "no picture in src/README.md\n";
my %drawn;
my $step = "";
for my $line (split /\n/, $picture) {
    my @words = $line =~ /([\w\/.-]+)/g;
    if (@words && $line =~ /^  (\w+) / && exists $height{$1}) { $step = shift @words }
    $drawn{$step}{$_} = 1 for grep { /\w/ } @words;
    $drawn{small} = $drawn{large} if $step eq "large" && grep { $_ eq "small" } @words;
}
# Words of the picture that are not modules: calls of the program, and explanations.
delete $drawn{""};
my %prose = map { $_ => 1 } qw(contract Linux tests tests/unit/fake_os.c), @steps;
for my $step (@steps) {
    my %names;
    if (!$drawn{$step}) { wrong("the picture lacks the step $step"); next }
    for my $file (keys %{$modules{$step}}) {
        (my $module = $file) =~ s/\.\w+$//;
        $names{$module} = $names{$file} = 1;
        # small and large are drawn side by side, so a module may stand in the lines of either.
        my @places = $step =~ /^(small|large)$/ ? qw(small large) : ($step);
        next if $file =~ /\.map$/;
        wrong("the picture lacks $step/$file")
            if !grep { $drawn{$_}{$module} || $drawn{$_}{$file} } @places;
        wrong("src/README.md does not describe $step/$file")
            if $readme !~ /^## $step\b(?:(?!^## ).)*`(?:\Q$module\E|\Q$file\E)`/ms;
    }
}
for my $step (keys %drawn) {
    my @places = $step =~ /^(small|large)$/ ? qw(small large) : ($step);
    for my $word (keys %{$drawn{$step}}) {
        next if $prose{$word};
        next if grep { /^\Q$word\E(\.\w+)?$/ } map { keys %{$modules{$_}} } @places;
        wrong("the picture shows $word at $step; there is no such file");
    }
}

# The table says what each step may include: what the stair allows, and no more.
my %table = $readme =~ /^\| (\w+) \| ([\w ]+) \|$/mg;
delete $table{step};
for my $step (@steps) {
    my $wanted = join(" ", sort grep { may_include($step, $_) } @steps);
    my $found = join(" ", sort split / /, $table{$step} // "");
    wrong("the table lets $step include '$found', the stair '$wanted'") if $found ne $wanted;
}
exit $bad;
END
