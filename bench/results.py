#!/usr/bin/env python3
"""Trains the same models on real data by Keras and by `ifco fit`, and writes what came of it.

    python bench/results.py --ifco target/release/ifco --forecast ETTh1.csv \\
        --text tinyshakespeare.txt --train en_ewt-ud-dev.conllu --test en_ewt-ud-test.conllu

Each model is small and its epochs few: all of it takes some ten minutes on two cores. Keras trains
the architecture that ifco saved, from new weights of its own, with the same optimizer, batches,
number of epochs and parts of the data, and keeps the best epoch's weights as ifco does. Seconds are
those of the training alone, validation and (Keras's) tracing of graphs included, reading of data
not. Without one of the files its task is left out: the page that --out names keeps the row that it
has of it. Needs Keras 3 on TensorFlow.
"""

import argparse
import csv
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np
import tensorflow as tf

SPLIT = 0x73706C6974  # `ifco_tasks::shuffled`
MASK = (1 << 64) - 1


def shuffled(count, seed):
    """The order in which ifco parts samples: xoshiro256++, seeded by SplitMix64."""
    state, mixed = [], seed ^ SPLIT
    for _ in range(4):
        mixed = (mixed + 0x9E3779B97F4A7C15) & MASK
        z = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        state.append(z ^ (z >> 31))
    turn = lambda x, n: ((x << n) | (x >> (64 - n))) & MASK

    def bits():
        a, b, c, d = state
        result = (turn((a + d) & MASK, 23) + a) & MASK
        c, d = c ^ a, d ^ b
        state[:] = [a ^ d, b ^ c, c ^ ((b << 17) & MASK), turn(d, 45)]
        return result

    order = list(range(count))
    for last in range(count - 1, 0, -1):
        while True:
            product = bits() * (last + 1)
            if (product & MASK) >= ((1 << 64) - (last + 1)) % (last + 1):
                break
        other = product >> 64
        order[last], order[other] = order[other], order[last]
    return order


class Forecast:
    task = "forecast"
    name = "hourly oil temperature, 24 h ahead (ETTh1)"
    score = "MAE"
    options = ["--target", "OT", "--inputs", "OT", "--window", "96", "--horizon", "24"]
    options += ["--split", "8640,2880,2880", "--units", "32", "--epochs", "10", "--batch-size", "64", "--learning-rate", "1e-3"]
    epochs, batch = 10, 64

    def __init__(self, arguments):
        self.data = arguments.forecast
        self.command = ["fit", self.task, self.data, *self.options]

    def of(self, scores):
        return scores["mae"]

    def parts(self, recipe, seed):
        with open(self.data, newline="") as file:
            rows = list(csv.DictReader(file))[: 8640 + 2880 + 2880]
        table = np.array([[row[c] for c in recipe["columns"]] for row in rows], "f4")
        window, horizon, target = recipe["window"], recipe["horizon"], recipe["target"]

        def windows(first, end):
            now = np.arange(max(first, window), end - horizon + 1)
            x = table[now[:, None] + np.arange(-window, 0)]
            return x, table[now[:, None] + np.arange(horizon), target]

        return windows(0, 8640), windows(8640, 11520), windows(11520, 14400)

    def fit(self, model, train, validation, callbacks):
        model.fit(*train, validation_data=validation, epochs=self.epochs, batch_size=self.batch,
                  verbose=0, callbacks=callbacks)

    def judge(self, model, test):
        return float(np.mean(np.abs(model.predict(test[0], batch_size=256, verbose=0) - test[1])))


class Generate(Forecast):
    task = "generate"
    name = "next character of Shakespeare (tinyshakespeare)"
    score = "perplexity"
    options = ["--units", "128", "--epochs", "4", "--batch-size", "32", "--length", "100"]
    options += ["--learning-rate", "2e-3", "--dropout", "0.1"]
    epochs, batch = 4, 32

    def __init__(self, arguments):
        self.data = arguments.text
        self.command = ["fit", self.task, self.data, *self.options]

    def of(self, scores):
        return scores["perplexity"]

    def parts(self, recipe, seed):
        with open(self.data, newline="") as file:
            text = file.read()
        numbers = {piece: k + 2 for k, piece in enumerate(recipe["vocabulary"])}
        ids = np.array([numbers.get(c, 1) for c in text], "i4")
        ends = [0, round(len(ids) * 0.9), round(len(ids) * (0.9 + 0.05)), len(ids)]

        def stretches(part):
            count = (len(part) - 1) // 100
            return part[: count * 100].reshape(-1, 100), part[1 : count * 100 + 1].reshape(-1, 100)

        return [stretches(ids[a:b]) for a, b in zip(ends, ends[1:])]

    def judge(self, model, test):
        return math.exp(model.evaluate(*test, batch_size=64, verbose=0)[0])


class Tag(Forecast):
    task = "tag"
    name = "parts of speech (UD English EWT, dev to train on)"
    score = "accuracy, %"
    options = ["--units", "64", "--epochs", "12", "--batch-size", "32", "--learning-rate", "2e-3"]
    options += ["--dropout", "0.3"]
    epochs, batch = 12, 32

    def __init__(self, arguments):
        self.data, self.test = arguments.train, arguments.test
        self.command = ["fit", self.task, self.data, "--test", self.test, *self.options]

    def of(self, scores):
        return scores["accuracy"] * 100

    def parts(self, recipe, seed):
        numbers = {
            key: {piece: k + 2 for k, piece in enumerate(recipe[key])}
            for key in ("words", "endings", "shapes", "tags")
        }

        def shape(word):
            text = ""
            for c in word:
                kind = "X" if c.isupper() else "x" if c.isalpha() else "d" if c.isnumeric() else c
                if not text.endswith(kind):
                    text += kind
                if len(text) == 4:
                    break
            return text

        def told(sentence):
            words = [word.lower() for word, _ in sentence]
            columns = {
                "words": words,
                "endings": [word[-3:] for word in words],
                "shapes": [shape(word) for word, _ in sentence],
                "tags": [tag for _, tag in sentence],
            }
            return {key: [numbers[key].get(piece, 1) for piece in column] for key, column in columns.items()}

        def read(path):
            sentences, sentence = [], []
            with open(path, encoding="utf-8") as file:
                for line in file.read().split("\n"):
                    if not line.strip():
                        if sentence:
                            sentences.append(sentence)
                        sentence = []
                    elif not line.startswith("#"):
                        fields = line.split("\t")
                        if not set(fields[0]) & set("-."):
                            sentence.append((fields[1], fields[3]))
            return sentences

        sentences = read(self.data)
        order = shuffled(len(sentences), seed)
        end = round(len(sentences) * 0.9)
        pick = lambda rows: [told(sentences[row]) for row in rows]
        return pick(order[:end]), pick(order[end:]), [told(s) for s in read(self.test)]

    def batches(self, sentences, shuffle):
        keys = ("words", "endings", "shapes", "tags")
        data = tf.data.Dataset.from_generator(
            lambda: iter(sentences), output_signature={key: tf.TensorSpec([None], "int32") for key in keys})
        data = data.cache()
        if shuffle:
            data = data.shuffle(len(sentences))
        # As long as the longest of each batch: neither computes more padding than it must.
        data = data.padded_batch(self.batch)
        # Of data whose length Keras must find out, it counts a step too many in every epoch: the one
        # that finds no batch. Adam corrects its means by that count.
        data = data.apply(tf.data.experimental.assert_cardinality(math.ceil(len(sentences) / self.batch)))
        return data.map(lambda row: ({key: row[key] for key in keys[:3]}, row["tags"])).prefetch(2)

    def fit(self, model, train, validation, callbacks):
        model.fit(self.batches(train, True), validation_data=self.batches(validation, False),
                  epochs=self.epochs, verbose=0, callbacks=callbacks)

    def judge(self, model, test):
        right = words = 0
        for told, tags in self.batches(test, False):
            counts = np.asarray(tags) != 0
            said = model.predict_on_batch(told).argmax(-1)
            right += np.sum((said == tags) & counts)
            words += np.sum(counts)
        return right / words * 100


def train_ifco(task, ifco, seed, folder, threads):
    output = os.path.join(folder, "model.keras")
    command = [ifco, *task.command, "--early-stopping", "99", "--seed", str(seed), "--json", "--force"]
    done = subprocess.run([*command, "--threads", str(threads), "-o", output], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1]), output


def train_keras(task, path, seed):
    """The same architecture from new weights; also whether Keras says what ifco said of its own."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    with zipfile.ZipFile(path) as archive:
        recipe = json.loads(archive.read("ifco.json"))
    trained = keras.saving.load_model(path)
    train, validation, test = task.parts(recipe, seed)
    again = task.judge(trained, test)
    model = keras.models.clone_model(trained)
    model.compile_from_config(trained.get_compile_config())
    best = keras.callbacks.EarlyStopping("val_loss", patience=99, restore_best_weights=True)
    start = time.perf_counter()
    task.fit(model, train, validation, [best])
    return time.perf_counter() - start, task.judge(model, test), again


def spread(values, digits):
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.{digits}f}"


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []:
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def kept(page, kind):
    """The row and the command that a page has of a task, if any."""
    lines = page.splitlines()
    row = next((line for line in lines if line.startswith(f"| {kind.name} |")), None)
    command = next((line for line in lines if line.startswith(f"ifco fit {kind.task} ")), None)
    return [(row, command)] if row and command else []


def report(rows, threads):
    threads = "one thread" if threads == 1 else f"{threads} threads"
    lines = [
        "# Results on real data",
        "",
        "Written by `bench/results.py`. The same architecture, optimizer, batches, epochs and parts of the data, trained by",
        f"Keras {keras.__version__} on TensorFlow {tf.__version__} and by `ifco fit`: mean ± standard deviation over some seeds.",
        f"The models are small and the epochs few, so that it takes minutes with {threads} on {processor()}:",
        "these are not the best scores that can be had. Seconds are those of training.",
        "",
        "| data | seeds | score | Keras | ifco | without a model | Keras, s | ifco, s | faster |",
        "|---|---|---|---|---|---|---|---|---|",
        *[row for row, _ in rows],
        "",
        "Keras opens what ifco saved and measures the same scores, within 1e-4 of them. It is told how many batches of sentences",
        "there are: of a data set of unknown length it counts a step too many in each epoch, the one that finds no batch, and",
        "Adam corrects its means by that count. The commands:",
        "",
        "```sh",
        *[command for _, command in rows],
        "python bench/results.py --ifco target/release/ifco --forecast ETTh1.csv --text tinyshakespeare.txt \\",
        "    --train en_ewt-ud-dev.conllu --test en_ewt-ud-test.conllu --out docs/results.md",
        "```",
        "",
        "The data are not part of this repository: [ETTh1](https://github.com/zhouhaoyi/ETDataset) (12, 4 and 4 months to train,",
        "validate and test), [tinyshakespeare](https://github.com/karpathy/char-rnn) (the last 5 % test),",
        "[UD English EWT](https://github.com/UniversalDependencies/UD_English-EWT) (the small dev part trains, so that it takes",
        "seconds; the test part tests).",
        "",
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--ifco", required=True)
    add("--forecast", metavar="CSV", help="ETTh1.csv")
    add("--text", metavar="TXT", help="tinyshakespeare.txt")
    add("--train", metavar="CONLLU", help="en_ewt-ud-dev.conllu")
    add("--test", metavar="CONLLU", help="en_ewt-ud-test.conllu")
    add("--seeds", type=int, default=3)
    add("--threads", type=int, default=2)
    add("--out", help="write the page there too")
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tasks = [(Forecast, arguments.forecast), (Generate, arguments.text), (Tag, arguments.train and arguments.test)]
    out = Path(arguments.out) if arguments.out else None
    before = out.read_text(encoding="utf-8") if out and out.exists() else ""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind, is_there in tasks:
            if not is_there:
                rows += kept(before, kind)
                continue
            task = kind(arguments)
            ours, theirs = [], []
            for seed in range(arguments.seeds):
                told, path = train_ifco(task, os.path.abspath(arguments.ifco), seed, folder, arguments.threads)
                score = task.of(told["scores"]["model"])
                ours.append((told["seconds"], score))
                seconds, other, again = train_keras(task, path, seed)
                theirs.append((seconds, other))
                say = f"{task.name}, seed {seed}: ifco {score:.4f} in {told['seconds']:.1f} s, Keras {other:.4f} in {seconds:.1f} s"
                print(say, file=sys.stderr, flush=True)
                if not math.isclose(again, score, rel_tol=1e-4):
                    sys.exit(f"Keras measures {again} of the model of which ifco measured {score}")
            naive = {key: task.of(value) for key, value in told["scores"].items() if key not in ("model", "uniform")}
            digits = 2 if kind is Tag else 3
            named = ", ".join(f"{value:.{digits}f} ({key.replace('_', ' ')})" for key, value in naive.items())
            slow, fast = ([seconds for seconds, _ in times] for times in (theirs, ours))
            cells = [task.name, str(arguments.seeds), task.score, spread([s for _, s in theirs], digits),
                     spread([s for _, s in ours], digits), named, spread(slow, 1), spread(fast, 1),
                     f"{np.mean(slow) / np.mean(fast):.1f} ×"]
            words = [os.path.basename(a) if os.path.exists(a) else a for a in task.command]
            rows.append((f"| {' | '.join(cells)} |", f"ifco {' '.join(words)} --early-stopping 99 --seed 0"))
    page = report(rows, arguments.threads)
    if out:
        out.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
