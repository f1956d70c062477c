//! The names that a pickle may hold, and what each stands for here.

use super::Dialect;
use crate::arrays::dtype::Dtype;

/// What a known name stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::torch) enum Global {
    /// A dictionary.
    Dict,
    /// A tensor over a storage. The number of the argument that is its type, where the storage
    /// does not tell it.
    Tensor { dtype_at: Option<usize> },
    /// Its first argument.
    First,
    /// A type of storage; untyped ones count bytes.
    Storage(Element),
    /// A type of numbers.
    Dtype(Element),
    /// Something that holds no weights: a device, a size, NumPy's numbers, a program's arguments.
    Plain,
    /// A module of TorchScript.
    Object,
}

/// What the numbers of a tensor are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::torch) enum Element {
    /// Weights.
    Float(Dtype),
    /// Counters and indices, of so many bytes: no weights.
    Other(usize),
    /// Not read.
    Unsupported { what: &'static str, size: usize },
    /// Bytes, whose meaning the tensor tells.
    Untyped,
}

/// What `module.name` stands for; `None` for what this reader does not know.
pub(super) fn find(module: &str, name: &str, dialect: Dialect) -> Option<Global> {
    Some(match (module, name) {
        ("collections", "OrderedDict" | "defaultdict" | "Counter")
        | ("builtins" | "__builtin__", "dict") => Global::Dict,
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => {
            Global::Tensor { dtype_at: None }
        }
        ("torch._utils", "_rebuild_tensor_v3") => Global::Tensor { dtype_at: Some(6) },
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Global::First,
        ("torch.storage", "UntypedStorage") => Global::Storage(Element::Untyped),
        ("torch" | "torch.cuda", _) => return torch(name),
        ("builtins" | "__builtin__", "set" | "frozenset") => Global::First,
        ("builtins" | "__builtin__", "int" | "float" | "bool" | "str" | "complex" | "slice")
        | ("argparse", "Namespace")
        | ("pathlib", "PosixPath" | "WindowsPath" | "PurePosixPath" | "PureWindowsPath")
        | ("pathlib._local", "PosixPath" | "WindowsPath")
        | ("numpy", "dtype" | "ndarray" | "float32" | "float64" | "int32" | "int64")
        | ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar" | "_reconstruct")
        | ("_codecs", "encode") => Global::Plain,
        _ if dialect == Dialect::Script => return script(module, name),
        _ => return None,
    })
}

/// What stands in PyTorch's own namespace.
fn torch(name: &str) -> Option<Global> {
    if matches!(name, "Size" | "device") {
        return Some(Global::Plain);
    }
    if let Some(kind) = name.strip_suffix("Storage") {
        return Some(Global::Storage(match kind {
            "Float" => Element::Float(Dtype::F32),
            "Double" => Element::Float(Dtype::F64),
            "Half" => Element::Float(Dtype::F16),
            "BFloat16" => Element::Float(Dtype::BF16),
            "Long" => Element::Other(8),
            "Int" => Element::Other(4),
            "Short" => Element::Other(2),
            "Char" | "Byte" | "Bool" => Element::Other(1),
            "ComplexFloat" => unsupported("complex numbers", 8),
            "ComplexDouble" => unsupported("complex numbers", 16),
            "QInt8" | "QUInt8" | "QUInt4x2" | "QUInt2x4" => unsupported("quantized numbers", 1),
            "QInt32" => unsupported("quantized numbers", 4),
            _ => return None,
        }));
    }
    Some(Global::Dtype(match name {
        "float32" | "float" => Element::Float(Dtype::F32),
        "float64" | "double" => Element::Float(Dtype::F64),
        "float16" | "half" => Element::Float(Dtype::F16),
        "bfloat16" => Element::Float(Dtype::BF16),
        "int64" | "long" | "uint64" => Element::Other(8),
        "int32" | "int" | "uint32" => Element::Other(4),
        "int16" | "short" | "uint16" => Element::Other(2),
        "int8" | "uint8" | "bool" => Element::Other(1),
        "complex32" | "complex64" | "complex128" => unsupported("complex numbers", 8),
        "qint8" | "quint8" | "qint32" => unsupported("quantized numbers", 1),
        "float8_e4m3fn" | "float8_e5m2" | "float8_e4m3fnuz" | "float8_e5m2fnuz"
        | "float8_e8m0fnu" => unsupported("8-bit floats", 1),
        _ => return None,
    }))
}

const fn unsupported(what: &'static str, size: usize) -> Element {
    Element::Unsupported { what, size }
}

/// What only TorchScript writes.
fn script(module: &str, name: &str) -> Option<Global> {
    if module == "__torch__" || module.starts_with("__torch__.") {
        return Some(Global::Object);
    }
    let is_list = matches!(
        name,
        "build_intlist"
            | "build_tensorlist"
            | "build_doublelist"
            | "build_boollist"
            | "restore_type_tag"
    );
    (module == "torch.jit._pickle" && is_list).then_some(Global::First)
}
