"""Who is measured, and how each gets onto the machine: into folders of the bench's own."""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
PYTHON = BENCH / "peers" / "python"
RUST = BENCH / "peers" / "rust"
IFCO = BENCH / "peers" / "ifco"


# The groups in which a layer or a model runs, without being trained.
RUNS = ("grid", "step", "model")


class SetupError(Exception):
    """What could not be installed or built, and where its log is."""


@dataclass
class Peer:
    """One column of the tables: a command that speaks the workers' protocol."""

    id: str
    title: str
    setup: str  # the environment (Python), package (Rust) or `ifco` that it needs; or `command`
    arguments: list = field(default_factory=list)
    groups: tuple = RUNS
    # Peers are who ifco is compared with; its own other forms are not.
    role: str = "peer"
    rust: bool = False
    version: str = ""


def python(id, title, module, *variant, setup=None, **more):
    setup = setup or id
    return Peer(id, title, f"python:{setup}", [str(PYTHON / "worker.py"), module, *variant], **more)


def rust(id, title, **more):
    return Peer(id, title, f"rust:peer-{id}", rust=True, **more)


PEERS = [
    Peer("ifco", "ifco", "ifco", groups=("grid", "step", "model", "precision", "train"), role="ifco"),
    Peer("ifco-engine", "ifco, layers alone", "ifco", ["--part", "engine"], ("model",), "own"),
    Peer("ifco-bf16", "ifco bf16", "ifco", ["--precision", "bf16"], ("precision",), "own"),
    Peer("ifco-int8", "ifco int8", "ifco", ["--precision", "int8"], ("precision",), "own"),
    python("torch", "PyTorch", "peer_torch", groups=(*RUNS, "train")),
    python("onnxruntime", "ONNX Runtime", "peer_onnxruntime"),
    python("openvino", "OpenVINO", "peer_openvino"),
    python("keras-train", "Keras train_on_batch", "peer_keras", "train", setup="keras", groups=("train",)),
    python("keras-predict", "Keras predict", "peer_keras", "predict", setup="keras"),
    python("keras-function", "Keras tf.function", "peer_keras", "function", setup="keras", groups=(*RUNS, "train")),
    python("keras-layer", "Keras layer", "peer_keras", "layer", setup="keras"),
    rust("rten", "rten"),
    rust("tract", "tract"),
    rust("candle", "candle"),
    rust("burn", "burn", groups=(*RUNS, "train")),
]

# Where the version of a Rust peer stands in its lock file.
CRATES = {"rten": "rten", "tract": "tract-onnx", "candle": "candle-nn", "burn": "burn"}


def requirements(environment):
    """The pinned packages of one environment, from `requirements.txt`'s section of its name."""
    sections = re.split(r"^# environment: (\S+).*\n", (PYTHON / "requirements.txt").read_text(), flags=re.M)
    lines = dict(zip(sections[1::2], sections[2::2]))[environment].splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


class Setup:
    """Installs and builds, each thing once in a run; logs below `folder/logs`."""

    def __init__(self, folder, say):
        self.folder, self.say, self.done = folder, say, {}
        (folder / "logs").mkdir(parents=True, exist_ok=True)

    def command(self, peer):
        """The peer's command. Raises `SetupError`."""
        kind, _, name = peer.setup.partition(":")
        if kind == "command":
            return shlex.split(name)
        if peer.setup not in self.done:
            try:
                self.done[peer.setup] = getattr(self, "_" + kind)(name)
            except SetupError as error:
                self.done[peer.setup] = error
        done = self.done[peer.setup]
        if isinstance(done, SetupError):
            raise done
        program, peer.version = done
        if kind == "rust":
            peer.version = locked_version(RUST / "Cargo.lock", CRATES[peer.id])
        return [str(program), *peer.arguments]

    def python(self, environment):
        """The Python of one environment. Raises `SetupError`."""
        return self._python(environment)[0]

    def _python(self, environment):
        wanted = requirements(environment)
        folder = self.folder / f"venv-{environment}"
        program, mark = folder / "bin" / "python", folder / "complete"
        # With the version of Python, whose packages these are.
        key = "\n".join([sys.version, *wanted])
        if not (mark.exists() and mark.read_text() == key):
            self.say(f"installing {', '.join(wanted)}")
            shutil.rmtree(folder, ignore_errors=True)
            log = f"venv-{environment}"
            self._run(log, [sys.executable, "-m", "venv", str(folder)])
            pip = [str(program), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            self._run(log, [*pip, *wanted])
            mark.write_text(key)
        version = ", ".join(line.replace("==", " ") for line in wanted if not line.startswith("numpy"))
        return program, version

    def _rust(self, package):
        # The peers are built for this very processor; ifco is not, see _ifco.
        environment = dict(os.environ, RUSTFLAGS="-C target-cpu=native")
        return self._cargo(RUST, package, self.folder / "target-rust", environment), ""

    def _ifco(self, _):
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS")
        }
        program = self._cargo(IFCO, "peer-ifco", self.folder / "target-ifco", environment)
        return program, locked_version(IFCO / "Cargo.lock", "ifco")

    def _cargo(self, workspace, package, target, environment):
        self.say(f"building {package}")
        environment["CARGO_TARGET_DIR"] = str(target)
        manifest = str(workspace / "Cargo.toml")
        command = ["cargo", "build", "--release", "--locked", "-p", package, "--manifest-path"]
        self._run(package, [*command, manifest], environment)
        return target / "release" / package

    def _run(self, log, command, environment=None):
        path = self.folder / "logs" / f"{log}.log"
        with open(path, "ab") as file:
            try:
                run = subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment
                )
            except OSError as error:
                raise SetupError(f"{command[0]}: {error.strerror}") from error
        if run.returncode != 0:
            lines = path.read_text(errors="replace").strip().splitlines()
            last = next((line for line in reversed(lines) if "error" in line.lower()), "")
            raise SetupError(f"{last.strip()[:160]} (log: {path})")


def locked_version(lock, crate):
    """A crate and its version in a lock file."""
    found = re.search(rf'name = "{crate}"\nversion = "([^"]+)"', lock.read_text())
    return f"{crate} {found.group(1) if found else '?'}"
