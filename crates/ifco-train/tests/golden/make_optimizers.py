"""Makes optimizers.json and schedules.json: 200 steps of Keras 3's optimizers, what they remember,
and its learning rates. Needs keras and tensorflow.

Gradients are not stored: `draw` of common.py and of `tests/common` gives the same.
"""

from common import array, draw, number, write
import keras
import numpy as np
from keras import constraints as C, optimizers as O
from keras.optimizers import schedules as S

SHAPES = [("dense/kernel", (2, 3)), ("dense/bias", (3,))]
SHOWN = [1, 2, 10, 50, 200]


CASES = []


def case(about, optimizer, constraints=(None, None)):
    variables = []
    for k, (path, shape) in enumerate(SHAPES):
        layer, name = path.split("/")
        with keras.src.backend.name_scope(layer):
            v = keras.Variable(draw(0, k, shape), name=name)
        v.constraint = constraints[k]
        variables.append(v)
    written = O.serialize(optimizer)
    optimizer.build(variables)
    shown = []
    for step in range(1, 201):
        # As large as a gradient's beginning, then smaller.
        size = np.float32(2.0 if step <= 20 else 0.25)
        optimizer.apply([draw(step, k, s) * size for k, (_, s) in enumerate(SHAPES)], variables)
        if step in SHOWN:
            shown.append([array(v.numpy()) for v in variables])
    entry = {"about": about, "optimizer": written, "shown": shown,
             "names": [v.path for v in optimizer.variables],
             "variables": [int(v.numpy()) if i == 0 else array(v.numpy())
                           for i, v in enumerate(optimizer.variables)]}
    if any(constraints):
        entry["constraints"] = [c and C.serialize(c) for c in constraints]
    if optimizer.use_ema:
        optimizer.finalize_variable_values(variables)
        entry["final"] = [array(v.numpy()) for v in variables]
    CASES.append(entry)


case("plain", O.SGD())
case("momentum", O.SGD(0.05, momentum=0.9))
case("nesterov", O.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01))
case("plain", O.RMSprop())
case("centered", O.RMSprop(0.01, centered=True))
case("momentum", O.RMSprop(0.01, rho=0.8, momentum=0.5, epsilon=1e-5))
case("all", O.RMSprop(0.01, momentum=0.5, centered=True))
case("plain", O.Adam())
case("options", O.Adam(0.02, beta_1=0.8, beta_2=0.95, epsilon=1e-4, amsgrad=True))
case("plain", O.AdamW())
case("amsgrad", O.AdamW(0.01, weight_decay=0.1, amsgrad=True))
case("plain", O.Adamax(0.01))
case("plain", O.Nadam(0.01))
case("plain", O.Adagrad(0.05))
case("from zero", O.Adagrad(0.05, initial_accumulator_value=0.0))
case("plain", O.Adadelta(1.0))
case("plain", O.Lion(0.01))
case("plain", O.Ftrl(0.05))
case("options", O.Ftrl(0.05, learning_rate_power=-0.75, initial_accumulator_value=0.5,
                       l1_regularization_strength=0.01, l2_regularization_strength=0.02,
                       l2_shrinkage_regularization_strength=0.03, beta=0.1))
case("plain", O.Lamb(0.01))
case("clipnorm", O.SGD(0.05, clipnorm=0.5))
case("global_clipnorm", O.SGD(0.05, momentum=0.5, global_clipnorm=0.6))
case("clipvalue", O.Adam(0.01, clipvalue=0.1))
case("ema", O.Adam(0.01, use_ema=True, ema_momentum=0.9))
case("ema, overwriting", O.SGD(0.05, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=7))
case("loss scale", O.Adam(0.01, loss_scale_factor=8.0))
case("accumulating", O.Adam(0.01, gradient_accumulation_steps=3, clipnorm=0.4))
case("accumulating, ema", O.SGD(0.05, momentum=0.9, gradient_accumulation_steps=4, use_ema=True,
                                ema_momentum=0.7, ema_overwrite_frequency=5))
case("accumulating", O.Nadam(0.01, gradient_accumulation_steps=2))
case("schedule", O.Adam(S.ExponentialDecay(0.05, 20, 0.8)))
case("schedule and accumulating", O.SGD(S.CosineDecay(0.1, 150), gradient_accumulation_steps=3,
                                        weight_decay=0.01))
case("constraints", O.SGD(0.05), (C.MaxNorm(0.5), C.NonNeg()))
case("constraints", O.Adam(0.02), (C.UnitNorm(axis=1), None))
case("constraints", O.SGD(0.05), (C.MinMaxNorm(0.2, 0.6, rate=0.5, axis=[0, 1]),
                                  C.MaxNorm(0.3)))
write("optimizers.json", CASES)

RATES = []
for schedule in [
    S.ExponentialDecay(0.1, 30, 0.5), S.ExponentialDecay(0.1, 30, 0.5, staircase=True),
    S.InverseTimeDecay(0.1, 30, 0.5), S.InverseTimeDecay(0.1, 30, 0.5, staircase=True),
    S.PiecewiseConstantDecay([10, 40, 90], [1.0, 0.5, 0.1, 0.01]),
    S.PiecewiseConstantDecay([10], [1.0, 0.5]),
    S.PolynomialDecay(0.1, 60), S.PolynomialDecay(0.1, 60, 0.02, power=0.5),
    S.PolynomialDecay(0.1, 60, 0.02, power=2.0, cycle=True),
    S.CosineDecay(0.1, 80), S.CosineDecay(0.01, 80, alpha=0.1, warmup_target=0.2, warmup_steps=15),
    S.CosineDecayRestarts(0.1, 20), S.CosineDecayRestarts(0.1, 20, t_mul=1.0, m_mul=0.8),
    S.CosineDecayRestarts(0.1, 25, t_mul=1.5, m_mul=0.7, alpha=0.05),
]:
    steps = [0, 1, 5, 10, 11, 15, 20, 29, 30, 31, 40, 41, 59, 60, 61, 90, 91, 120, 150, 1000]
    RATES.append({"schedule": S.serialize(schedule), "steps": steps,
                  "rates": [number(schedule(s)) for s in steps]})
write("schedules.json", RATES)
