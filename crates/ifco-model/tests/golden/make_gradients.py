"""Makes gradients.json: the gradients that tf.GradientTape gives for the cases of layers.json.

Needs keras, tf_keras, tensorflow. Run it in this folder. Of each case that has a gradient: of the
sum of all outputs, each weighed with the number that `weighted` in ../golden_cases draws, by each
input and trainable weight, as at inference; of BatchNormalization also as in training.
"""

import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from keras.src.backend import set_keras_mask

LISTS = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot",
         "Attention", "AdditiveAttention")


def array(value):
    data = np.array([float(n) for n in value.get("in32", value.get("data"))], "float32")
    return (data / 32 if "in32" in value else data).reshape(value["shape"])


def weighted(output, shape):
    index = np.arange(1, int(np.prod(shape)) + 1) + output
    return (((index * 7 + 3) % 13) / 8 - 0.75).astype("float32").reshape(shape)


def numbers(gradient):
    gradient = tf.convert_to_tensor(gradient).numpy().astype("float32").ravel()
    return [str(n) if n - n != 0 else float("%.5g" % n) for n in gradient]


def gradients(case, version, config, training):
    lib = keras if version == 3 else tf_keras
    layer = getattr(lib.layers, case["class"]).from_config(config)
    tensors = [tf.constant(array(v)) for v in case["inputs"]]
    keywords = {}
    for key, value in case["call"].items():
        if isinstance(value, list):
            if key.endswith("mask") or any("mask" in v for v in value):
                return None
            keywords[key] = tf.constant(array(value[0]))
        else:
            keywords[key] = value
    if case["class"] == "BatchNormalization":
        keywords["training"] = training

    def run():
        for tensor, value in zip(tensors, case["inputs"]):
            if "mask" in value:
                mask = tf.constant(array(value["mask"]) != 0)
                if version == 3:
                    set_keras_mask(tensor, mask)
                else:
                    tensor._keras_mask = mask
        if case["class"] == "MultiHeadAttention":
            return layer(*tensors, **keywords)
        return layer(tensors if case["class"] in LISTS else tensors[0], **keywords)

    run()
    if case["weights"]:
        layer.set_weights([array(w) for w in case["weights"]])
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
    variables = [v.value if version == 3 else v for v in layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(tensors + variables)
        outputs = run()
        outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
        loss = sum(tf.reduce_sum(o * weighted(i, o.shape)) for i, o in enumerate(outputs))
    found = tape.gradient(loss, tensors + variables)
    found = [None if g is None else numbers(g) for g in found]
    return found[:len(tensors)], found[len(tensors):]


def main():
    with open("layers.json") as file:
        cases = json.load(file)
    made, refused = [], 0
    for index, case in enumerate(cases):
        for version in sorted(case["configs"], reverse=True):
            modes = (False, True) if case["class"] == "BatchNormalization" else (False,)
            for training in modes:
                config = dict(case["configs"][version])
                if "causal" in config or config.get("renorm"):
                    continue
                try:
                    found = gradients(case, int(version), config, training)
                except Exception as error:  # a configuration that only a file can have
                    refused += 1
                    print(index, case["class"], version, str(error)[:100])
                    continue
                if found:
                    made.append({"case": index, "version": version, "training": training,
                                 "inputs": found[0], "weights": found[1]})
            break  # one generation is enough where both compute the same
    with open("gradients.json", "w") as file:
        lines = (json.dumps(entry, separators=(",", ":")) for entry in made)
        file.write("[\n" + ",\n".join(lines) + "\n]\n")
    print(len(made), "cases,", refused, "refused")


main()
