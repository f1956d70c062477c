#!/usr/bin/env python3
"""Measures ifco beside its peers: `python3 bench/run.py`. See bench/README.md."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

BENCH = Path(__file__).resolve().parent
sys.path.insert(0, str(BENCH))

from coordinator import cases, limits, measure, peers, report  # noqa: E402


def say(text):
    print(text, file=sys.stderr, flush=True)


def arguments():
    parser = argparse.ArgumentParser(
        description="Measures ifco beside its peers and writes a table and a JSON file.",
        epilog="Ctrl-C writes what was measured until then.",
    )
    add = parser.add_argument
    add("--cases", default="all", help="groups (grid, step, model, precision, train), names or patterns"
        " such as 'lstm-1x*', with commas between (default: all)")
    add("--threads", default="1,2", help="numbers of threads, with commas (default: 1,2)")
    add("--peers", help="only these besides ifco, with commas: "
        + ", ".join(peer.id for peer in peers.PEERS if peer.role == "peer"))
    add("--rounds", type=int, help="rounds (default: 7, with --quick 3)")
    add("--seconds", type=float, help="how long each is timed in a round (default: 0.3, with --quick 0.05)")
    add("--quick", action="store_true", help="few and short rounds: figures to look at, not to cite")
    add("--out", type=Path, default=BENCH / "results", metavar="DIR",
        help="where table.md and results.json are written (default: bench/results)")
    add("--ifco", type=Path, metavar="PATH", help="the ifco program that measures the machine's limits"
        " (default: built here)")
    add("--worker", action="append", default=[], metavar="NAME=COMMAND",
        help="another peer: a command that speaks the workers' protocol (bench/README.md)")
    add("--cpus", help="the processors to use, with commas (default: the first that are allowed)")
    add("--seed", type=int, default=1, help="of the order in each round")
    options = parser.parse_args()
    try:
        options.chosen = cases.select(options.cases.split(","))
        options.all_threads = sorted({int(threads) for threads in options.threads.split(",")})
        allowed = sorted(os.sched_getaffinity(0))
        options.processors = [int(cpu) for cpu in options.cpus.split(",")] if options.cpus else allowed
        options.peer_list = choose(options.peers, options.worker)
    except ValueError as error:
        parser.error(str(error))
    if not set(options.processors) <= set(allowed):
        parser.error(f"--cpus {options.cpus}: this process may run on {allowed}")
    most = len(options.processors)
    if not all(1 <= threads <= most for threads in options.all_threads):
        parser.error(f"--threads {options.threads}: there are {most} processors to pin them to")
    options.rounds = options.rounds or (3 if options.quick else 7)
    options.seconds = options.seconds or (0.05 if options.quick else 0.3)
    if options.rounds < 1 or not 0 < options.seconds < 60:
        parser.error("--rounds must be at least 1 and --seconds between 0 and 60")
    cache = os.environ.get("IFCO_CACHE")
    options.folder = Path(cache).resolve() / "bench" if cache else BENCH / ".peers"
    return options


def choose(names, workers):
    """The peers of this run: ifco always, all the rest unless some are named."""
    everybody = list(peers.PEERS)
    for text in workers:
        name, equals, command = text.partition("=")
        if not (name and equals and command) or any(peer.id == name for peer in everybody):
            raise ValueError(f"--worker {text!r}: expected a new NAME, =, and its COMMAND")
        # On the command line by somebody who knows why: it is always part of the run.
        groups = (*peers.RUNS, "train")
        everybody.append(peers.Peer(name, name, f"command:{command}", groups=groups))
    if names is None:
        return everybody
    known = [peer.id for peer in everybody]
    for name in names.split(","):
        if name not in known:
            raise ValueError(f"no peer {name!r}; there are {', '.join(known)}")
    added = [text.partition("=")[0] for text in workers]
    wanted = [*names.split(","), *added]
    return [peer for peer in everybody if peer.role != "peer" or peer.id in wanted]


def ifco_program(given):
    """The program that measures limits, or why there is none."""
    if given:
        return given
    root = BENCH.parent
    say("building ifco")
    command = ["cargo", "build", "--release", "--locked", "--quiet", "-p", "ifco-cli",
               "--message-format=json"]
    try:
        run = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True)
    except OSError as error:
        return f"limits not measured: cargo: {error.strerror}"
    for line in run.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "ifco":
            return Path(message["executable"])
    return "limits not measured: ifco did not build"


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return "unknown processor"


def write(options, run, known, interrupted):
    common = (options.chosen, options.peer_list, options.all_threads)
    rows = report.compute(run, *common, known)
    about = {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "cpu": processor(),
        "how": f"{options.rounds} rounds of {options.seconds} s, f32, on processors"
        f" {options.processors}; load average before the timing {run.load:.2f}.",
    }
    options.out.mkdir(parents=True, exist_ok=True)
    table = options.out / "table.md"
    table.write_text(report.markdown(about, rows, *common, known, interrupted))
    data = {
        "schema": 1,
        **about,
        "interrupted": interrupted,
        "limits": {str(threads): limit for threads, limit in known.items()},
        "versions": {peer.id: peer.version for peer in options.peer_list},
        "means": {str(threads): report.means(rows, threads) for threads in options.all_threads},
        "cases": rows,
    }
    results = options.out / "results.json"
    results.write_text(json.dumps(data, indent=1) + "\n")
    say(f"written: {table} and {results}")


def stop(number, frame):
    raise KeyboardInterrupt


def main():
    options = arguments()
    # Also where the shell that started it in the background has SIGINT ignored.
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    setup = peers.Setup(options.folder, say)
    run, known, interrupted = measure.Run(options, setup, say), {}, False
    try:
        keras = None
        if any(case.what == "model" for case in options.chosen):
            try:
                keras = setup.python("keras")
            except peers.SetupError as error:
                say(f"Keras: {error}")
        try:
            failed = measure.prepare(options.chosen, setup, options.folder / "cases", keras, say)
        except peers.SetupError as error:
            sys.exit(f"the cases cannot be made: {error}")
        if failed:
            sys.exit("the cases cannot be made: " + "; ".join(f"{name}: {why[0]}" for name, why in failed.items()))
        for peer in options.peer_list:
            # All of them before anything is timed. Failures are noted when it is the peer's turn.
            try:
                setup.command(peer)
            except peers.SetupError as error:
                say(f"{peer.id}: {error}")
        program = ifco_program(options.ifco)
        run.load = os.getloadavg()[0]
        for threads in options.all_threads:
            known[threads] = (
                program if isinstance(program, str) else limits.measure(program, threads, options.chosen)
            )
            if isinstance(known[threads], str):
                say(known[threads])
            run.threads(threads, options.processors[:threads], options.chosen, options.peer_list)
    except KeyboardInterrupt:
        say("interrupted")
        interrupted = True
    write(options, run, known, interrupted)
    sys.exit(130 if interrupted else 0)


if __name__ == "__main__":
    main()
