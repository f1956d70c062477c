"""One step of an LSTM by hand, for one unit, beside what ifco traced."""

import numpy as np

row, t, unit = 58, 3, 7  # the years 1986-2007, of them 1989, and one of the 24 units

weights = np.load("gates.npz")  # W, U and b of each gate
trace = np.load("trace.npz")  # what ifco computed, (row, step, unit)
years = np.load("examples/sunspots/x.npy")

x = years[row, t] / 100  # (1,) what the layer Rescaling gives to the LSTM
h = trace["h"][row, t - 1]  # (24,) the hidden state of the step before
c = trace["c"][row, t - 1, unit]  # the cell state of the step before, of this unit alone


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


gates = {}
print("gate     x·W      h·U        b        z")
for gate, activation in [("i", sigmoid), ("f", sigmoid), ("c", np.tanh), ("o", sigmoid)]:
    xw = x @ weights[f"kernel_{gate}"][:, unit]
    hu = h @ weights[f"recurrent_kernel_{gate}"][:, unit]
    b = weights[f"bias_{gate}"][unit]
    z = xw + hu + b
    gates[gate] = activation(z)
    print(f"{gate}    {xw:8.4f} {hu:8.4f} {b:8.4f} {z:8.4f}   {activation.__name__}(z) = {gates[gate]:.4f}")

kept, written = gates["f"] * c, gates["i"] * gates["c"]
c_new = kept + written
h_new = gates["o"] * np.tanh(c_new)
print(f"c = f·c + i·c̃ = {gates['f']:.4f}·{c:.4f} + {gates['i']:.4f}·{gates['c']:.4f} = {c_new:.4f}")
print(f"h = o·tanh(c) = {gates['o']:.4f}·{np.tanh(c_new):.4f} = {h_new:.4f}")

print()
print("and from the trace:")
columns = [gate * 24 + unit for gate in range(4)]
print("z        ", *(f"{z:.4f}" for z in trace["pre_activations"][row, t, columns]))
print("i f c̃ o  ", *(f"{trace[name][row, t, unit]:.4f}" for name in ("i", "f", "c_tilde", "o")))
print("c h      ", *(f"{trace[name][row, t, unit]:.4f}" for name in "ch"))
