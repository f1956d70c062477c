"""Makes layers.json: what Keras 3 and tf_keras compute for each layer.

Needs keras, tf_keras, tensorflow. Run it in this folder; the numbers drawn do not change.
"""

import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from keras.src.backend import get_keras_mask, set_keras_mask

T = (2, 5, 3)  # batch, time, features
IMAGE = (2, 4, 5, 2)
CASES = []
DROPPED = ("initializer", "regularizer", "constraint", "name", "trainable", "dtype", "seed",
           "lora", "quantization", "momentum", "clipping", "shared_object_id", "autocast", "module",
           "build_config", "query_shape", "key_shape", "value_shape", "input_length", "sparse",
           "synchronized")


def numbers(array):
    """An array as JSON; what was drawn is whole 32nds, which take less room than decimals."""
    array = np.asarray(array)
    shape = list(array.shape)
    if array.dtype == bool:
        return {"shape": shape, "data": [int(n) for n in array.ravel()]}
    array = np.asarray(array, "float32").ravel()
    if np.isfinite(array).all() and (array * 32 == np.round(array * 32)).all():
        return {"shape": shape, "in32": [int(n * 32) for n in array]}
    return {"shape": shape, "data": [str(n) if n - n != 0 else float("%.6g" % n) for n in array]}


def described(array, mask=None):
    return dict(numbers(array), **({} if mask is None else {"mask": numbers(mask)}))


def slim(config):
    if isinstance(config, dict):
        return {k: slim(v) for k, v in config.items()
                if not any(word in k for word in DROPPED) or k == "class_name"}
    if isinstance(config, (list, tuple)):
        return [slim(v) for v in config]
    return config


def to_json(value):
    return value.tolist() if hasattr(value, "tolist") else value.numpy().tolist()


def case(cls, kwargs=None, shapes=(T,), masks=None, call=None, only=None, data=None, named=(),
         weights=True):
    """One case for each generation. `masks` are shapes, arrays or None; `named` are the inputs
    passed by name instead of by position."""
    of_both = []
    for version, lib in ((3, keras), (2, tf_keras)):
        if only not in (None, version):
            continue
        rng = np.random.default_rng(len(CASES))
        options = dict(kwargs or {})
        if version == 2 and cls == "LeakyReLU" and "negative_slope" in options:
            options["alpha"] = options.pop("negative_slope")
        for key, value in options.items():
            if callable(value):
                options[key] = value(lib)
        layer = getattr(lib.layers, cls)(**options)
        arrays = data or [rng.integers(-32, 33, shape) / 16 for shape in shapes]
        arrays = [np.asarray(a, "float32") for a in arrays]
        tensors = [tf.constant(a) for a in arrays]
        mask_arrays = []
        for i, tensor in enumerate(tensors):
            mask = masks[i] if masks else None
            if isinstance(mask, tuple):
                mask = rng.random(mask) < 0.6
            mask_arrays.append(mask)
            if mask is not None:
                if version == 3:
                    set_keras_mask(tensor, tf.constant(mask))
                else:
                    tensor._keras_mask = tf.constant(mask)
        keywords, described_call = {}, {}
        for key, value in (call or {}).items():
            if isinstance(value, (list, np.ndarray)):
                as_list = value if isinstance(value, list) else [value]
                described_call[key] = [described(v) for v in as_list]
                found = [tf.constant(v) for v in as_list]
                keywords[key] = found if isinstance(value, list) else found[0]
            else:
                described_call[key] = keywords[key] = value
        n = len(tensors) - len(named)
        for name, tensor, array, mask in zip(named, tensors[n:], arrays[n:], mask_arrays[n:]):
            keywords[name] = tensor
            described_call[name] = [described(array, mask)]
        if cls == "MultiHeadAttention":
            run = lambda: layer(*tensors[:n], **keywords)
        elif cls in LISTS:
            run = lambda: layer(tensors, **keywords)
        else:
            run = lambda: layer(tensors[0], **keywords)
        saved = [getattr(t, "_keras_mask", None) for t in tensors]
        run()
        for tensor, mask in zip(tensors, saved):  # MultiHeadAttention takes them off
            if mask is not None:
                tensor._keras_mask = mask
        drawn = []
        for w in layer.weights:
            w_array = rng.integers(-32, 33, w.shape) / 32
            if any(word in w.name for word in ("variance", "stddev")):
                w_array = np.abs(w_array) + 0.25
            drawn.append(np.asarray(w_array, "float32"))
        if drawn:
            layer.set_weights(drawn)
            if hasattr(layer, "finalize_state"):
                layer.finalize_state()
        outputs = run()
        outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
        if version == 3:
            config = keras.saving.serialize_keras_object(layer)["config"]
            out_masks = [get_keras_mask(o) for o in outputs]
        else:
            config = tf_keras.saving.serialize_keras_object(layer)["config"]
            out_masks = [getattr(o, "_keras_mask", None) for o in outputs]
        config = json.loads(json.dumps(slim(config), default=to_json))
        config.update({"causal": True} if "causal" in options else {})  # as Keras 2.3 wrote it
        of_both.append({
            "class": cls, "configs": {version: config},
            "inputs": [described(a, m) for a, m in zip(arrays[:n], mask_arrays[:n])],
            "call": described_call,
            "weights": [numbers(w) for w in drawn],
            "outputs": [described(o.numpy(), None if m is None else m.numpy())
                        for o, m in zip(outputs, out_masks)],
        })
    if len(of_both) == 2 and same(*of_both):
        of_both[0]["configs"].update(of_both.pop()["configs"])
    CASES.extend(of_both)


def same(a, b):
    """Whether both generations computed the same: then one case stands for both."""
    def masks(c):
        return [output.get("mask") for output in c["outputs"]]

    def data(c):
        return [float(n) for output in c["outputs"] for n in output.get("data", output.get("in32"))]
    return masks(a) == masks(b) and np.allclose(
        *(np.asarray(data(c), "float32") for c in (a, b)), atol=2e-6, rtol=2e-6, equal_nan=True)



LISTS = {"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot",
         "Attention", "AdditiveAttention"}
TM = (2, 5)  # a mask for T


def merges():
    M, MM = (2, 4, 2), (2, 4)
    for cls in ("Add", "Multiply", "Average", "Maximum", "Minimum"):
        case(cls, shapes=(M, M, M))
        case(cls, shapes=(M, M, M), masks=(MM, MM, MM))
        case(cls, shapes=(M, M, M), masks=(MM, None, MM))
        case(cls, shapes=(M, M, M), masks=(None, MM, MM))
        case(cls, shapes=(M, (2, 1, 2)), masks=(MM, None))
        case(cls, shapes=((2, 4, 1), M), masks=(None, MM))
        case(cls, shapes=(M, (2, 2)), masks=(MM, None))
        case(cls, shapes=((2, 2), M), masks=(None, MM))
        case(cls, shapes=((2, 1, 2), M), masks=((2, 1), MM), only=3)
    case("Subtract", shapes=(T, T), masks=(TM, TM))
    case("Subtract", shapes=(T, (2, 3)))
    for axis in (-1, 1, 2):
        case("Concatenate", {"axis": axis}, shapes=(T, T))
        case("Concatenate", {"axis": axis}, shapes=(T, T), masks=(TM, TM))
        case("Concatenate", {"axis": axis}, shapes=(T, T), masks=(TM, None), only=None if axis != 1 else 3)
    case("Concatenate", {"axis": 1}, shapes=(T, (2, 2, 3)), masks=(TM, (2, 2)))
    case("Concatenate", shapes=((2, 3), (2, 4), (2, 1)))
    case("Concatenate", shapes=(T, (2, 5, 1)), masks=(None, TM))
    for axes, a, b in ((1, (2, 3), (2, 3)), (-1, (2, 3), (2, 3)), (2, T, (2, 4, 3)), ((1, 1), T, (2, 5, 4)),
                       ((2, 1), T, (2, 3)), ((1, 2), (2, 3), T), (-1, T, (2, 3)),
                       ((1, 3), (2, 3, 4, 2), (2, 5, 2, 3)), ((-1, 2), (2, 3, 4), (2, 3, 4, 2))):
        for normalize in (False, True):
            case("Dot", {"axes": axes, "normalize": normalize}, shapes=(a, b), masks=(a[:-1], None))
    case("Dot", {"axes": 1, "normalize": True}, data=[np.zeros((1, 3)), np.array([[1e-7, 0, 1e-8]])])


def core():
    for shape in ((2, 3), T, IMAGE):
        case("Dense", {"units": 4, "activation": "tanh"}, (shape,), masks=(shape[:-1],))
    case("Dense", {"units": 4, "use_bias": False})
    case("Dense", {"units": 4, "activation": "softmax"})
    case("Dense", {"units": 4, "activation": lambda lib: lib.layers.LeakyReLU(0.1)})
    ids = [np.array([[1, 0, 4, 2, 0], [3, 3, 0, 0, 0]])]
    for mask_zero in (False, True):
        case("Embedding", {"input_dim": 5, "output_dim": 2, "mask_zero": mask_zero}, data=ids,
             masks=(TM,))
    case("Embedding", {"input_dim": 5, "output_dim": 2}, data=[np.array([1, 4])])
    steps = np.array([[[0, 0], [1, 0], [2, 2]], [[2, 2], [0, 2], [0, 0]]])
    for value in (0.0, 2.0):
        case("Masking", {"mask_value": value}, data=[steps], masks=(None,))
    case("Masking", {"mask_value": 2}, data=[steps], masks=((2, 3),))
    case("Masking", data=[np.array([[0.0, 0.0], [1.0, 0.0]])])
    for cls, options in (("Dropout", {"rate": 0.5}), ("SpatialDropout1D", {"rate": 0.5}),
                         ("GaussianNoise", {"stddev": 1.0}), ("GaussianDropout", {"rate": 0.5}),
                         ("AlphaDropout", {"rate": 0.5}), ("ActivityRegularization", {"l1": 0.1}),
                         ("Identity", {})):
        case(cls, options, masks=(TM,), only=3 if cls == "Identity" else None)
    case("SpatialDropout2D", {"rate": 0.5}, (IMAGE,))


def activations():
    for name in ("relu", "sigmoid", "softmax", "hard_sigmoid", "linear", "elu", "selu", "gelu", "swish",
                 "softplus", "softsign", "exponential"):
        case("Activation", {"activation": name}, masks=(TM,))
    for options in ({}, {"max_value": 1.0}, {"negative_slope": 0.25}, {"threshold": 0.5},
                    {"max_value": 1.5, "negative_slope": 0.25, "threshold": 0.5}, {"max_value": 6.0}):
        case("ReLU", options, masks=(TM,))
    case("LeakyReLU", masks=(TM,))
    case("LeakyReLU", {"negative_slope": 0.125})
    case("ThresholdedReLU", {"theta": 0.5}, masks=(TM,), only=2)
    case("ELU", masks=(TM,))
    case("ELU", {"alpha": 0.5})
    for shared in (None, 1, [1, 2], [2]):
        case("PReLU", {"shared_axes": shared}, masks=(TM,))
    case("PReLU", {"shared_axes": [1, 2]}, (IMAGE,))
    for axis in (-1, 1, [1, 2], [2]):
        case("Softmax", {"axis": axis})
    some = np.array([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)
    case("Softmax", shapes=((3, 5),), masks=(some,))
    case("Softmax", shapes=((2, 3, 5),), masks=(some,))
    case("Softmax", {"axis": [1, 2]}, shapes=((2, 3, 5),), call={"mask": np.stack([some, ~some])})
    case("Softmax", {"axis": 1}, shapes=((2, 3, 5),), call={"mask": some[:, :1]})


def shapes():
    for shape in ((2,), (2, 3), T, IMAGE):
        for data_format in ("channels_last", "channels_first"):
            case("Flatten", {"data_format": data_format}, (shape,), masks=(shape[:2],))
    for target in ((15,), (3, 5), (-1,), (5, -1, 1), (3, -1)):
        case("Reshape", {"target_shape": target}, masks=(TM,))
    case("Permute", {"dims": (2, 1)}, masks=(TM,))
    case("Permute", {"dims": (3, 1, 2)}, (IMAGE,))
    case("RepeatVector", {"n": 3}, ((2, 3),), masks=((2,),))
    case("ZeroPadding1D", {"padding": 2}, masks=(TM,))
    case("ZeroPadding1D", {"padding": (0, 3)})
    case("ZeroPadding1D", {"padding": (1, 3), "data_format": "channels_first"}, only=3)
    case("Cropping1D", {"cropping": 1}, masks=(TM,))
    case("Cropping1D", {"cropping": (0, 3)})
    case("Cropping1D")
    case("UpSampling1D", {"size": 3}, masks=(TM,))
    for padding in (1, (1, 2), ((1, 0), (2, 3))):
        for data_format in ("channels_last", "channels_first"):
            case("ZeroPadding2D", {"padding": padding, "data_format": data_format}, (IMAGE,))
    for cropping in (1, (1, 0), ((0, 1), (1, 2))):
        case("Cropping2D", {"cropping": cropping}, (IMAGE,))
    case("Cropping2D", {"cropping": ((1, 0), (0, 1)), "data_format": "channels_first"}, (IMAGE,))
    for data_format in ("channels_last", "channels_first"):
        case("UpSampling2D", {"size": (2, 3), "data_format": data_format}, (IMAGE,))


def norms():
    for options in ({}, {"axis": 1}, {"axis": [1, 2]}, {"axis": [2, 1]}, {"axis": [-1, -2]},
                    {"scale": False}, {"center": False}, {"scale": False, "center": False},
                    {"epsilon": 1e-6}):
        case("LayerNormalization", options, masks=(TM,))
    case("LayerNormalization", {"rms_scaling": True}, only=3)
    case("LayerNormalization", {"rms_scaling": True, "scale": False}, only=3)
    case("LayerNormalization", {"axis": [1, 3]}, (IMAGE,))
    for options in ({}, {"axis": 1}, {"scale": False}, {"center": False}, {"epsilon": 0.1},
                    {"scale": False, "center": False}, {"renorm": True}):
        case("BatchNormalization", options, masks=(TM,))
    case("BatchNormalization", {"axis": [1, 2]}, only=2)
    case("BatchNormalization", {"epsilon": 1e-7}, (IMAGE,))
    case("BatchNormalization", {"axis": 1}, (IMAGE,))
    case("BatchNormalization", {}, ((2, 3),))
    for axis in (-1, 1, [1, 2]):
        case("UnitNormalization", {"axis": axis}, masks=(TM,))
    case("UnitNormalization", data=[np.array([[0.0, 0.0], [1e-7, 1e-8]])])
    for options in ({"groups": 2}, {"groups": -1}, {"groups": 4, "scale": False}, {"groups": 2, "center": False},
                    {"groups": 1}):
        case("GroupNormalization", options, ((2, 3, 4),), masks=((2, 3),), only=3)
        case("GroupNormalization", options, ((2, 3, 4),), only=2)
    case("GroupNormalization", {"groups": 2, "axis": 1}, (IMAGE,))
    for options in ({}, {"axis": 1}, {"axis": (1, 2)}, {"axis": None}, {"invert": True},
                    {"mean": 1.0, "variance": 4.0}, {"mean": [1.0, 2.0, 3.0], "variance": [1.0, 0.0, 2.0]},
                    {"axis": (1, 2), "mean": [1.0, 2.0, 3.0], "variance": [1.0, 0.5, 2.0]}):
        case("Normalization", options, masks=(TM,))
    case("Rescaling", {"scale": 2.0}, masks=(TM,))
    case("Rescaling", {"scale": 0.5, "offset": -1.0})
    case("Rescaling", {"scale": [1.0, 2.0, 3.0], "offset": [0.0, 1.0, 2.0]})
    case("Rescaling", {"scale": np.array([1.0, 2.0, 3.0])}, only=3)


def convolutions():
    long = (2, 6, 2)
    for padding in ("valid", "same", "causal"):
        for options in ({}, {"strides": 2}, {"strides": 3}, {"dilation_rate": 2}, {"groups": 2}):
            case("Conv1D", dict(filters=2, kernel_size=3, padding=padding, **options), (long,))
    case("Conv1D", {"filters": 3, "kernel_size": 2, "strides": 3, "padding": "same"}, (long,), masks=((2, 6),))
    case("Conv1D", {"filters": 3, "kernel_size": 4, "padding": "same", "activation": "relu"}, (long,))
    case("Conv1D", {"filters": 6, "kernel_size": 2, "groups": 2, "padding": "same"}, ((1, 4, 4),))
    case("Conv1D", {"filters": 3, "kernel_size": 1, "use_bias": False}, (long,))
    case("Conv1D", {"filters": 3, "kernel_size": 3, "activation": "softmax",
                    "data_format": "channels_first"}, ((2, 4, 7),), only=3)
    for padding in ("valid", "same"):
        for options in ({}, {"strides": 2}, {"strides": (2, 1)}, {"dilation_rate": 2}, {"groups": 2}):
            case("Conv2D", dict(filters=2, kernel_size=(2, 3), padding=padding, **options), ((1, 4, 5, 2),))
        for options in ({}, {"strides": 2}, {"depth_multiplier": 2}, {"dilation_rate": 2}, {"use_bias": False}):
            case("DepthwiseConv1D", dict(kernel_size=3, padding=padding, **options), (long,))
            case("SeparableConv1D", dict(filters=2, kernel_size=3, padding=padding, **options), (long,))
        case("DepthwiseConv2D", {"kernel_size": (2, 3), "padding": padding, "depth_multiplier": 2,
                                 "activation": "tanh"}, ((1, 4, 5, 2),))
        case("SeparableConv2D", {"filters": 3, "kernel_size": (2, 3), "padding": padding, "strides": 2},
             ((1, 4, 5, 2),))
    case("SeparableConv1D", {"filters": 2, "kernel_size": 3, "padding": "causal"}, (long,), only=2)
    for cls in ("MaxPooling", "AveragePooling"):
        for padding in ("valid", "same"):
            for size, strides in ((2, None), (3, 1), (3, 2), (2, 3)):
                case(cls + "1D", {"pool_size": size, "strides": strides, "padding": padding}, masks=(TM,))
            case(cls + "2D", {"pool_size": (2, 3), "strides": (1, 2), "padding": padding}, (IMAGE,))
            case(cls + "2D", {"pool_size": 2, "padding": padding}, (IMAGE,))
        case(cls + "1D", {"pool_size": 2, "data_format": "channels_first"})
    some = np.array([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0]], bool)
    for keepdims in (False, True):
        for data_format in ("channels_last", "channels_first"):
            options = {"keepdims": keepdims, "data_format": data_format}
            for cls in ("GlobalMaxPooling", "GlobalAveragePooling"):
                case(cls + "1D", options)
                case(cls + "2D", options, (IMAGE,))
            mask = some if data_format == "channels_last" else some[:, :3]
            case("GlobalAveragePooling1D", options, masks=(mask,))
    case("GlobalMaxPooling1D", masks=(some,))


def attention():
    q, v = (2, 3, 3), (2, 5, 3)
    wide = (2, 5, 2)
    qm, vm = np.array([[1, 1, 0], [0, 1, 1]], bool), np.array([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0]], bool)
    for options in ({}, {"use_scale": True}, {"score_mode": "concat"},
                    {"score_mode": "concat", "use_scale": True}, {"dropout": 0.5}):
        case("Attention", options, (q, v))
        case("Attention", options, (q, wide, v), masks=(qm, vm, None))
    for options in ({}, {"use_scale": False}):
        case("AdditiveAttention", options, (q, v))
        case("AdditiveAttention", options, (q, wide, v), masks=(qm, vm, None), only=3)
        case("AdditiveAttention", options, (q, v, v), masks=(qm, vm, None), only=2)
    for cls in ("Attention", "AdditiveAttention"):
        case(cls, {}, (q, v), masks=(None, vm), call={"use_causal_mask": True})
        case(cls, {}, (q, v), masks=(qm, None), call={"return_attention_scores": True})
        case(cls, {}, (q, v), call={"mask": [qm, vm]})
    case("Attention", {"causal": True}, (q, v), only=2)
    mha = "MultiHeadAttention"
    base = {"num_heads": 2, "key_dim": 2}
    for extra in ({}, {"dropout": 0.5}):
        options = dict(base, **extra)
        case(mha, options, (q, v))
        case(mha, options, (q, q), masks=(qm, qm))
        case(mha, options, (q, wide, v), masks=(qm, vm, None))
        case(mha, options, (q, wide, v), masks=(None, None, vm))
        case(mha, options, (q, v), call={"use_causal_mask": True})
        case(mha, options, (q, v), masks=(qm, vm), call={"use_causal_mask": True})
        case(mha, options, (q, v), call={"return_attention_scores": True, "use_causal_mask": True})
        attention_mask = np.random.default_rng(1).random((2, 3, 5)) < 0.6
        attention_mask[0, 1] = False
        case(mha, options, (q, v), call={"attention_mask": attention_mask})
        case(mha, options, (q, v), masks=(None, vm), call={"attention_mask": attention_mask[0]})
    case(mha, dict(base, use_bias=False, value_dim=3), (q, v))
    case(mha, dict(base, output_shape=5), (q, v))
    # Heads of one dimension. With as many steps as heads, the sum with the bias goes wrong in
    # Keras 3 on TensorFlow (and there alone): it takes the steps for the heads.
    case(mha, {"num_heads": 2, "key_dim": 1}, (q, v), masks=(qm, vm))
    case(mha, {"num_heads": 1, "key_dim": 1, "value_dim": 3, "dropout": 0.5}, (q, v))
    case("Attention", {}, ((2, 3, 1), (2, 5, 1)), masks=(qm, vm))
    case(mha, dict(base, output_shape=(2, 5)), (q, v))
    case(mha, base, (q, v), named=("value",))
    case(mha, base, (q, wide, v), named=("value", "key"), masks=(qm, vm, vm))
    case(mha, base, (q, v), call={"value_mask": vm, "query_mask": qm}, only=3)
    case(mha, dict(base, use_gate=True), (q, v), only=3)
    case(mha, dict(base, sliding_window=2), (q, v), only=3)
    grid = (1, 2, 3, 2)
    for axes in ((2,), (1,), (1, 2), (2, 1)):
        case(mha, dict(base, attention_axes=axes), (grid, grid))
    case(mha, base, (grid, grid))
    case(mha, dict(base, attention_axes=2), (grid, (1, 2, 5, 2)), call={"return_attention_scores": True})


for make in (merges, core, activations, shapes, norms, convolutions, attention):
    make()
with open("layers.json", "w") as file:
    file.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in CASES) + "\n]\n")
print(len(CASES), "cases")
