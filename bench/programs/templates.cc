// templates.cc - what makes a C++ compiler allocate: templates of the standard library

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>

template <int N> struct Layer {
    std::map<int, std::vector<std::string>> names;
    std::unordered_map<std::string, std::set<int>> places;
    Layer<N - 1> below;
    int put(const std::string &name) {
        names[N].push_back(name);
        places[name].insert(N);
        return below.put(name + char('a' + N % 26)) + static_cast<int>(places.size());
    }
};
template <> struct Layer<0> {
    int put(const std::string &name) { return static_cast<int>(name.size()); }
};

int run(const std::string &text) {
    static const std::regex word("([a-z]+)=([0-9]+)");
    Layer<40> layers;
    std::ostringstream out;
    std::vector<std::function<int(int)>> steps;
    for (std::sregex_iterator i(text.begin(), text.end(), word), end; i != end; ++i) {
        const std::string name = (*i)[1];
        steps.push_back([name, &layers](int n) { return n + layers.put(name); });
        out << name << ';';
    }
    int total = 0;
    for (auto &step : steps)
        total = step(total);
    return total + static_cast<int>(out.str().size());
}
