//! Arrays in and out: `.npy`, `.npz`, `.csv`, `.safetensors`.
