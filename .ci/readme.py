"""Runs every command of a Markdown page and compares what it prints with what the page says.

    python3 .ci/readme.py README.md [MORE.md ...]

Commands are the lines that begin with `$ ` in ```console blocks; the lines below one, up to the
next command, are what it prints. A line of `...` there stands for any lines; without any line
below, only the exit status counts. A line that ends in a backslash goes on in the next one.
All commands of a page run in one folder, the repository's, with the release build of `ifco` on
the PATH.
"""

import os
import re
import subprocess
import sys


def commands(page):
    """Yields (line number, command, expected lines) of each command on the page."""
    block = None
    current = None
    for number, line in enumerate(page.splitlines(), 1):
        if block is None:
            block = [] if line.strip() == "```console" else None
            continue
        if line.strip() == "```":
            if current:
                yield current
            block = current = None
        elif line.startswith("$ "):
            if current:
                yield current
            current = (number, line[2:], [])
        elif current and current[1].endswith("\\"):
            current = (current[0], current[1][:-1] + line.strip(), current[2])
        elif current:
            current[2].append(line.rstrip())


def matches(expected, printed):
    pattern = ""
    for line in expected:
        pattern += r"(?:.*\n)*?" if line.strip() == "..." else re.escape(line) + r"\n"
    return re.fullmatch(pattern, "".join(line.rstrip() + "\n" for line in printed)) is not None


def main(pages):
    environment = dict(os.environ, PATH=os.path.abspath("target/release") + os.pathsep + os.environ["PATH"])
    failed = run = 0
    for page in pages:
        with open(page, encoding="utf-8") as file:
            text = file.read()
        for number, command, expected in commands(text):
            print(f"-- {page}:{number}: {command}", flush=True)
            # What the page does not quote (a test run) is shown as it comes.
            result = subprocess.run(
                ["bash", "-o", "pipefail", "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if expected else None,
                env=environment,
                text=True,
            )
            run += 1
            printed = (result.stdout or "").splitlines()
            if result.returncode != 0 or expected and not matches(expected, printed):
                failed += 1
                print(f"FAILED with status {result.returncode}; it printed:\n" + "\n".join(printed))
    if run == 0:
        sys.exit("no command found: the page must hold ```console blocks")
    print(f"{', '.join(pages)}: {run - failed} commands as the pages say, {failed} not")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
