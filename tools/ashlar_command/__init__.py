"""The modules of the ashlar command; tools/ashlar is the program

places       where the library and the helper programs are
allocators   which allocators this machine has
watch        runs a command once and measures its process tree
compare      runs a command many times on many allocators
stats        medians, spread, and whether a difference is one
report       tables, sentences, JSON and CSV
chart        SVG drawings
environment  what kernel and machine offer
main         options and subcommands
"""
