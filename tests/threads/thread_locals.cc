/*
 * thread_locals.cc - C++ thread_local objects that free and allocate as their thread ends
 *
 * run:
 * run: ASHLAR_CONF=decay_ms:0
 */
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "expect.h"

/* Owns memory, and allocates once more while it goes. */
struct Owner {
    std::map<int, std::string> texts;
    std::vector<char> large;

    void use(int i)
    {
        texts[i] = std::string(static_cast<size_t>(i % 500), 'x');
        large.resize(static_cast<size_t>(200000 + i), 'y');
    }

    ~Owner()
    {
        std::vector<std::string> last;
        for (const auto &entry : texts)
            last.push_back(entry.second + " and a tail long enough to need memory of its own");
        for (const auto &text : last)
            EXPECT(text.size() > 40);
        for (char letter : large)
            EXPECT(letter == 'y');
    }
};

static thread_local Owner owner;
static thread_local std::vector<int> *numbers; /* no destructor: freed by the next object's */

struct Sweeper {
    bool is_used = false;
    ~Sweeper()
    {
        delete numbers;
        delete new std::vector<int>(100000);
    }
};

static thread_local Sweeper sweeper;

static void live_shortly(int i)
{
    sweeper.is_used = true;
    numbers = new std::vector<int>(static_cast<size_t>(i), 1);
    for (int j = 0; j < 20; j++)
        owner.use(i + j);
}

int main()
{
    test_begin(60);
    owner.use(1); /* the main thread's goes at exit */
    for (int i = 0; i < 600; i += 4) {
        std::vector<std::thread> threads;
        for (int j = 0; j < 4; j++)
            threads.emplace_back(live_shortly, i + j);
        for (auto &thread : threads)
            thread.join();
    }
    return TEST_PASS;
}
