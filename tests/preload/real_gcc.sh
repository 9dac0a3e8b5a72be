#!/bin/sh
# real_gcc.sh - gcc and g++ compile something big to the same bytes, and the result runs

. "$(dirname "$0")/common.sh"
need_program gcc g++ perl

prepare() {
    perl -e '
        print "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n";
        for my $i (1 .. 60) {
            print "static unsigned long f$i(unsigned long x, char *s)\n{\n    unsigned long t[16] = {x};\n";
            print "    for (int i = 1; i < 16; i++) t[i] = t[i - 1] * ${i}UL + (t[i - 1] >> ", $i % 13 + 1, ");\n";
            print "    switch (x % 11) {\n";
            print "    case $_: x += t[", ($_ * $i) % 16, "] ^ strlen(s); break;\n" for 0 .. 9;
            print "    default: s[x % 16] = (char)(97 + x % 26); break;\n    }\n";
            print "    return x ^ t[x % 16];\n}\n";
        }
        print "int main(void)\n{\n    unsigned long x = 1;\n    char *s = calloc(1, 32);\n    memset(s, 98, 20);\n";
        print "    x = f$_(x, s);\n" for 1 .. 60;
        print "    printf(\"%lu %s\\n\", x, s);\n    free(s);\n    return 0;\n}\n";
    ' >big.c
    cat >big.cc <<'END'
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <tuple>
#include <unordered_map>
#include <variant>
#include <vector>

template <int N> struct Tower {
    using Value = std::variant<int, std::string, std::vector<typename Tower<N - 1>::Value>>;
    std::map<std::string, std::tuple<int, Value>> values;
    Tower<N - 1> below;
    size_t fill(int seed)
    {
        for (int i = 0; i < 20; i++)
            values["key" + std::to_string(i * seed)] = {i, std::string(static_cast<size_t>(i), 'v')};
        return values.size() + below.fill(seed + 1);
    }
};
template <> struct Tower<0> {
    using Value = std::variant<int, std::string>;
    size_t fill(int) { return 0; }
};

int main()
{
    Tower<4> tower;
    std::cout << tower.fill(1) << '\n';
    std::regex expression("(\\w+)-(\\d+)");
    std::string text;
    for (int i = 0; i < 500; i++)
        text += "word-" + std::to_string(i) + " ";
    std::cout << std::distance(std::sregex_iterator(text.begin(), text.end(), expression),
                               std::sregex_iterator())
              << '\n';
    std::unordered_map<std::string, std::vector<std::shared_ptr<std::string>>> index;
    for (int i = 0; i < 10000; i++)
        index[std::to_string(i % 97)].push_back(std::make_shared<std::string>(std::to_string(i * 7)));
    std::multiset<std::string, std::greater<>> sorted;
    for (auto &entry : index)
        for (auto &pointer : entry.second)
            sorted.insert(*pointer);
    std::ostringstream out;
    std::for_each(sorted.begin(), std::next(sorted.begin(), 50), [&](auto &s) { out << s << ','; });
    std::cout << out.str() << '\n';
}
END
}

workload() {
    cp "$DATA/big.c" "$DATA/big.cc" .
    gcc -O2 -c big.c -o big.o
    sha256sum big.o
    gcc big.o -o big
    ./big
    g++ -std=c++17 -O1 -S big.cc -o big.s
    sha256sum big.s
    g++ big.s -o bigger
    ./bigger
}

compare_runs "$(gcc -print-prog-name=cc1)" --version
