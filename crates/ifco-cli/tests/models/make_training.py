"""Writes training.keras, which Keras has trained for an epoch, its data, and how Keras goes on
(made with Keras 3.15.1 on TensorFlow 2.21).

Run it in this folder: python make_training.py.
"""

import json

import keras
import numpy as np
from keras import layers as L

keras.utils.set_random_seed(4)
random = np.random.default_rng(4)
x = random.normal(size=(48, 5, 2)).astype("f4")
y = np.cumsum(x, axis=1)[:, -1, :1].astype("f4")
model = keras.Sequential([keras.Input((5, 2)), L.LSTM(4, name="lstm"), L.Dense(1, name="head")], name="training")
model.compile(keras.optimizers.Adam(0.02), "mse", metrics=["mae"])
fit = dict(batch_size=8, shuffle=False, validation_split=0.25, verbose=0)
model.fit(x, y, **fit)
model.save("training.keras")
history = model.fit(x, y, epochs=4, **fit).history
np.save("training_x.npy", x)
np.save("training_y.npy", y)
np.save("training_prediction.npy", model.predict(x, verbose=0))
with open("training_history.json", "w") as file:
    json.dump(history, file, indent=1)
    file.write("\n")
