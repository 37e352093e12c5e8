//! What `torch.save` pickles of a dict of tensors, read by a machine that knows these instructions and runs nothing.
//!
//! A pickle is a program for a machine with a stack (Python's `pickletools` describes it). It may name any function of
//! any module and have it called. Here five functions have a meaning, [`Function`], and every other one is refused by its
//! name; so is an instruction that such a file does not need.

use std::collections::HashMap;
use std::rc::Rc;

use burn::tensor::DType;

/// Deepest nesting of tuples and dicts. Files of `PyTorch` have four.
const DEEPEST: usize = 16;

/// A value of a pickle.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// `None`, and what nobody looks into.
    Nothing,
    /// `True` or `False`.
    Bool,
    /// A whole number.
    Int(i64),
    /// Text.
    Text(Rc<str>),
    /// A tuple, and how deep it is nested.
    Tuple(Rc<[Value]>, usize),
    /// A dict, ordered or not, and how deep it is nested.
    Dict(Rc<Vec<(Value, Value)>>, usize),
    /// A function or type by its name.
    Function(Function),
    /// Numbers in another entry of the archive.
    Storage(Rc<Storage>),
    /// A tensor.
    Tensor(Rc<Tensor>),
}

/// A name that a pickle of tensors may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// An empty ordered dict.
    OrderedDict,
    /// A tensor of a storage, an offset, a shape and strides.
    RebuildTensor,
    /// A tensor that is trained.
    RebuildParameter,
    /// The type of a storage.
    StorageOf(DType),
}

/// Numbers in an entry of the archive.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    /// Type of the numbers.
    pub(super) dtype: DType,
    /// The entry is `data/` and this.
    pub(super) key: String,
}

/// Some numbers of a storage, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    /// Where they are.
    pub(super) storage: Rc<Storage>,
    /// Position of the first.
    pub(super) offset: usize,
    /// How many there are.
    pub(super) len: usize,
}

/// The dict of tensors that `bytes` pickles, in its order.
pub(super) fn tensors(bytes: &[u8]) -> Result<Vec<(String, Rc<Tensor>)>, String> {
    let Value::Dict(items, _) = Machine::new(bytes).run()? else {
        return Err("it pickles something else than a dict of tensors".to_owned());
    };
    let item = |(key, value): &(Value, Value)| match (key, value) {
        (Value::Text(name), Value::Tensor(tensor)) => Ok((name.to_string(), tensor.clone())),
        (Value::Text(name), _) => Err(format!("its `{name}` is no tensor")),
        _ => Err("a key of its dict is no text".to_owned()),
    };
    items.iter().map(item).collect()
}

struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Value>,
    /// Heights of the stack where a group of values begins.
    marks: Vec<usize>,
    /// Values by the number they were remembered under. A dict is remembered as it is then: the files refer to none that
    /// is filled later.
    memo: HashMap<u32, Value>,
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, stack: vec![], marks: vec![], memo: HashMap::new() }
    }

    fn run(mut self) -> Result<Value, String> {
        loop {
            let instruction = self.byte()?;
            if instruction == b'.' {
                return self.pop();
            }
            self.step(instruction)?;
        }
    }

    fn step(&mut self, instruction: u8) -> Result<(), String> {
        match instruction {
            // Which version of the format it is.
            0x80 => drop(self.byte()?),
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.stack.push(Value::Nothing),
            0x88 | 0x89 => self.stack.push(Value::Bool),
            b'K' | b'M' | b'J' => {
                let number = self.number(instruction)?;
                self.stack.push(Value::Int(number));
            }
            b'X' | 0x8c => {
                let len = if instruction == b'X' { self.u32()? as usize } else { self.byte()?.into() };
                let text = std::str::from_utf8(self.take(len)?).map_err(|_| "it holds text that is no UTF-8")?.into();
                self.stack.push(Value::Text(text));
            }
            b'q' | b'r' => {
                let index = if instruction == b'q' { self.byte()?.into() } else { self.u32()? };
                let value = self.stack.last().cloned().ok_or_else(cut_short)?;
                self.memo.insert(index, value);
            }
            b'h' | b'j' => {
                let index = if instruction == b'h' { self.byte()?.into() } else { self.u32()? };
                let value = self.memo.get(&index).cloned().ok_or("it refers to a value that it did not remember")?;
                self.stack.push(value);
            }
            b'c' => {
                let function = self.function()?;
                self.stack.push(Value::Function(function));
            }
            b'}' => self.stack.push(Value::Dict(Rc::default(), 0)),
            b')' => self.stack.push(Value::Tuple(Rc::default(), 0)),
            0x85..=0x87 => self.tuple(usize::from(instruction - 0x84))?,
            b't' => {
                let count = self.since_mark()?;
                self.tuple(count)?;
            }
            b's' => self.set_items(2)?,
            b'u' => {
                let count = self.since_mark()?;
                self.set_items(count)?;
            }
            b'Q' => self.persistent()?,
            b'R' => self.call()?,
            // The state of an object. That of a dict says which version its modules have.
            b'b' => drop(self.pop()?),
            other => {
                return Err(format!("its pickle has the instruction {other:#04x}, which a dict of tensors needs not"));
            }
        }
        Ok(())
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(cut_short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Result<u32, String> {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.take(4)?);
        Ok(u32::from_le_bytes(bytes))
    }

    fn number(&mut self, instruction: u8) -> Result<i64, String> {
        match instruction {
            b'K' => Ok(self.byte()?.into()),
            b'M' => Ok(i64::from(self.byte()?) | i64::from(self.byte()?) << 8),
            _ => Ok(self.u32()?.cast_signed().into()),
        }
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let len = self.rest.iter().position(|&byte| byte == b'\n').ok_or_else(cut_short)?;
        let line = self.take(len + 1)?;
        std::str::from_utf8(&line[..len]).map_err(|_| "it holds a name that is no UTF-8".to_owned())
    }

    fn function(&mut self) -> Result<Function, String> {
        match (self.line()?, self.line()?) {
            ("collections", "OrderedDict") => Ok(Function::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Ok(Function::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Ok(Function::RebuildParameter),
            ("torch", "BFloat16Storage") => Ok(Function::StorageOf(DType::BF16)),
            ("torch", "HalfStorage") => Ok(Function::StorageOf(DType::F16)),
            ("torch", "FloatStorage") => Ok(Function::StorageOf(DType::F32)),
            (module, name) => Err(format!("its pickle asks for `{module}.{name}`, which is not run")),
        }
    }

    fn pop(&mut self) -> Result<Value, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor { Err(cut_short()) } else { self.stack.pop().ok_or_else(cut_short) }
    }

    /// How many values were put on the stack since the last mark, which is taken away.
    fn since_mark(&mut self) -> Result<usize, String> {
        let mark = self.marks.pop().ok_or_else(cut_short)?;
        self.stack.len().checked_sub(mark).ok_or_else(cut_short)
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Value>, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let start = self.stack.len().checked_sub(count).filter(|&start| start >= floor).ok_or_else(cut_short)?;
        Ok(self.stack.split_off(start))
    }

    fn tuple(&mut self, count: usize) -> Result<(), String> {
        let items = self.pop_many(count)?;
        let depth = depth_over(&items)?;
        self.stack.push(Value::Tuple(items.into(), depth));
        Ok(())
    }

    /// Put the last `count` values, keys and values in turn, into the dict before them.
    fn set_items(&mut self, count: usize) -> Result<(), String> {
        let mut values = self.pop_many(count)?.into_iter();
        let Value::Dict(mut items, depth) = self.pop()? else {
            return Err("it fills something that is no dict".to_owned());
        };
        let mut depth = depth;
        while let (Some(key), Some(value)) = (values.next(), values.next()) {
            depth = depth.max(depth_over(std::slice::from_ref(&value))?);
            Rc::make_mut(&mut items).push((key, value));
        }
        self.stack.push(Value::Dict(items, depth));
        Ok(())
    }

    /// A storage: `("storage", type, key, device, length)`.
    fn persistent(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let storage = match &id {
            Value::Tuple(parts, _) => match &parts[..] {
                [Value::Text(kind), Value::Function(Function::StorageOf(dtype)), Value::Text(key), _, _]
                    if &**kind == "storage" =>
                {
                    Some(Storage { dtype: *dtype, key: key.to_string() })
                }
                _ => None,
            },
            _ => None,
        };
        let storage = storage.ok_or("it refers to something outside that is no storage of floats")?;
        self.stack.push(Value::Storage(Rc::new(storage)));
        Ok(())
    }

    fn call(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let (Value::Function(function), Value::Tuple(arguments, _)) = (function, arguments) else {
            return Err("it calls something that is no function".to_owned());
        };
        let result = match (function, &arguments[..]) {
            (Function::OrderedDict, []) => Value::Dict(Rc::default(), 0),
            (Function::RebuildParameter, [Value::Tensor(tensor), ..]) => Value::Tensor(tensor.clone()),
            (Function::RebuildTensor, [Value::Storage(storage), Value::Int(offset), shape, strides, ..]) => {
                Value::Tensor(Rc::new(tensor(storage, *offset, shape, strides)?))
            }
            (function, _) => return Err(format!("it calls {function:?} with other arguments than PyTorch does")),
        };
        self.stack.push(result);
        Ok(())
    }
}

/// A tensor of one dimension, whose numbers follow each other.
fn tensor(storage: &Rc<Storage>, offset: i64, shape: &Value, strides: &Value) -> Result<Tensor, String> {
    let numbers = |value: &Value| match value {
        Value::Tuple(items, _) => {
            items.iter().map(|item| if let Value::Int(n) = item { usize::try_from(*n).ok() } else { None }).collect()
        }
        _ => None,
    };
    let (shape, strides): (Option<Vec<usize>>, Option<Vec<usize>>) = (numbers(shape), numbers(strides));
    match (usize::try_from(offset), shape.as_deref(), strides.as_deref()) {
        (Ok(offset), Some(&[len]), Some([1])) => Ok(Tensor { storage: storage.clone(), offset, len }),
        (_, shape, strides) => {
            Err(format!("it holds a tensor of shape {shape:?} and strides {strides:?}, not a vector"))
        }
    }
}

/// How deep a tuple or dict of `items` is nested.
fn depth_over(items: &[Value]) -> Result<usize, String> {
    let depth = items.iter().map(|item| match item {
        Value::Tuple(_, depth) | Value::Dict(_, depth) => depth + 1,
        _ => 0,
    });
    match depth.max().unwrap_or(0) {
        depth if depth > DEEPEST => Err("its values are nested too deep".to_owned()),
        depth => Ok(depth),
    }
}

fn cut_short() -> String {
    "its pickle is cut short or damaged".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(program: &[u8], part: &str) {
        let error = tensors(program).unwrap_err();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn nothing_is_run_and_what_is_unexpected_is_named() {
        check_refused(b"\x80\x02cos\nsystem\nX\x02\0\0\0ls\x85R.", "`os.system`");
        check_refused(b"\x80\x02cbuiltins\neval\n.", "`builtins.eval`");
        check_refused(b"\x80\x02\x82\x01.", "0x82");
        check_refused(b"\x80\x02K\x01.", "something else than a dict");
        check_refused(b"\x80\x02}X\x01\0\0\0aK\x01s.", "`a` is no tensor");
        check_refused(b"\x80\x02}K\x01K\x01s.", "no text");
        check_refused(b"\x80\x02K\x01)R.", "no function");
        check_refused(b"\x80\x02ctorch._utils\n_rebuild_parameter\n)R.", "RebuildParameter");
        check_refused(b"\x80\x02ctorch\nLongStorage\n.", "`torch.LongStorage`");
    }

    #[test]
    fn what_is_cut_short_is_an_error() {
        check_refused(b"", "cut short");
        check_refused(b"\x80\x02X\xff\xff\xff\xffab", "cut short");
        check_refused(b"\x80\x02.", "cut short");
        check_refused(b"\x80\x02(K\x01.", "something else");
        check_refused(b"\x80\x02K\x01(s.", "cut short");
        check_refused(b"\x80\x02h\x07.", "did not remember");
        check_refused(b"\x80\x02t.", "cut short");
    }

    #[test]
    fn a_nest_without_end_is_refused() {
        check_refused(&[&b"\x80\x02)"[..], &[0x85; 100_000], b"."].concat(), "too deep");
    }
}
