"""Keras opens what `ifco fit` and `ifco init` make, says the same of raw data, and goes on training.

    python compare/live_fit.py --ifco target/release/ifco

Small models of made-up data, a few seconds each: the numbers that Keras predicts from what
`ifco.json` says of raw data are those of `ifco predict`, within 1e-5 + 1e-4·|y|.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import zipfile

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


def opened(path):
    """The model in Keras, and what it was made for."""
    with zipfile.ZipFile(path) as archive:
        recipe = json.loads(archive.read("ifco.json")) if "ifco.json" in archive.namelist() else None
    return keras.saving.load_model(path), recipe


def close(found, expected):
    found, expected = np.asarray(found, "f8"), np.asarray(expected, "f8")
    assert found.shape == expected.shape, (found.shape, expected.shape)
    worst = np.max(np.abs(found - expected) - 1e-4 * np.abs(expected))
    assert worst <= 1e-5, f"differs by {worst}"


def same_arrays(ifco, folder, path, model, arrays):
    """`ifco predict` on arrays gives what Keras gives."""
    files = []
    for number, array in enumerate(arrays):
        files.append(os.path.join(folder, f"x{number}.npy"))
        np.save(files[-1], array.astype("f4"))
    out = os.path.join(folder, "y.npy")
    run(ifco, "predict", path, *files, "-o", out)
    close(np.load(out), model.predict(list(arrays) if len(arrays) > 1 else arrays[0], verbose=0))


def forecast(ifco, folder, random):
    data, path = os.path.join(folder, "series.csv"), os.path.join(folder, "series.keras")
    time = np.arange(300)
    table = np.stack([1e4 + 50 * np.sin(time / 5), random.normal(size=300)], 1).astype("f4")
    with open(data, "w", newline="") as file:
        csv.writer(file).writerows([["load", "noise"], *table.tolist()])
    run(ifco, "fit", "forecast", data, "--target", "load", "--window", "12", "--horizon", "5",
        "--units", "6", "--layers", "2", "--epochs", "2", "-o", path)
    model, recipe = opened(path)
    said = [float(line.split(",")[1]) for line in run(ifco, "predict", path, data).splitlines()[1:]]
    columns = [["load", "noise"].index(column) for column in recipe["columns"]]
    window = table[None, -recipe["window"] :, columns]
    close(said, model.predict(window, verbose=0)[0])
    same_arrays(ifco, folder, path, model, [np.concatenate([window, window + 1])])
    # Adam goes on where ifco stopped, and the loss is in units of the variance there too.
    x = np.stack([table[t : t + 12, columns] for t in range(200)])
    y = np.stack([table[t + 12 : t + 17, 0] for t in range(200)])
    steps = int(model.optimizer.iterations)
    loss = model.fit(x, y, epochs=1, batch_size=50, verbose=0).history["loss"][0]
    assert steps > 0 and int(model.optimizer.iterations) == steps + 4 and loss < 2, (steps, loss)


def generate(ifco, folder, random):
    data, path = os.path.join(folder, "song.txt"), os.path.join(folder, "song.keras")
    with open(data, "w") as file:
        file.write("la li lu, nur der mann im mond schaut zu\n" * 60)
    run(ifco, "fit", "generate", data, "--units", "12", "--embedding", "6", "--length", "20",
        "--epochs", "5", "--learning-rate", "0.02", "-o", path)
    model, recipe = opened(path)
    numbers = {piece: number + 2 for number, piece in enumerate(recipe["vocabulary"])}
    text = "la li"
    written = json.loads(run(ifco, "generate", path, "--prompt", text, "--temperature", "0",
                             "--length", "30", "--json"))["text"]
    for _ in range(30):
        chances = model.predict(np.array([[numbers[c] for c in text]]), verbose=0)[0, -1]
        text += recipe["vocabulary"][int(np.argmax(chances[2:]))]
    assert text == "la li" + written, (text, written)
    same_arrays(ifco, folder, path, model, [random.integers(1, model.output_shape[-1], (3, 17))])


def tag(ifco, folder, random):
    data, path = os.path.join(folder, "words.conllu"), os.path.join(folder, "words.keras")
    with open(data, "w") as file:
        for number in range(120):
            words = [("The", "DET"), (f"w{number % 7}ing", "NOUN"), (f"x{number}ed", "VERB"), (".", "PUNCT")]
            for index, (word, tag) in enumerate(words[number % 2 :]):
                file.write("\t".join([str(index + 1), word, "_", tag, *"______"]) + "\n")
            file.write("\n")
    run(ifco, "fit", "tag", data, "--units", "5", "--embedding", "6", "--epochs", "3", "-o", path)
    model, recipe = opened(path)
    sizes = [len(recipe[key]) + 2 for key in ("words", "endings", "shapes")]
    # Shorter sentences have nothing behind their end.
    arrays = [random.integers(1, size, (4, 9)) for size in sizes]
    for array in arrays:
        array[1, 5:] = array[2, 3:] = 0
    same_arrays(ifco, folder, path, model, arrays)


def classify(ifco, folder, random):
    data, path = os.path.join(folder, "beats.csv"), os.path.join(folder, "beats.keras")
    series = random.normal(5, 3, (90, 8)).astype("f4")
    with open(data, "w", newline="") as file:
        rows = [[*row, "up" if row[-1] > row[0] else "down"] for row in series.tolist()]
        csv.writer(file).writerows([[*(f"t{step}" for step in range(8)), "way"], *rows])
    run(ifco, "fit", "classify", data, "--series", "t0..t7", "--label", "way", "--units", "5",
        "--epochs", "2", "-o", path)
    model, recipe = opened(path)
    chances = model.predict(series[:, :, None], verbose=0)
    said = [line.split(",") for line in run(ifco, "predict", path, data).splitlines()[1:]]
    sure = np.abs(chances[:, 0] - chances[:, 1]) > 1e-4
    labels = [recipe["labels"][k] for k in np.argmax(chances, 1)]
    assert all(own == label for (own, _), label, is_sure in zip(said, labels, sure) if is_sure)
    assert np.allclose([float(chance) for _, chance in said], chances.max(1), atol=1e-4)
    same_arrays(ifco, folder, path, model, [series[:, :, None]])


def channels(ifco, folder, random):
    """Three channels of a series, side by side."""
    data, path = os.path.join(folder, "moves.csv"), os.path.join(folder, "moves.keras")
    series = (random.normal(size=(90, 6, 3)) * [1, 1e3, 1e-3] + [0, 5e3, 1]).astype("f4")
    names = [f"{channel}{step}" for channel in "xyz" for step in range(6)]
    with open(data, "w", newline="") as file:
        rows = [[*one.T.reshape(-1).tolist(), "up" if one[-1, 1] > one[0, 1] else "down"] for one in series]
        csv.writer(file).writerows([[*names, "way"], *rows])
    each = [part for channel in "xyz" for part in ("--series", f"{channel}0..{channel}5")]
    run(ifco, "fit", "classify", data, *each, "--label", "way", "--units", "5", "--epochs", "2", "-o", path)
    model, recipe = opened(path)
    assert sum(recipe["series"], []) == names, recipe
    chances = model.predict(series, verbose=0)
    said = [line.split(",") for line in run(ifco, "predict", path, data).splitlines()[1:]]
    assert np.allclose([float(chance) for _, chance in said], chances.max(1), atol=1e-4)
    same_arrays(ifco, folder, path, model, [series])


def recordings(ifco, folder, random):
    """Recordings of different lengths, a line for each step, mixed up."""
    data, path = os.path.join(folder, "runs.csv"), os.path.join(folder, "runs.keras")
    runs = [(random.normal(size=(3 + k % 5, 2)) * [1, 1e3] + [0, 5e3]).astype("f4") for k in range(80)]
    rows = [[f"run {k}", step, *runs[k][step].tolist(), "up" if runs[k][-1, 0] > 0 else "down"]
            for k in range(80) for step in range(len(runs[k]))]
    with open(data, "w", newline="") as file:
        csv.writer(file).writerows([["run", "step", "ax", "ay", "way"], *random.permutation(np.array(rows)).tolist()])
    run(ifco, "fit", "classify", data, "--id", "run", "--time", "step", "--series", "ax,ay", "--label", "way",
        "--units", "5", "--epochs", "2", "-o", path)
    model, recipe = opened(path)
    assert recipe["recordings"] == {"id": "run", "time": "step", "channels": ["ax", "ay"]}, recipe
    # As docs/fit.md says: behind the end of a short one stands the value that Masking leaves out.
    x = keras.utils.pad_sequences(runs, padding="post", dtype="float32", value=model.get_layer("steps").mask_value)
    chances = model.predict(x, verbose=0)
    said = {line.split(",")[0]: line.split(",")[1:] for line in run(ifco, "predict", path, data).splitlines()[1:]}
    found = [float(said[f"run {k}"][1]) for k in range(80)]
    assert len(said) == 80 and np.allclose(found, chances.max(1), atol=1e-4)
    same_arrays(ifco, folder, path, model, [x])


def init(ifco, folder, random):
    spec, path = os.path.join(folder, "net.toml"), os.path.join(folder, "net.keras")
    with open(spec, "w") as file:
        file.write('input = ["any", 3]\n[[layers]]\nclass = "Bidirectional"\n'
                   'layer = { class = "GRU", units = 4, return_sequences = true }\n'
                   '[[layers]]\nclass = "LSTM"\nunits = 5\nkernel_initializer = { class = "HeNormal" }\n'
                   '[[layers]]\nclass = "Dense"\nunits = 2\n'
                   '[compile]\noptimizer = { class = "Adam", learning_rate = 0.003 }\nloss = "mse"\n')
    run(ifco, "init", spec, "-o", path)
    model, _ = opened(path)
    same_arrays(ifco, folder, path, model, [random.normal(size=(3, 7, 3))])
    assert np.isclose(float(model.optimizer.learning_rate), 0.003)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ifco", required=True)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    checks = (forecast, generate, tag, classify, channels, recordings, init)
    for check in checks:
        with tempfile.TemporaryDirectory() as folder:
            check(os.path.abspath(arguments.ifco), folder, np.random.default_rng(arguments.seed))
        print(f"{check.__name__}: the same in Keras", flush=True)


main()
