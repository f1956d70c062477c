"""Writes the models beside it, and what Keras predicts with them (made with Keras 3.15.1 and
tf_keras 2.21).

Run it in this folder: python make.py.
"""

import keras
import numpy as np
import tf_keras
from keras import layers as L

keras.utils.set_random_seed(2)
random = np.random.default_rng(2)
normal = lambda *shape: random.normal(size=shape).astype("f4")


def train_a_little(model):
    """Weights that no initializer gives."""
    model.set_weights([w + normal(*w.shape) / 10 for w in model.get_weights()])
    return model


# Stacked, one direction and two; also its parts apart.
model = train_a_little(
    keras.Sequential(
        [
            keras.Input((4, 3)),
            L.LSTM(5, return_sequences=True, name="first"),
            L.Bidirectional(L.GRU(2, name="gru"), name="both"),
            L.Dense(2, name="head"),
        ],
        name="stacked",
    )
)
x = normal(7, 4, 3)
model.save("stacked.keras")
model.save_weights("stacked.weights.h5")
with open("stacked.json", "w") as file:
    file.write(model.to_json())
np.save("stacked_x.npy", x)
np.savetxt("stacked_x.csv", x.reshape(7, 12), delimiter=",", fmt="%.9g")
np.save("stacked_y.npy", model.predict(x, verbose=0))
first = model.get_layer("first").get_weights()
np.savez("first.npz", *[part for w in first for part in np.split(w, 4, axis=-1)])

# Two inputs, states passed on, three outputs; a forget bias that was never there.
source = keras.Input((None, 2), name="source")
target = keras.Input((None, 1), name="target")
_, h, c = L.LSTM(3, return_state=True, name="encoder")(source)
sequence, h, c = L.LSTM(
    3, return_sequences=True, return_state=True, unit_forget_bias=False, name="decoder"
)(target, initial_state=[h, c])
model = keras.Model([source, target], [L.Dense(1, name="head")(sequence), h, c])
inputs = {"target": normal(3, 2, 1), "source": normal(3, 4, 2)}
model.save("translate.keras")
np.savez("translate_x.npz", **inputs)
np.save("translate_source.npy", inputs["source"])
np.save("translate_target.npy", inputs["target"])
np.savez("translate_y.npz", *model.predict(inputs, verbose=0))

# One column, any number of steps.
model = train_a_little(
    keras.Sequential(
        [keras.Input((None, 1)), L.SimpleRNN(2, name="rnn"), L.Dense(1)], name="series"
    )
)
model.save("series.keras")
series = normal(6)
np.savetxt("series_x.csv", series, header="value", comments="")
np.save("series_y.npy", model.predict(series.reshape(1, 6, 1), verbose=0))

# Options that JSON cannot write, but Python's json does; as Keras 2 wrote them too.
x = normal(3, 4, 2)
x[1, 2:] = np.inf
np.save("masked_x.npy", x)
for keras, ending in [(keras, "keras"), (tf_keras, "h5")]:
    L = keras.layers
    model = train_a_little(
        keras.Sequential(
            [
                keras.Input((4, 2)),
                L.Masking(np.inf),
                L.LSTM(2),
                L.ReLU(max_value=float("inf")),
            ]
        )
    )
    model.save(f"masked.{ending}")
    np.save(f"masked_{ending}_y.npy", model.predict(x, verbose=0))
