"""What a random model can be made of: every layer that ifco runs, with its options drawn."""

from dataclasses import dataclass

ACTIVATIONS = {
    "keras3": ["tanh", "relu", "sigmoid", "hard_sigmoid", "elu", "selu", "softplus", "softsign",
               "gelu", "silu", "mish", "relu6", "leaky_relu", "hard_silu", "celu", "log_sigmoid",
               "hard_tanh", "tanh_shrink", "sparse_sigmoid", "sparsemax", "softmax", "squareplus",
               "soft_shrink", "linear", "log_softmax"],
    "keras2": ["tanh", "relu", "sigmoid", "hard_sigmoid", "elu", "selu", "softplus", "softsign",
               "gelu", "swish", "mish", "softmax", "linear"],
}
# Bounded ones: a recurrence with others may leave every float behind within twenty steps.
BOUNDED = {
    "keras3": ["tanh", "sigmoid", "hard_sigmoid", "softsign", "hard_tanh", "sparse_sigmoid",
               "softmax", "relu6", "sparsemax"],
    "keras2": ["tanh", "sigmoid", "hard_sigmoid", "softsign", "softmax"],
}
BOTH = ("keras3", "keras2")


class Tools:
    """The framework, the random numbers, and what has happened so far."""

    def __init__(self, k, generation, rng):
        self.k, self.generation, self.rng = k, generation, rng
        # Whether something was built that a Sequential cannot say.
        self.branched = False

    def units(self):
        return int(self.rng.choice([1, 2, 3, 4, 5, 7, 8, 13, 17]))

    def width(self):
        return int(self.rng.choice([1, 2, 3, 4, 5, 6, 11]))

    def time(self):
        return 100 if self.rng.random() < 0.04 else int(self.rng.integers(1, 21))

    def flip(self, chance=0.5):
        return bool(self.rng.random() < chance)

    def pick(self, *options):
        return options[int(self.rng.integers(len(options)))]

    def activation(self):
        return self.pick(*ACTIVATIONS[self.generation])

    def bounded(self):
        return self.pick(*BOUNDED[self.generation])


@dataclass
class Operation:
    """A way to get a tensor from one or more of a pool."""

    rank: tuple
    apply: object
    generations: tuple = BOTH
    known_time: bool = False
    # Needs an input of frames: (batch, rows, columns, channels).
    frames: bool = False

    def takes(self, tools, tensor):
        if len(tensor.shape) not in self.rank:
            return False
        if self.known_time and any(n is None for n in tensor.shape[1:]):
            return False
        return "float" in str(getattr(tensor.dtype, "name", tensor.dtype))


OPERATIONS = {}


def operation(name, *rank, **options):
    """Registers a function (tools, tensor, pool) -> answer."""
    def register(function):
        OPERATIONS[name] = Operation(rank, function, **options)
        return function
    return register


def layer(name, *rank, **options):
    """Registers a function tools -> layer, for layers of one input."""
    def register(function):
        OPERATIONS[name] = Operation(rank, lambda t, x, pool: function(t)(x), **options)
        return function
    return register


def _recurrent_options(t):
    options = {"return_sequences": t.flip(0.6), "go_backwards": t.flip(0.25)}
    options["unroll"] = t.flip(0.1)
    if t.flip(0.2):
        options["zero_output_for_mask"] = True
    return options


def _cell_options(t, gates=True):
    options = {"use_bias": t.flip(0.8)}
    if t.flip(0.4):
        options["activation"] = t.bounded()
    if gates and t.flip(0.4):
        options["recurrent_activation"] = t.bounded()
    if t.flip(0.2):
        options |= {"dropout": 0.3, "recurrent_dropout": 0.2}
    return options


def _run(t, x, make, options):
    """Calls a recurrent layer, sometimes with return_state or with an initial_state."""
    if options.get("unroll") and (x.shape[1] is None or x.shape[1] > 20):
        options["unroll"] = False
    if t.flip(0.2):
        options["return_state"] = True
        t.branched = True
    return make(options)(x)


@operation("LSTM", 3)
def _lstm(t, x, pool):
    cell = _cell_options(t)
    return _run(t, x, lambda o: t.k.layers.LSTM(t.units(), **cell, **o), _recurrent_options(t))


@operation("hard_sigmoid", 3)
def _hard_sigmoid(t, x, pool):
    """The activation that Keras 2 and 3 do not compute alike, where it stood most often."""
    L = t.k.layers
    made = t.pick(L.LSTM, L.GRU)(t.units(), recurrent_activation="hard_sigmoid",
                                 return_sequences=t.flip())
    return L.Bidirectional(made)(x) if t.flip(0.3) else made(x)


@operation("GRU", 3)
def _gru(t, x, pool):
    cell = _cell_options(t) | {"reset_after": t.flip()}
    return _run(t, x, lambda o: t.k.layers.GRU(t.units(), **cell, **o), _recurrent_options(t))


@operation("SimpleRNN", 3)
def _simple_rnn(t, x, pool):
    cell = _cell_options(t, gates=False)
    return _run(t, x, lambda o: t.k.layers.SimpleRNN(t.units(), **cell, **o),
                _recurrent_options(t))


def _cell(t):
    L = t.k.layers
    kind = t.pick("LSTMCell", "GRUCell", "SimpleRNNCell")
    options = _cell_options(t, gates=kind != "SimpleRNNCell")
    if kind == "GRUCell":
        options["reset_after"] = t.flip()
    return getattr(L, kind)(t.units(), **options)


@operation("RNN", 3)
def _rnn(t, x, pool):
    return _run(t, x, lambda o: t.k.layers.RNN(_cell(t), **o), _recurrent_options(t))


@operation("StackedRNNCells", 3)
def _stacked(t, x, pool):
    cells = [_cell(t) for _ in range(int(t.rng.integers(2, 4)))]
    inner = cells if t.flip() else t.k.layers.StackedRNNCells(cells)
    return _run(t, x, lambda o: t.k.layers.RNN(inner, **o), _recurrent_options(t))


@operation("Bidirectional", 3)
def _bidirectional(t, x, pool):
    L = t.k.layers
    options = _recurrent_options(t) | {"go_backwards": False}
    if t.flip(0.15):
        options["return_state"] = True
        t.branched = True
    units = t.units()
    kind = t.pick("LSTM", "LSTM", "GRU", "SimpleRNN", "RNN")
    if kind == "RNN":
        make = lambda o: L.RNN(L.LSTMCell(units), **o)  # noqa: E731
    else:
        cell = _cell_options(t, gates=kind != "SimpleRNN")
        make = lambda o: getattr(L, kind)(units, **cell, **o)  # noqa: E731
    if options.get("unroll") and x.shape[1] is None:
        options["unroll"] = False
    extra = {"merge_mode": t.pick("concat", "sum", "mul", "ave", None)}
    if extra["merge_mode"] is None:
        t.branched = True
    if t.flip(0.3):
        extra["backward_layer"] = make(options | {"go_backwards": True})
    return L.Bidirectional(make(options), **extra)(x)


@operation("initial_state", 3)
def _initial_state(t, x, pool):
    """A recurrent layer that starts from a Dense of some vector in the pool."""
    L = t.k.layers
    vectors = [p for p in pool if len(p.shape) == 2 and "float" in str(p.dtype)]
    vector = vectors[int(t.rng.integers(len(vectors)))] if vectors else L.LSTM(3)(x)
    t.branched = True
    units = t.units()
    kind = t.pick("LSTM", "GRU", "SimpleRNN")
    states = [L.Dense(units, activation="tanh")(vector) for _ in range(1 + (kind == "LSTM"))]
    made = getattr(L, kind)(units, **_recurrent_options(t) | {"unroll": False})
    return made(x, initial_state=states if len(states) > 1 else states[0])


@operation("shared", 3, known_time=True)
def _shared(t, x, pool):
    """One layer called on two tensors."""
    L = t.k.layers
    made = t.pick(L.LSTM(t.units()), L.Bidirectional(L.GRU(2)), L.LSTM(2, return_sequences=True))
    t.branched = True
    other = L.Activation("tanh")(x)
    return L.Subtract()([made(x), made(other)])


RECURRENT = list(OPERATIONS)


@operation("TimeDistributed", 3, 4)
def _time_distributed(t, x, pool):
    L = t.k.layers
    if len(x.shape) == 4:
        return L.TimeDistributed(t.pick(L.LSTM(t.units()), L.Flatten(), L.Conv1D(2, 2),
                                        L.GRU(2, return_sequences=True)))(x)
    return L.TimeDistributed(t.pick(L.Dense(t.units(), activation=t.activation()),
                                    L.BatchNormalization(), L.Activation(t.activation())))(x)


@layer("Dense", 2, 3)
def _dense(t):
    return t.k.layers.Dense(t.units(), activation=t.activation(), use_bias=t.flip(0.8))


@layer("Activation", 2, 3)
def _activation(t):
    return t.k.layers.Activation(t.activation())


@layer("Masking", 3)
def _masking(t):
    return t.k.layers.Masking(t.pick(0.0, 0.0, 0.5))


@layer("ThresholdedReLU", 2, 3, generations=("keras2",))
def _thresholded(t):
    return t.k.layers.ThresholdedReLU(0.3)


@layer("Identity", 2, 3)
def _identity(t):
    return t.k.layers.Identity()


for _name, _options in {"Dropout": {"rate": 0.4}, "AlphaDropout": {"rate": 0.2}, "SpatialDropout1D": {"rate": 0.3},
                        "GaussianNoise": {"stddev": 0.5}, "GaussianDropout": {"rate": 0.3},
                        "ActivityRegularization": {"l1": 0.1}}.items():
    OPERATIONS[_name] = Operation(
        (3,) if "1D" in _name else (2, 3),
        lambda t, x, pool, n=_name, o=_options: getattr(t.k.layers, n)(**o)(x))


@layer("ReLU", 2, 3)
def _relu(t):
    return t.k.layers.ReLU(max_value=t.pick(None, 1.5), negative_slope=t.pick(0.0, 0.1),
                           threshold=t.pick(0.0, 0.2))


@layer("LeakyReLU", 2, 3)
def _leaky(t):
    return t.k.layers.LeakyReLU(t.pick(0.3, 0.05))


@layer("ELU", 2, 3)
def _elu(t):
    return t.k.layers.ELU(t.pick(1.0, 0.5))


@operation("PReLU", 2, 3, known_time=True)
def _prelu(t, x, pool):
    return t.k.layers.PReLU(shared_axes=[1] if len(x.shape) == 3 and t.flip() else None)(x)


@operation("Softmax", 2, 3)
def _softmax(t, x, pool):
    if getattr(x, "_keras_mask", None) is not None:
        # Keras 3 refuses it, Keras 2 adds (batch, time) to (batch, time, features) as it stands,
        # which fits by accident only.
        raise ValueError("no softmax behind a mask")
    return t.k.layers.Softmax(axis=t.pick(-1, 1) if len(x.shape) == 3 else -1)(x)


@layer("Flatten", 3, 4, known_time=True)
def _flatten(t):
    return t.k.layers.Flatten()


@operation("Reshape", 2, 3, 4, known_time=True)
def _reshape(t, x, pool):
    if len(x.shape) == 2:
        return t.k.layers.Reshape(t.pick((x.shape[1], 1), (1, -1)))(x)
    if len(x.shape) == 4:
        return t.k.layers.Reshape((x.shape[1], -1))(x)
    return t.k.layers.Reshape(t.pick((-1, x.shape[1]), (x.shape[1], x.shape[2])))(x)


@layer("Permute", 3, known_time=True)
def _permute(t):
    return t.k.layers.Permute((2, 1))


@layer("RepeatVector", 2)
def _repeat(t):
    return t.k.layers.RepeatVector(int(t.rng.integers(1, 7)))


def _merge(name):
    def apply(t, x, pool):
        L = t.k.layers
        t.branched = True
        same = [p for p in pool if tuple(p.shape) == tuple(x.shape) and p is not x]
        other = t.pick(*same) if same and t.flip(0.8) else L.Activation("tanh")(x)
        pair = [x, other] if t.flip() else [other, x]
        if name in ("Add", "Multiply", "Average") and t.flip(0.3):
            pair.append(L.Dense(x.shape[-1])(x))
        return getattr(L, name)()(pair)
    OPERATIONS[name] = Operation((2, 3), apply)


for _name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"):
    _merge(_name)


@operation("Concatenate", 2, 3)
def _concatenate(t, x, pool):
    t.branched = True
    if len(x.shape) == 3 and t.flip(0.3):
        other = [p for p in pool if len(p.shape) == 3 and p.shape[2] == x.shape[2]]
        return t.k.layers.Concatenate(axis=1)([x, t.pick(*other)])
    other = [p for p in pool
             if len(p.shape) == len(x.shape) and tuple(p.shape[:-1]) == tuple(x.shape[:-1])]
    return t.k.layers.Concatenate()([x, t.pick(*other)])


@operation("Dot", 2, 3, known_time=True)
def _dot(t, x, pool):
    t.branched = True
    other = [p for p in pool if tuple(p.shape) == tuple(x.shape)]
    axes = 1 if len(x.shape) == 2 else t.pick(1, 2, -1)
    return t.k.layers.Dot(axes=axes, normalize=t.flip(0.3))([x, t.pick(*other)])


@operation("LayerNormalization", 2, 3, known_time=True)
def _layer_norm(t, x, pool):
    axis = t.pick(-1, [1, 2], 1) if len(x.shape) == 3 else -1
    return t.k.layers.LayerNormalization(axis=axis, center=t.flip(0.8), scale=t.flip(0.8))(x)


@layer("BatchNormalization", 2, 3, 4)
def _batch_norm(t):
    return t.k.layers.BatchNormalization(center=t.flip(0.8), scale=t.flip(0.8))


@operation("GroupNormalization", 3, known_time=True)
def _group_norm(t, x, pool):
    n = x.shape[-1]
    return t.k.layers.GroupNormalization(groups=t.pick(*[g for g in (1, 2, 3, n) if n % g == 0]))(x)


@layer("UnitNormalization", 2, 3)
def _unit_norm(t):
    return t.k.layers.UnitNormalization()


@operation("Normalization", 2, 3)
def _normalization(t, x, pool):
    n = x.shape[-1]
    mean = [float(v) for v in t.rng.normal(size=n).round(3)]
    variance = [float(v) for v in t.rng.uniform(0.5, 2, n).round(3)]
    return t.k.layers.Normalization(mean=mean, variance=variance)(x)


@layer("Rescaling", 2, 3, 4)
def _rescaling(t):
    return t.k.layers.Rescaling(t.pick(0.5, 1 / 3), offset=t.pick(0.0, -0.25))


@operation("Conv1D", 3)
def _conv1d(t, x, pool):
    groups = 2 if x.shape[-1] % 2 == 0 and t.flip(0.4) else 1
    options = t.pick({}, {"strides": 2}, {"dilation_rate": 2})
    return t.k.layers.Conv1D(
        2 * int(t.rng.integers(1, 4)), int(t.rng.integers(1, 5)), groups=groups,
        padding=t.pick("valid", "same", "causal"), activation=t.activation(),
        use_bias=t.flip(0.8), **options)(x)


@operation("DepthwiseConv1D", 3)
def _depthwise1d(t, x, pool):
    return t.k.layers.DepthwiseConv1D(int(t.rng.integers(1, 4)), depth_multiplier=t.pick(1, 2),
                                      padding=t.pick("valid", "same"), strides=t.pick(1, 2))(x)


@operation("SeparableConv1D", 3)
def _separable1d(t, x, pool):
    return t.k.layers.SeparableConv1D(t.units(), int(t.rng.integers(1, 4)),
                                      padding=t.pick("valid", "same"), strides=t.pick(1, 2))(x)


@operation("MaxPooling1D", 3)
def _max_pooling(t, x, pool):
    return t.k.layers.MaxPooling1D(t.pick(2, 3), strides=t.pick(None, 1, 2),
                                   padding=t.pick("valid", "same"))(x)


@operation("AveragePooling1D", 3)
def _average_pooling(t, x, pool):
    return t.k.layers.AveragePooling1D(t.pick(2, 3), strides=t.pick(None, 1, 2),
                                       padding=t.pick("valid", "same"))(x)


@layer("GlobalMaxPooling1D", 3)
def _global_max(t):
    return t.k.layers.GlobalMaxPooling1D(keepdims=t.flip(0.3))


@layer("GlobalAveragePooling1D", 3)
def _global_average(t):
    return t.k.layers.GlobalAveragePooling1D(keepdims=t.flip(0.3))


@layer("ZeroPadding1D", 3)
def _zero_padding(t):
    return t.k.layers.ZeroPadding1D(t.pick(1, (0, 2), (3, 1)))


@operation("Cropping1D", 3, known_time=True)
def _cropping(t, x, pool):
    if x.shape[1] < 4:
        raise ValueError("nothing would be left")
    return t.k.layers.Cropping1D(t.pick(1, (0, 2), (2, 1)))(x)


@layer("UpSampling1D", 3)
def _up_sampling(t):
    return t.k.layers.UpSampling1D(t.pick(2, 3))


def _frames_to_sequence(t, x):
    """Frames as sequences, sometimes through an LSTM, so that there is one."""
    x = t.k.layers.Reshape((x.shape[1], -1))(x)
    return t.k.layers.LSTM(t.units(), return_sequences=t.flip())(x)


@operation("Conv2D", 4, known_time=True, frames=True)
def _conv2d(t, x, pool):
    groups = 2 if x.shape[-1] % 2 == 0 and t.flip(0.4) else 1
    options = t.pick({}, {"strides": (1, 2)}, {"dilation_rate": 2, "padding": "same"},
                     {"padding": "same"}, {"padding": "same", "strides": 2})
    y = t.k.layers.Conv2D(2 * int(t.rng.integers(1, 3)), t.pick(2, 3, (1, 3)), groups=groups,
                          activation=t.activation(), **options)(x)
    return _frames_to_sequence(t, y)


@operation("MaxPooling2D", 4, known_time=True, frames=True)
def _max_pooling2d(t, x, pool):
    return _frames_to_sequence(t, t.k.layers.MaxPooling2D(
        t.pick(2, (1, 3)), strides=t.pick(None, 1), padding=t.pick("valid", "same"))(x))


@operation("AveragePooling2D", 4, known_time=True, frames=True)
def _average_pooling2d(t, x, pool):
    return _frames_to_sequence(t, t.k.layers.AveragePooling2D(
        t.pick(2, (1, 3)), strides=t.pick(None, 1), padding=t.pick("valid", "same"))(x))


def _over_frames(name, make):
    OPERATIONS[name] = Operation(
        (4,), lambda t, x, pool: _frames_to_sequence(t, make(t, t.k.layers)(x)),
        known_time=True, frames=True)


_over_frames("DepthwiseConv2D", lambda t, L: L.DepthwiseConv2D(
    t.pick(2, 3), depth_multiplier=t.pick(1, 2), padding=t.pick("valid", "same")))
_over_frames("SeparableConv2D", lambda t, L: L.SeparableConv2D(
    t.units(), t.pick(2, (1, 3)), padding=t.pick("valid", "same")))
_over_frames("ZeroPadding2D", lambda t, L: L.ZeroPadding2D(t.pick(1, ((1, 2), (0, 3)))))
_over_frames("Cropping2D", lambda t, L: L.Cropping2D(t.pick(1, ((0, 1), (2, 1)))))
_over_frames("UpSampling2D", lambda t, L: L.UpSampling2D(t.pick(2, (1, 3))))
_over_frames("SpatialDropout2D", lambda t, L: L.SpatialDropout2D(0.3))


def _global2d(name):
    def apply(t, x, pool):
        t.branched = True
        made = getattr(t.k.layers, name)()(x)
        return t.k.layers.Concatenate()([made, t.k.layers.LSTM(2)(
            t.k.layers.Reshape((x.shape[1], -1))(x))])
    OPERATIONS[name] = Operation((4,), apply, known_time=True, frames=True)


_global2d("GlobalMaxPooling2D")
_global2d("GlobalAveragePooling2D")


def _attention(name):
    def apply(t, x, pool):
        L = t.k.layers
        t.branched = True
        other = [p for p in pool if len(p.shape) == 3 and p.shape[2] == x.shape[2]]
        value = t.pick(*other)
        options = {}
        if name == "Attention":
            options = {"use_scale": t.flip(), "score_mode": t.pick("dot", "concat")}
        elif t.flip(0.4):
            options = {"use_scale": False}
        key = [L.Dense(x.shape[2])(value)] if t.flip(0.4) else []
        return getattr(L, name)(**options)([x, value, *key], use_causal_mask=t.flip(0.3))
    OPERATIONS[name] = Operation((3,), apply)


_attention("Attention")
_attention("AdditiveAttention")


@operation("MultiHeadAttention", 3)
def _multi_head(t, x, pool):
    t.branched = True
    value = t.pick(*[p for p in pool if len(p.shape) == 3])
    options = t.pick({}, {"value_dim": 3}, {"use_bias": False}, {"output_shape": 5})
    made = t.k.layers.MultiHeadAttention(int(t.rng.integers(1, 4)), int(t.rng.integers(1, 5)),
                                         **options)
    return made(x, value, use_causal_mask=t.flip(0.3))
