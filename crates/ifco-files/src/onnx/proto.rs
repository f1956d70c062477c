//! The messages of an ONNX file that ifco needs, as `onnx.proto` numbers their fields. What else
//! there is, is passed over, as protobuf asks for.

use crate::wire::{Message, Value, WireError};

/// Of one node. No operator of ONNX has 20.
const MAX_ATTRIBUTES: usize = 256;

type Read<T> = Result<T, WireError>;

/// `ModelProto`
#[derive(Debug, Default)]
pub(super) struct ModelProto<'a> {
    pub graph: Option<Message<'a>>,
    /// Domain and version.
    pub opsets: Vec<(&'a str, i64)>,
    pub has_functions: bool,
}

/// `GraphProto`, whose parts are read one by one.
#[derive(Debug, Default)]
pub(super) struct GraphProto<'a> {
    pub name: &'a str,
    pub nodes: Vec<Message<'a>>,
    pub initializers: Vec<Message<'a>>,
    pub inputs: Vec<Message<'a>>,
    pub outputs: Vec<Message<'a>>,
    pub has_sparse: bool,
}

/// `NodeProto`
#[derive(Debug, Default)]
pub(super) struct NodeProto<'a> {
    pub name: &'a str,
    pub op: &'a str,
    pub domain: &'a str,
    pub inputs: Vec<&'a str>,
    pub outputs: Vec<&'a str>,
    pub attributes: Vec<AttributeProto<'a>>,
}

/// `AttributeProto`
#[derive(Debug, Default)]
pub(super) struct AttributeProto<'a> {
    pub name: &'a str,
    /// `AttributeProto.AttributeType`; 0 in very old files.
    pub kind: u64,
    pub float: Option<f32>,
    pub int: Option<i64>,
    pub string: Option<Message<'a>>,
    pub tensor: Option<Message<'a>>,
    pub floats: Vec<f32>,
    pub ints: Vec<i64>,
    pub strings: Vec<Message<'a>>,
    pub has_graph: bool,
    /// The graph of a Loop, a Scan or a branch of an If.
    pub graph: Option<Message<'a>>,
}

/// `TensorProto`
#[derive(Debug, Default)]
pub(super) struct TensorProto<'a> {
    pub name: &'a str,
    pub dims: Vec<i64>,
    pub data_type: i64,
    pub floats: Vec<f32>,
    pub ints: Vec<i64>,
    pub doubles: Vec<f64>,
    pub raw: Option<Message<'a>>,
    /// Keys and values.
    pub external: Vec<(&'a str, &'a str)>,
    pub is_external: bool,
}

/// `ValueInfoProto`, of a tensor.
#[derive(Debug, Default)]
pub(super) struct ValueInfo<'a> {
    pub name: &'a str,
    /// `None` of a sequence, a map or nothing.
    pub data_type: Option<i64>,
    pub shape: Option<Vec<Option<usize>>>,
}

impl<'a> ModelProto<'a> {
    pub fn read(message: Message<'a>) -> Read<Self> {
        let mut model = Self::default();
        for field in message.fields() {
            match field? {
                (7, Value::Bytes(graph)) => model.graph = Some(graph),
                (8, Value::Bytes(opset)) => model.opsets.push(opset_id(opset)?),
                (25, Value::Bytes(_)) => model.has_functions = true,
                _ => {}
            }
        }
        Ok(model)
    }
}

fn opset_id(message: Message<'_>) -> Read<(&str, i64)> {
    let mut opset = ("", 0);
    for field in message.fields() {
        match field? {
            (1, Value::Bytes(domain)) => opset.0 = domain.text()?,
            (2, Value::Varint(version)) => opset.1 = version.cast_signed(),
            _ => {}
        }
    }
    Ok(opset)
}

impl<'a> GraphProto<'a> {
    pub fn read(message: Message<'a>) -> Read<Self> {
        let mut graph = Self::default();
        for field in message.fields() {
            match field? {
                (1, Value::Bytes(node)) => graph.nodes.push(node),
                (2, Value::Bytes(name)) => graph.name = name.text()?,
                (5, Value::Bytes(tensor)) => graph.initializers.push(tensor),
                (11, Value::Bytes(input)) => graph.inputs.push(input),
                (12, Value::Bytes(output)) => graph.outputs.push(output),
                (15, Value::Bytes(_)) => graph.has_sparse = true,
                _ => {}
            }
        }
        Ok(graph)
    }
}

impl<'a> NodeProto<'a> {
    pub fn read(message: Message<'a>) -> Read<Self> {
        let mut node = Self::default();
        for field in message.fields() {
            match field? {
                (1, Value::Bytes(name)) => node.inputs.push(name.text()?),
                (2, Value::Bytes(name)) => node.outputs.push(name.text()?),
                (3, Value::Bytes(name)) => node.name = name.text()?,
                (4, Value::Bytes(op)) => node.op = op.text()?,
                (5, Value::Bytes(attribute)) => {
                    // They take far more memory than bytes.
                    if node.attributes.len() == MAX_ATTRIBUTES {
                        return Err(attribute.error("more attributes than any operator has"));
                    }
                    node.attributes.push(AttributeProto::read(attribute)?);
                }
                (7, Value::Bytes(domain)) => node.domain = domain.text()?,
                _ => {}
            }
        }
        Ok(node)
    }
}

impl<'a> AttributeProto<'a> {
    fn read(message: Message<'a>) -> Read<Self> {
        let mut attribute = Self::default();
        for field in message.fields() {
            match field? {
                (1, Value::Bytes(name)) => attribute.name = name.text()?,
                (2, Value::Fixed32(value)) => attribute.float = Some(f32::from_le_bytes(value)),
                (3, Value::Varint(value)) => attribute.int = Some(value.cast_signed()),
                (4, Value::Bytes(value)) => attribute.string = Some(value),
                (5, Value::Bytes(value)) => attribute.tensor = Some(value),
                (6, Value::Bytes(graph)) => {
                    (attribute.graph, attribute.has_graph) = (Some(graph), true);
                }
                (11, Value::Bytes(_)) => attribute.has_graph = true,
                (7, value) => floats(value, &mut attribute.floats)?,
                (8, value) => integers(value, &mut attribute.ints)?,
                (9, Value::Bytes(value)) => attribute.strings.push(value),
                (20, Value::Varint(value)) => attribute.kind = value,
                _ => {}
            }
        }
        Ok(attribute)
    }
}

impl<'a> TensorProto<'a> {
    pub fn read(message: Message<'a>) -> Read<Self> {
        let mut tensor = Self::default();
        for field in message.fields() {
            match field? {
                (1, value) => integers(value, &mut tensor.dims)?,
                (2, Value::Varint(value)) => tensor.data_type = value.cast_signed(),
                (4, value) => floats(value, &mut tensor.floats)?,
                // int32_data, int64_data and uint64_data: one of them is there.
                (5 | 7 | 11, value) => integers(value, &mut tensor.ints)?,
                (8, Value::Bytes(name)) => tensor.name = name.text()?,
                (9, Value::Bytes(raw)) => tensor.raw = Some(raw),
                (10, Value::Bytes(packed)) => {
                    tensor
                        .doubles
                        .extend(packed.chunks()?.map(f64::from_le_bytes));
                }
                (10, Value::Fixed64(value)) => tensor.doubles.push(f64::from_le_bytes(value)),
                (13, Value::Bytes(entry)) => tensor.external.push(string_pair(entry)?),
                (14, Value::Varint(location)) => tensor.is_external = location == 1,
                _ => {}
            }
        }
        Ok(tensor)
    }
}

fn string_pair(message: Message<'_>) -> Read<(&str, &str)> {
    let mut pair = ("", "");
    for field in message.fields() {
        match field? {
            (1, Value::Bytes(key)) => pair.0 = key.text()?,
            (2, Value::Bytes(value)) => pair.1 = value.text()?,
            _ => {}
        }
    }
    Ok(pair)
}

impl<'a> ValueInfo<'a> {
    pub fn read(message: Message<'a>) -> Read<Self> {
        let mut info = Self::default();
        for field in message.fields() {
            match field? {
                (1, Value::Bytes(name)) => info.name = name.text()?,
                (2, Value::Bytes(kind)) => info.read_type(kind)?,
                _ => {}
            }
        }
        Ok(info)
    }

    fn read_type(&mut self, message: Message<'a>) -> Read<()> {
        for field in message.fields() {
            let (1, Value::Bytes(tensor)) = field? else {
                continue;
            };
            for field in tensor.fields() {
                match field? {
                    (1, Value::Varint(kind)) => self.data_type = Some(kind.cast_signed()),
                    (2, Value::Bytes(shape)) => self.shape = Some(read_shape(shape)?),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// A size that has a name, or none, is not known.
fn read_shape(message: Message<'_>) -> Read<Vec<Option<usize>>> {
    let mut shape = Vec::new();
    for field in message.fields() {
        let (1, Value::Bytes(dimension)) = field? else {
            continue;
        };
        let mut size = None;
        for field in dimension.fields() {
            if let (1, Value::Varint(value)) = field? {
                size = usize::try_from(value.cast_signed()).ok();
            }
        }
        shape.push(size);
    }
    Ok(shape)
}

fn integers(value: Value<'_>, to: &mut Vec<i64>) -> Read<()> {
    match value {
        Value::Varint(value) => to.push(value.cast_signed()),
        Value::Bytes(packed) => packed.varints(to)?,
        _ => {}
    }
    Ok(())
}

fn floats(value: Value<'_>, to: &mut Vec<f32>) -> Read<()> {
    match value {
        Value::Fixed32(value) => to.push(f32::from_le_bytes(value)),
        Value::Bytes(packed) => to.extend(packed.chunks()?.map(f32::from_le_bytes)),
        _ => {}
    }
    Ok(())
}
