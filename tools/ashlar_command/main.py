"""main.py - options and subcommands of the ashlar command"""

import argparse
import errno
import os
import signal
import subprocess
import sys

from . import allocators, compare, environment, picture, places, report, watch
from .errors import STATUS_OWN_FAILURE, Failure


class Parser(argparse.ArgumentParser):
    """Wrong use gives 125, which no COMMAND's own status is likely to be."""

    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(STATUS_OWN_FAILURE, f"ashlar: {message} (see {self.prog} --help)\n")


def _whole(text, least):
    try:
        value = int(text)
    except ValueError:  # argparse would name the function here
        raise argparse.ArgumentTypeError(f"want a number, not {text!r}") from None
    if value < least:
        raise argparse.ArgumentTypeError(f"at least {least}")
    return value


def _positive(text):
    return _whole(text, 1)


def _not_negative(text):
    return _whole(text, 0)


def _parser():
    parser = Parser(prog="ashlar", description="Run commands on the Ashlar allocator and compare allocators.")
    parser.add_argument("--version", action="store_true", help="print the version of the library and end")
    commands = parser.add_subparsers(dest="subcommand", metavar="run | compare | replay | options | env")

    run = commands.add_parser("run", help="run COMMAND on Ashlar", usage="ashlar run [--conf LIST] [--trace FILE] [--] COMMAND [ARG]...")
    run.add_argument("--conf", metavar="LIST", help="options, as in ASHLAR_CONF: name:value,name:value")
    run.add_argument("--trace", metavar="FILE", help="record what COMMAND allocates into FILE")
    run.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)

    comparing = commands.add_parser("compare", help="run COMMAND on each allocator found, and compare",
                                    usage="ashlar compare [OPTION]... [--] COMMAND [ARG]...")
    comparing.add_argument("--with", dest="wanted", metavar="LIST", help="allocators: names, or name=/path/to/lib.so (default: all found)")
    comparing.add_argument("--runs", type=_positive, default=5, metavar="N", help="runs on each allocator (default 5)")
    comparing.add_argument("--warmup", type=_not_negative, default=1, metavar="N", help="runs before those that count (default 1)")
    comparing.add_argument("--conf", metavar="LIST", help="options for Ashlar, as in ASHLAR_CONF")
    comparing.add_argument("--timeout", type=float, metavar="SECONDS", help="end a run after so long; its allocator has failed")
    comparing.add_argument("--interval", type=_positive, default=10, metavar="MS", help="time between samples of memory (default 10)")
    comparing.add_argument("--json", metavar="FILE", help="write all figures of all runs")
    comparing.add_argument("--csv", metavar="FILE", help="write a line for each run")
    comparing.add_argument("--plot", metavar="FILE", help="draw FILE.svg, or FILE.png")
    comparing.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)

    commands.add_parser("replay", help="replay a trace that `ashlar run --trace` recorded (ashlar-replay)")
    commands.add_parser("options", help="print the table of options")
    commands.add_parser("env", help="print what this machine offers and what Ashlar does about it")
    return parser


def _command(arguments, subcommand):
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise Failure(f"{subcommand}: no command given (see ashlar {subcommand} --help)")
    return command


def _become(command, settings):
    """Replaces this process by COMMAND; its status, signals and streams are then its own."""
    os.environ.update(settings)
    # Python ignores these two; COMMAND expects to start without that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    sys.stdout.flush()
    try:
        os.execvp(command[0], command)
    except OSError as error:
        not_found = error.errno in (errno.ENOENT, errno.ENOTDIR)
        status = watch.STATUS_NOT_FOUND if not_found else watch.STATUS_CANNOT_RUN
        raise Failure(f"{command[0]}: {error.strerror}", status) from None


def run(arguments):
    command = _command(arguments, "run")
    paths = [places.library()]
    settings = {}
    if arguments.trace:
        paths.insert(0, places.trace_library())
        report.write_file(arguments.trace, lambda file: None)
        settings["ASHLAR_TRACE"] = os.path.abspath(arguments.trace)
    if arguments.conf is not None:
        settings["ASHLAR_CONF"] = allocators.join_conf(arguments.conf)
    settings["LD_PRELOAD"] = allocators.preload(paths, os.environ.get("LD_PRELOAD"))
    return _become(command, settings)


def compare_allocators(arguments):
    command = _command(arguments, "compare")
    if arguments.plot:
        picture.check_can_draw(arguments.plot)
    for path in filter(None, (arguments.json, arguments.csv, arguments.plot)):
        report.check_writable(path)
    chosen, missing = allocators.choose(arguments.wanted)
    comparison = compare.compare(
        command, chosen, missing, arguments.runs, arguments.warmup, arguments.conf, arguments.timeout,
        arguments.interval,
    )
    print(report.heading(comparison))
    print(report.table(comparison))
    print()
    for line in report.sentences(comparison):
        print(line)
    if arguments.json:
        report.write_json(comparison, arguments.json)
    if arguments.csv:
        report.write_csv(comparison, arguments.csv)
    if arguments.plot:
        picture.write(picture.draw(comparison), arguments.plot)
    if any(row.failure for row in comparison.rows):
        return comparison.status() or 1
    return comparison.status()


def options(_):
    done = subprocess.run([places.helper("ashlar-options")])
    return done.returncode


def print_environment(_):
    print(environment.table())
    return 0


def _version():
    done = subprocess.run([places.helper("ashlar-options"), "--version"])
    return done.returncode


SUBCOMMANDS = {"run": run, "compare": compare_allocators, "options": options, "env": print_environment}


def main(arguments):
    # With a handler of its own, an interrupt unwinds through what must be ended and removed.
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    try:
        if arguments[:1] == ["replay"]:  # all that follows is ashlar-replay's
            return _become([places.replayer(), *arguments[1:]], {})
        parsed = _parser().parse_args(arguments)
        if parsed.version:
            return _version()
        if parsed.subcommand is None:
            raise Failure("no subcommand given (see ashlar --help)")
        return SUBCOMMANDS[parsed.subcommand](parsed)
    except Failure as failure:
        print(f"ashlar: {failure}", file=sys.stderr)
        return failure.status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt as interrupt:
        number = interrupt.args[0] if interrupt.args else signal.SIGINT
        return 128 + number


def _interrupt(number, _frame):
    raise KeyboardInterrupt(number)
