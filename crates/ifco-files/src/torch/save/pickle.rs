//! The zip that `torch.save` writes: a pickle of the dictionary, and a storage for each tensor.
//!
//! Only what `torch.load(weights_only=True)` takes: an `OrderedDict` of tensors.

use std::io::{Cursor, Write};

use zip::ZipWriter;

use super::{Named, Tensor, little_endian};
use crate::SaveError;
use crate::arrays::npz::entry_options;

/// The file's bytes.
pub(super) fn archive(tensors: &Named) -> Result<Vec<u8>, SaveError> {
    let mut entries = vec![
        ("data.pkl".to_owned(), pickle(tensors)),
        ("byteorder".to_owned(), b"little".to_vec()),
        ("version".to_owned(), b"3\n".to_vec()),
    ];
    for (number, (_, tensor)) in tensors.iter().enumerate() {
        let bytes = match tensor {
            Tensor::Floats(array) => little_endian(array),
            Tensor::Count(count) => count.to_le_bytes().to_vec(),
        };
        entries.push((format!("data/{number}"), bytes));
    }
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let encode = |error: String| SaveError::Encode(error);
    for (name, bytes) in &entries {
        zip.start_file(format!("archive/{name}"), entry_options(bytes.len() as u64))
            .map_err(|error| encode(error.to_string()))?;
        zip.write_all(bytes)
            .map_err(|error| encode(error.to_string()))?;
    }
    let done = zip.finish().map_err(|error| encode(error.to_string()))?;
    Ok(done.into_inner())
}

/// In protocol 2, as PyTorch writes it.
fn pickle(tensors: &Named) -> Vec<u8> {
    let mut out = Pickle(b"\x80\x02".to_vec());
    out.ordered_dict();
    out.0.push(b'(');
    for (number, (name, tensor)) in tensors.iter().enumerate() {
        out.text(name);
        out.tensor(number, tensor);
    }
    out.0.extend_from_slice(b"u.");
    out.0
}

struct Pickle(Vec<u8>);

impl Pickle {
    fn global(&mut self, module: &str, name: &str) {
        self.0
            .extend_from_slice(format!("c{module}\n{name}\n").as_bytes());
    }

    /// An empty one.
    fn ordered_dict(&mut self) {
        self.global("collections", "OrderedDict");
        self.0.extend_from_slice(b")R");
    }

    fn text(&mut self, text: &str) {
        self.0.push(b'X');
        self.0.extend_from_slice(&(text.len() as u32).to_le_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn whole(&mut self, number: usize) {
        match i32::try_from(number) {
            Ok(number) => {
                self.0.push(b'J');
                self.0.extend_from_slice(&number.to_le_bytes());
            }
            Err(_) => {
                self.0.extend_from_slice(&[0x8a, 8]);
                self.0.extend_from_slice(&(number as u64).to_le_bytes());
            }
        }
    }

    fn tuple(&mut self, numbers: &[usize]) {
        self.0.push(b'(');
        for number in numbers {
            self.whole(*number);
        }
        self.0.push(b't');
    }

    /// A call of `_rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)`.
    fn tensor(&mut self, number: usize, tensor: &Tensor) {
        let (shape, storage) = match tensor {
            Tensor::Floats(array) => (array.shape(), "FloatStorage"),
            Tensor::Count(_) => (&[][..], "LongStorage"),
        };
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.0.extend_from_slice(b"((");
        self.text("storage");
        self.global("torch", storage);
        self.text(&number.to_string());
        self.text("cpu");
        self.whole(shape.iter().product());
        self.0.extend_from_slice(b"tQ");
        self.whole(0);
        self.tuple(shape);
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        self.tuple(&strides);
        self.0.push(0x89); // False
        self.ordered_dict();
        self.0.extend_from_slice(b"tR");
    }
}
