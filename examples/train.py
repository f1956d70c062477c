"""Trains the three example models with Keras 3 and saves each with an input and Keras's output.

    python examples/train.py [questions] [sunspots] [dates]
    python examples/train.py --extract tinyshakespeare.txt

Needs compare/requirements.txt. Seeded; README.md tells what each model is. `--extract` makes
questions/sentences.tsv anew from the plays, which are not kept here as a whole.
"""

import argparse
import csv
import datetime
import os
import random
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "compare"))
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import frameworks as fw  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402

L = keras.layers


def start(seed):
    """The same numbers on every run."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)


def finish(folder, model, inputs, rows):
    """Saves the model without its optimizer, and what it predicts."""
    bare = keras.models.clone_model(model)
    bare.set_weights(model.get_weights())
    path = HERE / folder / "model.keras"
    bare.save(path)
    fw.repack(path)
    inputs = [x[:rows] for x in inputs]
    reread = keras.models.load_model(path)
    y = reread.predict(inputs if len(inputs) > 1 else inputs[0], verbose=0)
    if len(inputs) > 1:
        np.savez(HERE / folder / "x.npz", **dict(zip(fw.layer_names(reread.inputs), inputs)))
    else:
        np.save(HERE / folder / "x.npy", inputs[0])
    np.save(HERE / folder / "y_keras.npy", y)
    return path.stat().st_size


# Questions: is this sentence one, without its question mark?

WORDS, LENGTH = 1200, 16


def extract(source):
    """Writes sentences of four to sixteen words, as many questions as others."""
    text = re.sub(r"^[A-Z][A-Za-z' ]*:$", "", Path(source).read_text(), flags=re.M)
    found = {"question": [], "other": []}
    seen = set()
    for sentence, sign in re.findall(r"([^.?!]+)([.?!])", text.replace("--", ", ")):
        words = split(sentence)
        if 4 <= len(words) <= LENGTH and tuple(words) not in seen:
            seen.add(tuple(words))
            found["question" if sign == "?" else "other"].append(" ".join(words))
    rng = random.Random(1)
    for sentences in found.values():
        rng.shuffle(sentences)
    count = min(len(sentences) for sentences in found.values())
    rows = [(label, s) for label, sentences in found.items() for s in sentences[:count]]
    rng.shuffle(rows)
    with open(HERE / "questions" / "sentences.tsv", "w") as file:
        file.writelines(f"{label}\t{sentence}\n" for label, sentence in rows)
    print(f"{len(rows)} sentences, half of them questions")


def split(sentence):
    return re.findall(r"[a-z]+(?:'[a-z]+)?", sentence.lower())


def questions():
    start(1)
    lines = (HERE / "questions" / "sentences.tsv").read_text().splitlines()
    labels, sentences = zip(*(line.split("\t") for line in lines))
    y = np.array([label == "question" for label in labels], "float32")
    training = int(0.8 * len(y))
    counts = {}
    for sentence in sentences[:training]:
        for word in sentence.split():
            counts[word] = counts.get(word, 0) + 1
    # 0 is padding and masked, 1 is every other word.
    vocabulary = ["[padding]", "[other]"] + sorted(counts, key=lambda w: (-counts[w], w))[:WORDS]
    index = {word: i for i, word in enumerate(vocabulary)}
    (HERE / "questions" / "vocabulary.txt").write_text("\n".join(vocabulary) + "\n")
    x = np.zeros((len(y), LENGTH), "int32")
    for row, sentence in zip(x, sentences):
        words = sentence.split()
        row[:len(words)] = [index.get(word, 1) for word in words]

    model = keras.Sequential([
        keras.Input((LENGTH,), dtype="int32", name="words"),
        L.Embedding(len(vocabulary), 16, mask_zero=True, name="embedding"),
        L.Dropout(0.3, name="dropout"),
        L.Bidirectional(L.LSTM(16), name="bidirectional"),
        L.Dense(1, activation="sigmoid", name="question"),
    ], name="questions")
    model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy", metrics=["accuracy"])
    model.fit(x[:training], y[:training], batch_size=64, epochs=6, verbose=2)
    accuracy = ((model.predict(x[training:], verbose=0)[:, 0] > 0.5) == y[training:]).mean()
    majority = max(y[training:].mean(), 1 - y[training:].mean())
    size = finish("questions", model, [x[training:]], 8)
    (HERE / "questions" / "x.txt").write_text(
        "".join(f"{line}\n" for line in lines[training:training + 8]))
    print(f"questions: {accuracy:.1%} of {len(y) - training} held-out sentences are right, the "
          f"more frequent answer {majority:.1%}; {size} bytes")


# Sunspots: next year's number from the last 22 years'.

WINDOW, FIRST_TEST_YEAR = 22, 1950


def sunspots():
    start(2)
    with open(HERE / "sunspots" / "sunspots.csv") as file:
        rows = [(int(float(row["YEAR"])), float(row["SUNACTIVITY"]))
                for row in csv.DictReader(file)]
    years = np.array([year for year, _ in rows])
    series = np.array([value for _, value in rows], "float32")
    x = np.stack([series[i:i + WINDOW] for i in range(len(series) - WINDOW)])[..., None]
    y, target_years = series[WINDOW:, None], years[WINDOW:]
    training = target_years < FIRST_TEST_YEAR

    model = keras.Sequential([
        keras.Input((WINDOW, 1), name="years"),
        L.Rescaling(1 / 100, name="hundreds"),
        L.LSTM(24, return_sequences=True, name="lstm"),
        L.LSTM(24, name="lstm_1"),
        L.Dense(1, name="next"),
        L.Rescaling(100, name="sunspots"),
    ], name="sunspots")
    model.compile(keras.optimizers.Adam(4e-3), keras.losses.Huber(20.0))
    model.fit(x[training], y[training], batch_size=16, epochs=120, verbose=0)

    def error(predicted):
        return float(np.sqrt(np.mean((predicted - y[~training, 0]) ** 2)))
    test = x[~training]
    ours = error(model.predict(test, verbose=0)[:, 0])
    last, cycle = error(test[:, -1, 0]), error(test[:, -11, 0])
    size = finish("sunspots", model, [test], len(test))
    np.savetxt(HERE / "sunspots" / "x.csv", test[..., 0], "%g", delimiter=",")
    print(f"sunspots: root mean square error {FIRST_TEST_YEAR}-{years[-1]}: {ours:.1f}; last "
          f"year's value {last:.1f}, the value eleven years before {cycle:.1f}; {size} bytes")


# Dates: "3 nov 2026" to "2026-11-03", a character at a time.

MONTHS = ["january", "february", "march", "april", "may", "june", "july", "august",
          "september", "october", "november", "december"]
SOURCE_LENGTH, BEGIN = 20, "^"
CHARACTERS = ["[padding]", BEGIN] + list(" -.,/0123456789abcdefghijklmnopqrstuvwxyz")


def written(date, rng):
    """The date as a person may write it."""
    month = MONTHS[date.month - 1]
    short = month[:3]
    day, year = date.day, date.year
    ending = "th" if 10 < day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return rng.choice([
        f"{day} {short} {year}", f"{day} {month} {year}", f"{short} {day}, {year}",
        f"{month} {day} {year}", f"{day}. {short} {year}", f"{day}{ending} {month} {year}",
        f"{year} {short} {day}", f"{short} {day}{ending}, {year}"])


def encode(texts, length):
    x = np.zeros((len(texts), length), "int32")
    for row, text in zip(x, texts):
        row[:len(text)] = [CHARACTERS.index(c) for c in text]
    return x


def dates():
    start(3)
    rng = random.Random(3)
    first = datetime.date(1950, 1, 1).toordinal()
    days = [datetime.date.fromordinal(first + rng.randrange(100 * 365)) for _ in range(12000)]
    sources = [written(day, rng) for day in days]
    targets = [day.isoformat() for day in days]
    x, t = encode(sources, SOURCE_LENGTH), encode(targets, 10)
    shifted = encode([BEGIN + target[:-1] for target in targets], 10)
    known = set(sources[:11000])
    held_out = [i for i in range(11000, 12000) if sources[i] not in known]

    source = keras.Input((SOURCE_LENGTH,), dtype="int32", name="written")
    target = keras.Input((10,), dtype="int32", name="so_far")
    embedded = L.Embedding(len(CHARACTERS), 16, mask_zero=True, name="source_embedding")(source)
    _, h, c = L.LSTM(64, return_state=True, name="encoder")(embedded)
    letters = L.Embedding(len(CHARACTERS), 16, name="target_embedding")(target)
    z = L.LSTM(64, return_sequences=True, name="decoder")(letters, initial_state=[h, c])
    z = L.Dense(len(CHARACTERS), activation="softmax", name="next")(z)
    model = keras.Model([source, target], z, name="dates")
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
    for rate, epochs in ((5e-3, 18), (1e-3, 6)):
        model.optimizer.learning_rate = rate
        model.fit([x[:11000], shifted[:11000]], t[:11000], batch_size=64, epochs=epochs, verbose=2)

    # Each character from those that the model itself chose before.
    so_far = np.zeros((len(held_out), 10), "int32")
    so_far[:, 0] = CHARACTERS.index(BEGIN)
    for step in range(10):
        best = model.predict([x[held_out], so_far], verbose=0, batch_size=256)[:, step].argmax(-1)
        if step < 9:
            so_far[:, step + 1] = best
    answers = np.concatenate([so_far[:, 1:], best[:, None]], 1)
    right = float((answers == t[held_out]).all(1).mean())
    size = finish("dates", model, [x[held_out], shifted[held_out]], 6)
    (HERE / "dates" / "x.txt").write_text(
        "".join(f"{sources[i]}\t{targets[i]}\n" for i in held_out[:6]))
    (HERE / "dates" / "characters.txt").write_text("\n".join(CHARACTERS) + "\n")
    print(f"dates: {right:.1%} of {len(held_out)} held-out dates are right in every character, "
          f"chosen one after the other; {size} bytes")


def main():
    examples = {"questions": questions, "sunspots": sunspots, "dates": dates}
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("examples", nargs="*", metavar="EXAMPLE", help=", ".join(examples))
    parser.add_argument("--extract", metavar="TEXT", help="make questions/sentences.tsv")
    args = parser.parse_args()
    if args.extract:
        extract(args.extract)
        return
    for name in args.examples or examples:
        if name not in examples:
            parser.error(f"there is no example {name!r}; there are: {', '.join(examples)}")
        examples[name]()


if __name__ == "__main__":
    main()
