//! A reader of Python pickles that runs nothing.
//!
//! A pickle is a program for a small stack machine. Most of its instructions make plain values;
//! `GLOBAL` names something to import, `REDUCE`, `NEWOBJ` and `BUILD` call it. Here nothing is
//! ever imported or called: the few names that PyTorch's own files need are known
//! ([`globals`]), stand for tensors, storages and dictionaries, and whatever else is asked for
//! ends the reading with an error that names it.
//!
//! Everything that is made lies in a [`Heap`], by number: a value may refer to another one, or to
//! itself, any number of times, and costs nothing more. Each instruction is charged to a budget,
//! so that memory is bounded by the file's size, and nothing here recurses.
//!
//! Source of the instructions: Python's `pickletools` (protocols 2 to 4; PyTorch writes 2).

mod globals;
mod heap;

use std::collections::HashMap;
use std::io::{self, BufReader, Read};

use crate::bytes::{Bytes, Reader};

pub(super) use globals::Element;
use globals::Global;
pub(super) use heap::{Heap, Node, Storage, Tensor, Value};

/// What one instruction is charged: no value, and no place on a stack or in the memo, takes more.
const PER_INSTRUCTION: u64 = 64;
/// What a tensor or a storage is charged besides.
const PER_TENSOR: u64 = 512;

/// What is wrong with a pickle.
#[derive(Debug)]
pub(super) enum PickleError {
    /// It is cut off, or no pickle.
    Damaged {
        /// Offset of the instruction.
        at: u64,
        reason: String,
    },
    /// It asks Python to import something that is no part of a tensor.
    Asks {
        name: String,
    },
    /// It would take too much memory.
    Limit,
    Io(io::Error),
}

/// Which names a pickle may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// What `torch.save` writes.
    Saved,
    /// What TorchScript writes: its modules are objects of classes below `__torch__`.
    Script,
}

/// The bytes of one or more pickles, read in order.
pub(super) struct Input {
    reader: BufReader<Reader>,
    at: u64,
    len: u64,
}

impl Input {
    pub fn new(bytes: &Bytes) -> Self {
        Self {
            reader: BufReader::new(bytes.reader()),
            at: 0,
            len: bytes.len(),
        }
    }

    /// How many bytes have been read.
    pub fn position(&self) -> u64 {
        self.at
    }

    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.reader.read_exact(buffer)?;
        self.at += buffer.len() as u64;
        Ok(())
    }
}

/// Reads the next pickle of `input`. `budget` is how many bytes its values may take; what they
/// took is subtracted.
pub(super) fn read(
    input: &mut Input,
    dialect: Dialect,
    budget: &mut u64,
) -> Result<(Heap, Value), PickleError> {
    let mut machine = Machine {
        start: input.at,
        input,
        dialect,
        budget,
        heap: Heap::default(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    let root = machine.run()?;
    Ok((machine.heap, root))
}

struct Machine<'a> {
    input: &'a mut Input,
    dialect: Dialect,
    budget: &'a mut u64,
    heap: Heap,
    stack: Vec<Value>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    /// Where the instruction that is being carried out begins.
    start: u64,
}

type Done<T> = Result<T, PickleError>;

fn take(budget: &mut u64, bytes: u64) -> Done<()> {
    *budget = budget.checked_sub(bytes).ok_or(PickleError::Limit)?;
    Ok(())
}

impl Machine<'_> {
    fn run(&mut self) -> Done<Value> {
        loop {
            self.start = self.input.at;
            self.charge(PER_INSTRUCTION)?;
            let [code] = self.bytes()?;
            match code {
                b'.' => return self.pop(),
                0x80 => {
                    let [protocol] = self.bytes()?;
                    if protocol > 5 {
                        return Err(self.damaged(format!("its protocol is {protocol}")));
                    }
                }
                0x95 => {
                    let _frame: [u8; 8] = self.bytes()?;
                }
                _ => self.instruction(code)?,
            }
        }
    }

    fn instruction(&mut self, code: u8) -> Done<()> {
        match code {
            // The stack.
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                // Python takes a mark where one is on top.
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            b'1' => {
                self.pop_to_mark()?;
            }
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            // Plain values.
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'J' => {
                let value = i32::from_le_bytes(self.bytes()?);
                self.stack.push(Value::Int(value.into()));
            }
            b'K' => {
                let [value] = self.bytes()?;
                self.stack.push(Value::Int(value.into()));
            }
            b'M' => {
                let value = u16::from_le_bytes(self.bytes()?);
                self.stack.push(Value::Int(value.into()));
            }
            b'G' => {
                let value = f64::from_be_bytes(self.bytes()?);
                self.stack.push(Value::Float(value));
            }
            0x8a => {
                let [len] = self.bytes()?;
                self.long(len.into())?;
            }
            0x8b => {
                let len = u32::from_le_bytes(self.bytes()?);
                self.long(len.into())?;
            }
            0x8c | b'U' | b'C' => {
                let [len] = self.bytes()?;
                self.sequence(code, len.into())?;
            }
            b'X' | b'T' | b'B' => {
                let len = u32::from_le_bytes(self.bytes()?);
                self.sequence(code, len.into())?;
            }
            0x8d | 0x8e => {
                let len = u64::from_le_bytes(self.bytes()?);
                self.sequence(code, len)?;
            }
            // Containers.
            b']' | 0x8f => self.make(Node::List(Vec::new())),
            b')' => self.make(Node::Tuple(Vec::new())),
            b'}' => self.make(Node::Dict(Vec::new())),
            b'l' | 0x91 => {
                let values = self.pop_to_mark()?;
                self.make(Node::List(values));
            }
            b't' => {
                let values = self.pop_to_mark()?;
                self.make(Node::Tuple(values));
            }
            0x85..=0x87 => {
                let values = self.pop_last(usize::from(code - 0x84))?;
                self.make(Node::Tuple(values));
            }
            b'd' => {
                let pairs = self.pop_pairs()?;
                self.make(Node::Dict(pairs));
            }
            b'a' => {
                let values = self.pop_last(1)?;
                self.append(values)?;
            }
            b'e' | 0x90 => {
                let values = self.pop_to_mark()?;
                self.append(values)?;
            }
            b's' => {
                let values = self.pop_last(2)?;
                self.set_items(vec![(values[0], values[1])])?;
            }
            b'u' => {
                let pairs = self.pop_pairs()?;
                self.set_items(pairs)?;
            }
            // The memo.
            b'q' => {
                let [number] = self.bytes()?;
                self.remember(number.into())?;
            }
            b'r' => {
                let number = u32::from_le_bytes(self.bytes()?);
                self.remember(number)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?,
            b'h' => {
                let [number] = self.bytes()?;
                self.recall(number.into())?;
            }
            b'j' => {
                let number = u32::from_le_bytes(self.bytes()?);
                self.recall(number)?;
            }
            // What would be imported and called.
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(&module, &name)?;
            }
            0x93 => {
                let names = self.pop_last(2)?;
                match (self.heap.text(names[0]), self.heap.text(names[1])) {
                    (Some(module), Some(name)) => {
                        let (module, name) = (module.to_owned(), name.to_owned());
                        self.global(&module, &name)?;
                    }
                    _ => return Err(self.damaged("a name that is no text")),
                }
            }
            b'R' | 0x81 => {
                let called = self.pop_last(2)?;
                let made = self.call(called[0], called[1])?;
                self.stack.push(made);
            }
            0x92 => {
                let called = self.pop_last(3)?;
                let made = self.call(called[0], called[1])?;
                self.stack.push(made);
            }
            b'b' => {
                let state = self.pop()?;
                let object = self.top()?;
                // A dictionary's own attributes (PyTorch's _metadata), or a tensor's, are no
                // weights; what a script's module consists of is in its state.
                if let Some(Node::Object { attributes }) = self.heap.node_mut(object) {
                    *attributes = state;
                }
            }
            b'Q' => {
                self.charge(PER_TENSOR)?;
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.make(storage);
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                return Err(PickleError::Asks {
                    name: format!("{module}.{name}"),
                });
            }
            _ => {
                let known = matches!(
                    code,
                    b'I' | b'L' | b'F' | b'S' | b'V' | b'p' | b'g' | b'P' | b'o' | 0x82..=0x84
                ) || matches!(code, 0x96..=0x98);
                return Err(self.damaged(if known {
                    format!("instruction {code:#04x}, which PyTorch does not write")
                } else {
                    format!("{code:#04x} is no instruction")
                }));
            }
        }
        Ok(())
    }

    fn damaged(&self, reason: impl Into<String>) -> PickleError {
        PickleError::Damaged {
            at: self.start,
            reason: reason.into(),
        }
    }

    fn charge(&mut self, bytes: u64) -> Done<()> {
        take(self.budget, bytes)
    }

    // Reading.

    fn fill(&mut self, buffer: &mut [u8]) -> Done<()> {
        self.input.fill(buffer).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                self.damaged("it ends too early")
            } else {
                PickleError::Io(error)
            }
        })
    }

    fn bytes<const N: usize>(&mut self) -> Done<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// So many bytes, if they are there.
    fn many(&mut self, len: u64) -> Done<Vec<u8>> {
        if len > self.input.len - self.input.at {
            return Err(self.damaged(format!("it claims {len} bytes and ends before")));
        }
        self.charge(len)?;
        let len = usize::try_from(len).map_err(|_| PickleError::Limit)?;
        let mut bytes = vec![0; len];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Up to the end of the line.
    fn line(&mut self) -> Done<String> {
        let mut line = Vec::new();
        loop {
            let [byte] = self.bytes()?;
            if byte == b'\n' {
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            self.charge(1)?;
            if line.len() >= 1000 {
                return Err(self.damaged("a name of more than 1000 bytes"));
            }
            line.push(byte);
        }
    }

    fn sequence(&mut self, code: u8, len: u64) -> Done<()> {
        let bytes = self.many(len)?;
        let node = match code {
            // Bytes are no weights: those lie outside of the pickle.
            b'C' | b'B' | 0x8e => Node::Opaque,
            // Python 2's strings are bytes that are meant as text.
            _ => Node::Text(match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) => error
                    .as_bytes()
                    .iter()
                    .map(|&byte| char::from(byte))
                    .collect(),
            }),
        };
        self.make(node);
        Ok(())
    }

    /// An integer in two's complement, least significant byte first.
    fn long(&mut self, len: u64) -> Done<()> {
        let bytes = self.many(len)?;
        if bytes.len() > 8 {
            self.make(Node::Opaque);
            return Ok(());
        }
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut whole = if negative { [0xff; 8] } else { [0; 8] };
        whole[..bytes.len()].copy_from_slice(&bytes);
        self.stack.push(Value::Int(i64::from_le_bytes(whole)));
        Ok(())
    }

    // The stack.

    fn make(&mut self, node: Node) {
        let value = self.heap.add(node);
        self.stack.push(value);
    }

    /// How low values may be taken: not below the last mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Done<Value> {
        self.pop_last(1).map(|values| values[0])
    }

    fn top(&self) -> Done<Value> {
        match self.stack.last() {
            Some(value) if self.stack.len() > self.floor() => Ok(*value),
            _ => Err(self.damaged("there is nothing on its stack")),
        }
    }

    fn pop_last(&mut self, count: usize) -> Done<Vec<Value>> {
        match self.stack.len().checked_sub(count) {
            Some(rest) if rest >= self.floor() => Ok(self.stack.split_off(rest)),
            _ => Err(self.damaged("there is nothing on its stack")),
        }
    }

    fn pop_to_mark(&mut self) -> Done<Vec<Value>> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => Err(self.damaged("there is no mark on its stack")),
        }
    }

    fn pop_pairs(&mut self) -> Done<Vec<(Value, Value)>> {
        let values = self.pop_to_mark()?;
        let (pairs, rest) = values.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(self.damaged("a key without a value"));
        }
        Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
    }

    fn append(&mut self, more: Vec<Value>) -> Done<()> {
        let target = self.top()?;
        match self.heap.node_mut(target) {
            Some(Node::List(values)) => values.extend(more),
            Some(Node::Opaque) => {}
            _ => return Err(self.damaged("a value is added to what is no list")),
        }
        Ok(())
    }

    fn set_items(&mut self, more: Vec<(Value, Value)>) -> Done<()> {
        let target = self.top()?;
        match self.heap.node_mut(target) {
            Some(Node::Dict(pairs)) => pairs.extend(more),
            Some(Node::Opaque) => {}
            _ => return Err(self.damaged("a key is set in what is no dictionary")),
        }
        Ok(())
    }

    fn remember(&mut self, number: u32) -> Done<()> {
        let top = self.top()?;
        self.memo.insert(number, top);
        Ok(())
    }

    fn recall(&mut self, number: u32) -> Done<()> {
        match self.memo.get(&number) {
            Some(value) => {
                self.stack.push(*value);
                Ok(())
            }
            None => Err(self.damaged(format!("nothing is kept under number {number}"))),
        }
    }

    // What would be imported and called.

    fn global(&mut self, module: &str, name: &str) -> Done<()> {
        match globals::find(module, name, self.dialect) {
            Some(global) => {
                self.make(Node::Global(global));
                Ok(())
            }
            None => Err(PickleError::Asks {
                name: format!("{module}.{name}"),
            }),
        }
    }

    /// What calling `function` would give.
    fn call(&mut self, function: Value, arguments: Value) -> Done<Value> {
        let Some(Node::Global(global)) = self.heap.node(function) else {
            return Err(self.damaged("it calls what is no function"));
        };
        let global = *global;
        let Some(Node::Tuple(arguments)) = self.heap.node(arguments) else {
            return Err(self.damaged("it calls a function without a tuple of arguments"));
        };
        let first = arguments.first().copied();
        let node = match global {
            Global::Dict => {
                let pairs = self.pairs_of(first);
                take(self.budget, PER_INSTRUCTION * pairs.len() as u64)?;
                Node::Dict(pairs)
            }
            Global::Object => Node::Object {
                attributes: Value::None,
            },
            Global::Plain => Node::Opaque,
            // A parameter is its tensor; a list that tells its type is the list.
            Global::First => {
                return first.ok_or_else(|| self.damaged("a call lacks its argument"));
            }
            Global::Tensor { dtype_at } => {
                take(self.budget, PER_TENSOR)?;
                let tensor = self.heap.tensor(arguments, dtype_at);
                Node::Tensor(Box::new(tensor.map_err(|reason| self.damaged(reason))?))
            }
            Global::Storage(_) | Global::Dtype(_) => {
                return Err(self.damaged("it calls a type of numbers"));
            }
        };
        Ok(self.heap.add(node))
    }

    /// What a dictionary is made of: Python 2 gave the pairs to OrderedDict.
    fn pairs_of(&self, list: Option<Value>) -> Vec<(Value, Value)> {
        let Some(Node::List(items)) = list.and_then(|list| self.heap.node(list)) else {
            return Vec::new();
        };
        items
            .iter()
            .filter_map(|item| match self.heap.items(*item) {
                Some([key, value]) => Some((*key, *value)),
                _ => None,
            })
            .collect()
    }

    /// The storage that a persistent id tells of: `("storage", type, key, device, count)`, and in
    /// a legacy file which part of another storage it is.
    fn storage(&self, id: Value) -> Done<Node> {
        let Some([kind, rest @ ..]) = self.heap.items(id) else {
            return Err(self.damaged("a storage that is not told in a tuple"));
        };
        match self.heap.text(*kind) {
            Some("storage") => {}
            Some("module") => {
                let class = rest.get(1).and_then(|source| self.heap.text(*source));
                return Err(PickleError::Asks {
                    name: class.unwrap_or("a class of Python").to_owned(),
                });
            }
            _ => return Err(self.damaged("a reference to something else than a storage")),
        }
        let storage = self.heap.storage(rest);
        let storage = storage.map_err(|reason| self.damaged(reason))?;
        Ok(Node::Storage(Box::new(storage)))
    }
}

#[cfg(test)]
mod tests;
