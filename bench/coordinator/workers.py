"""A worker's process: started, asked, stopped while another is timed.

One JSON object a line each way. Requests: `load` (`folder`, `threads`), `output` (`to`) and
`time` (`seconds`); answers have `ok`, and where it is false `error`, or `skip` with the reason
why the worker has no way to run that case.
"""

import json
import os
import select
import signal
import subprocess
import time


class WorkerError(Exception):
    """What a worker answered that was no success, or that it did not answer."""


class Skipped(WorkerError):
    """The worker has no way to run the case."""


def environment(threads):
    """The threads of everybody, by every variable that somebody reads."""
    names = [
        "IFCO_THREADS",
        "MKL_NUM_THREADS",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "RAYON_NUM_THREADS",
        "RTEN_NUM_THREADS",
        "TF_NUM_INTRAOP_THREADS",
    ]
    quiet = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTEROP_THREADS": "1"}
    return {**os.environ, **dict.fromkeys(names, str(threads)), **quiet}


class Worker:
    """One peer's process with a fixed number of threads, on as many processors."""

    def __init__(self, peer, command, threads, cpus, log):
        self.peer, self.buffer = peer, b""
        self.again = lambda: Worker(peer, command, threads, cpus, log)
        self.log = open(log, "ab")
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.log,
                env=environment(threads),
                # Ctrl-C is the coordinator's, which ends its workers itself.
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, cpus),
            )
        except OSError as error:
            self.log.close()
            raise WorkerError(f"{command[0]}: {error.strerror}") from error

    def ask(self, timeout, **request):
        """The answer; while it lasts the worker runs, and only then."""
        self._signal(signal.SIGCONT)
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
            answer = json.loads(self._line(timeout))
        except BrokenPipeError as error:
            raise WorkerError(f"it ended (log: {self.log.name})") from error
        except json.JSONDecodeError as error:
            raise WorkerError(f"it did not answer in JSON (log: {self.log.name})") from error
        # Threads that spin for a while after their work would disturb whoever comes next.
        self._signal(signal.SIGSTOP)
        if answer.get("ok"):
            return answer
        if "skip" in answer:
            raise Skipped(answer["skip"])
        raise WorkerError(answer.get("error", "no reason given"))

    def _line(self, timeout):
        until = time.monotonic() + timeout
        pipe = self.process.stdout.fileno()
        while b"\n" not in self.buffer:
            left = until - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                self.close()
                raise WorkerError(f"no answer within {timeout:.0f} s, so it was ended")
            chunk = os.read(pipe, 65536)
            if not chunk:
                self.close()
                raise WorkerError(f"it ended (log: {self.log.name})")
            self.buffer += chunk
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def _signal(self, number):
        if self.alive:
            os.killpg(self.process.pid, number)

    @property
    def alive(self):
        return self.process.poll() is None

    def close(self):
        """Ends the process, whatever it is doing."""
        if self.alive:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                pipe.close()
            except BrokenPipeError:
                pass
        self.log.close()
