"""The live comparison: random models, saved and run by Keras 3 and Keras 2, and run by ifco.

    python compare/live.py --ifco target/release/ifco [--models 300] [--seed N] [--table PATH]
    python compare/live.py --ifco target/release/ifco --seed N --only K --keep DIR

Each model's file is also converted by ifco to every format that it saves, opened by the Keras that
reads it, and compared again: the weights by their bits, and the answers.

Draws models of both generations in two processes, half of `--models` each, over every layer,
option, mask, kind of graph and kind of file; an output agrees when
|difference| <= 1e-5 + 1e-4 * |Keras's|. Prints a line for each model that does not agree, and
ends with `N passed, M failed` and an exit code other than 0 if any failed.

The truth is what Keras's own `predict` gives, row by row where it contradicts itself. Where ifco differs from the model in memory, and
for every fifth model, Keras reads the file back itself: what a file does not hold, nobody can
read from it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ABSOLUTE, RELATIVE = 1e-5, 1e-4
GENERATIONS = ("keras3", "keras2")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ifco", required=True, type=Path, help="the ifco command")
    parser.add_argument("--models", type=int, default=300, help="how many to draw")
    parser.add_argument("--seed", type=int, default=None, help="default: from the time")
    parser.add_argument("--only", type=int, help="the one case of this number")
    parser.add_argument("--table", type=Path, help="write what was compared as Markdown")
    parser.add_argument("--keep", type=Path, help="keep the files of what failed, or of --only")
    parser.add_argument("--worker", choices=GENERATIONS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.seed is None:
        args.seed = int(time.time()) % 1_000_000
    if not args.ifco.is_file():
        sys.exit(f"{args.ifco}: there is no such command; build it with: cargo build --release")
    if args.worker:
        work(args)
    else:
        sys.exit(conduct(args))


# Case K is of generation K % 2; both processes number their cases so.
def numbers(args, generation):
    mine = GENERATIONS.index(generation)
    if args.only is not None:
        return [args.only] if args.only % 2 == mine else []
    return range(mine, args.models, 2)


def conduct(args):
    """Starts a process for each generation and gathers what they report."""
    print(f"seed {args.seed}: {args.models if args.only is None else 1} models", flush=True)
    command = [sys.executable, str(Path(__file__).resolve()), "--ifco", str(args.ifco.resolve()),
               "--models", str(args.models), "--seed", str(args.seed)]
    command += ["--only", str(args.only)] if args.only is not None else []
    command += ["--keep", str(args.keep.resolve())] if args.keep else []
    started = time.time()
    errors = {g: tempfile.TemporaryFile("w+") for g in GENERATIONS}
    workers = {g: subprocess.Popen([*command, "--worker", g], stdout=subprocess.PIPE, text=True,
                                   stderr=errors[g])
               for g in GENERATIONS if numbers(args, g)}
    results, streams = [], {worker.stdout.fileno(): worker.stdout for worker in workers.values()}
    for line in read_lines(streams):
        result = json.loads(line)
        results.append(result)
        report(result, args)
        if len(results) % 25 == 0:
            print(f"… {len(results)} models, {time.time() - started:.0f} s", flush=True)
    broken = 0
    for generation, worker in workers.items():
        if worker.wait() != 0:
            broken += 1
            errors[generation].seek(0)
            print(f"the process for {generation} ended with {worker.returncode}:\n"
                  + errors[generation].read()[-3000:])
    results.sort(key=lambda result: result["number"])
    expected = sum(len(numbers(args, g)) for g in GENERATIONS)
    failed = sum(not result["passed"] for result in results)
    if len(results) != expected:
        print(f"only {len(results)} of {expected} models were compared")
        broken += 1
    if args.table:
        from table import write
        write(args.table, results, args)
    uncovered = not_drawn(results)
    if uncovered and args.models >= 300 and args.only is None:
        print("not in any of these models: " + ", ".join(uncovered))
    unread = sum(result["unread"] for result in results)
    again = sum(result["as_read_back"] for result in results)
    alone = sum(result["row_by_row"] for result in results)
    print(f"{time.time() - started:.0f} s; Keras itself could not read {unread} of the files that "
          f"it read back, read {again} otherwise than it had them in memory, and contradicted "
          f"itself in {alone}, where a row's answer depended on the rows beside it")
    converted = sum(result.get("converted", 0) for result in results)
    print(f"Keras read {converted} files that `ifco convert` made of these, with the same weights "
          "and answers")
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed or broken or not results else 0


def not_drawn(results):
    """Layers of the comparison that no model of a generation had, by the luck of the draw."""
    from operations import OPERATIONS
    missing = []
    for generation in GENERATIONS:
        seen = {name for r in results if r["generation"] == generation for name in r["layers"]}
        # The other operations are named in lower case: they are ways to use a layer.
        missing += [f"{name} ({generation})" for name, operation in OPERATIONS.items()
                    if name[0].isupper() and generation in operation.generations
                    and name not in seen]
    return missing


def read_lines(streams):
    """Lines of several processes, as they come."""
    import selectors
    selector = selectors.DefaultSelector()
    for stream in streams.values():
        selector.register(stream, selectors.EVENT_READ)
    while selector.get_map():
        for key, _ in selector.select():
            line = key.fileobj.readline()
            if line:
                yield line
            else:
                selector.unregister(key.fileobj)


def report(result, args):
    if result["passed"] and args.only is None:
        return
    state = "passed" if result["passed"] else "FAILED"
    print(f"{state}: seed {args.seed} case {result['number']} {result['generation']} "
          f"{result['kind']} {result['shape']} [{', '.join(result['layers'])}]: "
          f"{result['what']}", flush=True)
    if not result["passed"]:
        print(f"  again: compare/live.py --ifco {args.ifco} --seed {args.seed} "
              f"--only {result['number']} --keep DIR", flush=True)


def work(args):
    """Compares the cases of one generation; a JSON line on stdout for each."""
    # The frameworks write to stdout now and then; only the results may.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    import case
    for number in numbers(args, args.worker):
        with tempfile.TemporaryDirectory() as directory:
            result = case.compare(args.worker, args.seed, number, args.ifco, Path(directory),
                                  (ABSOLUTE, RELATIVE))
            if args.keep and (not result["passed"] or args.only is not None):
                target = args.keep / f"seed{args.seed}_case{number}"
                shutil.copytree(directory, target, dirs_exist_ok=True)
        out.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
