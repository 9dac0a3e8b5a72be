#!/bin/sh
# real_bash.sh - a long pipeline, and a script heavy in strings, arrays and subshells

. "$(dirname "$0")/common.sh"
need_program bash awk sed sort tr cut paste

prepare() {
    pseudo_random_lines 60000 >lines
    cat >script.bash <<'END'
declare -A count
declare -a list
while read -r line; do
    key=${line:0:2}
    count[$key]=$((${count[$key]:-0} + 1))
    list+=("${line//[0-3]/x}")
done < <(head -n 6000 "$1")
for key in "${!count[@]}"; do echo "$key ${count[$key]}"; done | sort
printf '%s\n' "${list[@]:100:20}"
text=
for i in {1..3000}; do text+="word$i "; done
echo "${#text} ${text:5000:60}"
unset 'list[50]'
echo "${#list[@]}"
hanoi() { [ "$1" -eq 0 ] || { hanoi $(($1 - 1)) "$2" "$4" "$3"; moves=$((moves + 1)); hanoi $(($1 - 1)) "$4" "$3" "$2"; }; }
moves=0; hanoi 10 a b c; echo $moves
sum=0
for i in {1..60}; do sum=$((sum + $(echo "$i" | (read -r x; echo $((x * x)))))); done
echo "$sum"
cat <<HERE | tr a-z A-Z
here $sum ${list[3]}
HERE
mapfile -t back < "$1"
echo "${#back[@]} ${back[59999]}"
END
}

workload() {
    sed 's/\(..\)/\1 /g' "$DATA/lines" | tr ' ' '\n' | grep -v '^$' | sort | uniq -c | sort -k1,1nr -k2 |
        awk '{ print $2, $1, length($0) }' | tac | nl | paste - - | cut -c 1-60 | rev | head -n 200
    cat "$DATA/lines" | cat | tee copy | sed -n '1~3p' | awk '{ a[$1 % 100] = a[$1 % 100] substr($0, 1, 3) }
        END { for (i = 0; i < 100; i++) print a[i] }' | fold -w 70 | tail -n 20 | md5sum
    cmp copy "$DATA/lines"
    bash "$DATA/script.bash" "$DATA/lines"
}

compare_runs bash -c 'echo hello'
