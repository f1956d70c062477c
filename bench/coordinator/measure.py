"""One number of threads: every case through every worker, compared first, then timed."""

import array
import json
import os
import random
import statistics
import subprocess

from coordinator import peers as everybody
from coordinator.peers import SetupError
from coordinator.workers import Skipped, Worker, WorkerError

# What an output may differ from the float64 reference by.
TOLERANCE = 1e-4
# Loading may compile; a call may take long on a slow machine.
LOAD_SECONDS, CALL_SECONDS = 300, 300


def prepare(cases, setup, folder, keras, say):
    """Makes the cases' folders; returns what could not be made, by the case's name."""
    python = setup.python("cases")
    failed = {}
    for case in cases:
        place = folder / case.name
        place.mkdir(parents=True, exist_ok=True)
        text = case.json()
        script = everybody.PYTHON / "make_case.py"
        # What made it is part of what it is.
        scripts = [script, script.with_name("training.py")]
        mark, key = place / "made", text + "".join(script.read_text() for script in scripts)
        if not (mark.exists() and mark.read_text() == key):
            say(f"making {case.name}")
            (place / "case.json").write_text(text)
            run = subprocess.run(
                [str(python), str(script), str(place)], capture_output=True, text=True
            )
            if run.returncode != 0:
                failed[case.name] = run.stderr.strip().splitlines()[-1:] or ["no message"]
                continue
            mark.write_text(key)
        if case.what == "model" and keras and not (place / "model.keras").exists():
            say("saving the small model with Keras")
            run = subprocess.run(
                [str(keras), str(everybody.PYTHON / "peer_keras.py"), str(place)],
                capture_output=True,
                text=True,
            )
            if run.returncode != 0:
                say("Keras did not save it: " + (run.stderr.strip().splitlines() or [""])[-1])
    return failed


def _floats(path):
    values = array.array("f")
    values.frombytes(path.read_bytes())
    return values


def difference(place, output):
    """The largest difference from the reference; `inf` where the sizes or NaNs differ.

    Where the case's folder divides the output, into losses and each weight's gradient, each part's
    is relative to the part's largest number.
    """
    ours, reference = _floats(output), _floats(place / "expected.f32")
    if len(ours) != len(reference):
        return float("inf")
    if (place / "parts.json").exists():
        start, worst = 0, 0.0
        for count in json.loads((place / "parts.json").read_text()):
            part = slice(start, start + count)
            largest = max(map(abs, reference[part]))
            parts = max(map(abs, map(float.__sub__, ours[part], reference[part])))
            worst = max(worst, parts / largest)
            start += count
        return worst if sum(ours) == sum(ours) else float("inf")
    largest = max(map(abs, map(float.__sub__, ours, reference)), default=0.0)
    # A NaN hides from max, but not from a sum.
    return largest if sum(ours) == sum(ours) else float("inf")


class Run:
    """Measures; `results` holds all there is at every moment, for a Ctrl-C to write."""

    def __init__(self, options, setup, say):
        self.options, self.setup, self.say = options, setup, say
        self.results = {}  # (threads, case name) -> peer id -> result
        self.random = random.Random(options.seed)
        self.load = 0.0  # of the machine, before the first timing

    def threads(self, threads, cpus, cases, peers):
        """All cases with that many threads."""
        workers = {}
        try:
            for peer in peers:
                if not any(case.group in peer.groups for case in cases):
                    continue
                try:
                    command = self.setup.command(peer)
                    log = self.setup.folder / "logs" / f"{peer.id}-{threads}.log"
                    workers[peer.id] = Worker(peer, command, threads, cpus, log)
                except (SetupError, WorkerError) as error:
                    for case in cases:
                        if case.group in peer.groups:
                            self._note(threads, case, peer, status="not set up", why=str(error))
            for index, case in enumerate(cases):
                label = f"{case.name}, {threads} thread{'s' * (threads > 1)}"
                self.say(f"[{index + 1}/{len(cases)}] {label}")
                self._case(threads, case, workers)
        finally:
            for worker in workers.values():
                worker.close()

    def _note(self, threads, case, peer, **result):
        self.results.setdefault((threads, case.name), {})[peer.id] = result
        return result

    def _case(self, threads, case, workers):
        place = self.options.folder / "cases" / case.name
        ready = {}
        for id, worker in workers.items():
            if case.group not in worker.peer.groups:
                continue
            result = self._note(threads, case, worker.peer, status="failed", rounds=[])
            try:
                if not worker.alive:
                    # A case that ended it says so; the next one gets a new process.
                    worker = workers[id] = worker.again()
                worker.ask(LOAD_SECONDS, do="load", folder=str(place), threads=threads)
                to = place / f"output-{id}-{os.getpid()}.f32"
                worker.ask(CALL_SECONDS, do="output", to=str(to))
                result["difference"] = difference(place, to)
                to.unlink()
            except Skipped as skip:
                result.update(status="skipped", why=str(skip))
                continue
            except (WorkerError, OSError) as error:
                result["why"] = str(error)
                continue
            # A reduced precision differs; its difference is part of the answer.
            if result["difference"] <= TOLERANCE or case.group == "precision" and id != "ifco":
                result["status"] = "measured"
                ready[id] = worker
            else:
                result.update(status="wrong", why=f"differs by {result['difference']:.2g}")
        measured = self.results.get((threads, case.name), {})
        for _ in range(self.options.rounds):
            # Another order each time, so that nobody always follows the same one.
            order = list(ready)
            self.random.shuffle(order)
            for id in order:
                result = measured[id]
                try:
                    seconds = self.options.seconds
                    answer = ready[id].ask(CALL_SECONDS, do="time", seconds=seconds)
                    result["rounds"].append(quartiles(answer["ns"]))
                except (WorkerError, KeyError) as error:
                    result.update(status="failed", why=str(error))
                    del ready[id]
        for id in ready:
            result = measured[id]
            if result["rounds"]:
                summarize(result)
        for id, result in measured.items():
            if result["status"] not in ("measured", "skipped"):
                self.say(f"    {id}: {result['status']}: {result.get('why', '')}")


def quartiles(samples):
    """`[lower quartile, median, upper quartile]`."""
    if len(samples) < 2:
        return [samples[0]] * 3
    return statistics.quantiles(samples, n=4, method="inclusive")


def summarize(result):
    """The figures of a result from its rounds: the median of their medians, and how far the
    rounds are apart: the quartiles of those medians."""
    lower, median, upper = quartiles([middle for _, middle, _ in result["rounds"]])
    result.update(ns=median, ns_lower=lower, ns_upper=upper)
