//! A pickle machine that builds data and never runs anything.
//!
//! It reads protocols 2 to 5 (and the text opcodes that Python 2 mixes in). Values live in an arena and refer to each
//! other by index, so that shared, cyclic or deeply nested values cost neither recursion nor copies. A call
//! (`REDUCE`, `NEWOBJ`) of one of PyTorch's rebuild functions becomes a [`Node::Tensor`]; a call of anything else
//! becomes an inert [`Node::Object`].

use std::collections::HashMap;

use super::rebuild;
use crate::checkpoint::damaged;
use crate::checkpoint::dtype::Dtype;
use crate::error::{Error, Result};

/// More values than any checkpoint has; bounds memory at about a gigabyte for a hostile pickle.
const MAX_NODES: usize = 1 << 24;

/// Index of a value in the arena.
pub(super) type Id = u32;

/// A value.
#[derive(Debug)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits; its value is never needed.
    BigInt,
    Float(f64),
    Str(Box<str>),
    /// Bytes; the content is never needed.
    Bytes,
    /// Lists, sets and frozen sets.
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Box<(String, String)>),
    Object(Box<Object>),
    Storage(Box<Storage>),
    Tensor(Box<TensorRef>),
}

/// A call of a foreign class or function, not made.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) class: Id,
    /// State of `BUILD`: usually the attribute dict.
    pub(super) state: Option<Id>,
    /// Items of a dict subclass.
    pub(super) items: Vec<(Id, Id)>,
}

/// Element type of a storage.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum StorageType {
    Typed(Dtype),
    /// Plain bytes; the tensor knows its type.
    Untyped,
    /// A class that we cannot read (complex, quantised, …).
    Other(String),
}

/// A storage by its key in the file.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    pub(super) key: String,
    pub(super) kind: StorageType,
    /// Elements before the first one of this view (legacy files).
    pub(super) offset: usize,
}

/// A strided view of a storage; all counts are in elements.
#[derive(Clone, Debug)]
pub(super) struct TensorRef {
    pub(super) storage: Storage,
    pub(super) dtype: StorageType,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// A finished pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    pub(super) nodes: Vec<Node>,
    pub(super) root: Id,
}

impl Pickle {
    /// Reads one pickle from the start of `data`; returns it and the number of bytes it took.
    pub(super) fn read(data: &[u8]) -> Result<(Self, usize)> {
        let mut machine = Machine {
            data,
            pos: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            arena: Arena { nodes: Vec::new(), may_copy: data.len() },
        };
        let root = machine
            .run()
            .map_err(|e| e.context(format!("pickle, byte {} of {}", machine.pos, data.len())))?;
        Ok((Self { nodes: machine.arena.nodes, root }, machine.pos))
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }
}

/// The values, and what can be done with them without the byte stream.
pub(super) struct Arena {
    pub(super) nodes: Vec<Node>,
    /// Items that may still be copied from one container to another: an honest pickle copies each at most once.
    may_copy: usize,
}

impl Arena {
    pub(super) fn push(&mut self, node: Node) -> Result<Id> {
        if self.nodes.len() >= MAX_NODES {
            return Err(Error::weights(format!("more than {MAX_NODES} objects")));
        }
        self.nodes.push(node);
        Ok((self.nodes.len() - 1) as Id)
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    /// Bounds what calls may copy out of values that exist already.
    pub(super) fn count_copies(&mut self, n: usize) -> Result<()> {
        let rest = self.may_copy.checked_sub(n);
        self.may_copy =
            rest.ok_or_else(|| Error::weights("the same long list is made into a dict again and again"))?;
        Ok(())
    }

    fn set_items(&mut self, target: Id, values: &[Id]) -> Result<()> {
        let (pairs, odd) = values.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(Error::weights("a dict item without a value"));
        }
        let items = match &mut self.nodes[target as usize] {
            Node::Dict(items) => items,
            Node::Object(object) => &mut object.items,
            other => return Err(Error::weights(format!("dict items for a {}", other.type_name()))),
        };
        items.extend(pairs.iter().map(|&[key, value]| (key, value)));
        Ok(())
    }

    fn append(&mut self, target: Id, values: &[Id]) -> Result<()> {
        match &mut self.nodes[target as usize] {
            Node::List(list) => list.extend_from_slice(values),
            // items of a list subclass: never needed
            Node::Object(_) => {}
            other => return Err(Error::weights(format!("list items for a {}", other.type_name()))),
        }
        Ok(())
    }
}

impl Node {
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Node::None => "None",
            Node::Bool(_) => "bool",
            Node::Int(_) | Node::BigInt => "int",
            Node::Float(_) => "float",
            Node::Str(_) => "str",
            Node::Bytes => "bytes",
            Node::List(_) => "list",
            Node::Tuple(_) => "tuple",
            Node::Dict(_) => "dict",
            Node::Global(_) => "class",
            Node::Object(_) => "object",
            Node::Storage(_) => "storage",
            Node::Tensor(_) => "tensor",
        }
    }
}

struct Machine<'a> {
    data: &'a [u8],
    pos: usize,
    stack: Vec<Id>,
    /// Stack heights at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    arena: Arena,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Id> {
        loop {
            let op = self.byte()?;
            match op {
                b'.' => return self.pop(),
                b'(' => self.marks.push(self.stack.len()),
                b'0' => self.pop_or_mark()?,
                b'1' => drop(self.pop_mark()?),
                b'2' => {
                    let top = self.top()?;
                    self.stack.push(top);
                }
                0x80 => self.protocol()?,
                // FRAME: a hint for buffering
                0x95 => drop(self.take(8)?),
                // READONLY_BUFFER
                0x98 => {}
                _ => {
                    if !self.scalar(op)?
                        && !self.text(op)?
                        && !self.container(op)?
                        && !self.memo_or_call(op)?
                    {
                        return Err(Error::weights(format!("unknown opcode 0x{op:02x}")));
                    }
                }
            }
        }
    }

    fn protocol(&mut self) -> Result<()> {
        match self.byte()? {
            0..=5 => Ok(()),
            newer => Err(Error::weights(format!("protocol {newer}, at most 5 is known"))),
        }
    }

    /// Opcodes that push a number, None or a bool.
    fn scalar(&mut self, op: u8) -> Result<bool> {
        let node = match op {
            b'N' => Node::None,
            0x88 => Node::Bool(true),
            0x89 => Node::Bool(false),
            b'J' => Node::Int(i64::from(i32::from_le_bytes(self.array()?))),
            b'K' => Node::Int(i64::from(self.byte()?)),
            b'M' => Node::Int(i64::from(u16::from_le_bytes(self.array()?))),
            b'G' => Node::Float(f64::from_be_bytes(self.array()?)),
            0x8a => {
                let n = usize::from(self.byte()?);
                long(self.take(n)?)
            }
            0x8b => {
                let n = self.length4()?;
                long(self.take(n)?)
            }
            b'I' => self.text_int()?,
            b'L' => {
                let line = self.line()?;
                line.trim_end_matches('L').parse().map_or(Node::BigInt, Node::Int)
            }
            b'F' => {
                let line = self.line()?;
                Node::Float(line.parse().map_err(|_| Error::weights(format!("`{line}` is not a number")))?)
            }
            _ => return Ok(false),
        };
        self.push(node)?;
        Ok(true)
    }

    fn text_int(&mut self) -> Result<Node> {
        Ok(match self.line()? {
            "00" => Node::Bool(false),
            "01" => Node::Bool(true),
            line => line.parse().map_or(Node::BigInt, Node::Int),
        })
    }

    /// Opcodes that push a string or bytes.
    fn text(&mut self, op: u8) -> Result<bool> {
        let length = match op {
            // strings: unicode, and Python 2's byte strings, which hold names there
            b'U' | 0x8c => usize::from(self.byte()?),
            b'X' | b'T' => self.length4()?,
            0x8d => self.length8()?,
            b'S' => {
                let line = self.line()?;
                let quoted = line.len() >= 2 && matches!(line.as_bytes()[0], b'\'' | b'"');
                let text = if quoted { &line[1..line.len() - 1] } else { line };
                self.push(Node::Str(text.into()))?;
                return Ok(true);
            }
            b'V' => {
                let line = self.line()?;
                self.push(Node::Str(line.into()))?;
                return Ok(true);
            }
            // bytes and byte arrays
            b'C' | b'B' | 0x8e | 0x96 => {
                let n = match op {
                    b'C' => usize::from(self.byte()?),
                    b'B' => self.length4()?,
                    _ => self.length8()?,
                };
                self.take(n)?;
                self.push(Node::Bytes)?;
                return Ok(true);
            }
            _ => return Ok(false),
        };
        let text = String::from_utf8_lossy(self.take(length)?).into();
        self.push(Node::Str(text))?;
        Ok(true)
    }

    /// Opcodes that make or fill tuples, lists, sets and dicts.
    fn container(&mut self, op: u8) -> Result<bool> {
        match op {
            b')' => self.push(Node::Tuple(Vec::new()))?,
            b']' | 0x8f => self.push(Node::List(Vec::new()))?,
            b'}' => self.push(Node::Dict(Vec::new()))?,
            b't' => {
                let values = self.pop_mark()?;
                self.push(Node::Tuple(values))?;
            }
            b'l' | 0x91 => {
                let values = self.pop_mark()?;
                self.push(Node::List(values))?;
            }
            b'd' => {
                let values = self.pop_mark()?;
                self.push(Node::Dict(Vec::new()))?;
                self.arena.set_items(self.top()?, &values)?;
            }
            0x85..=0x87 => {
                let n = usize::from(op - 0x84);
                let values = self.pop_n(n)?;
                self.push(Node::Tuple(values))?;
            }
            b'a' => {
                let value = self.pop()?;
                self.arena.append(self.top()?, &[value])?;
            }
            b'e' | 0x90 => {
                let values = self.pop_mark()?;
                self.arena.append(self.top()?, &values)?;
            }
            b's' => {
                let pair = self.pop_n(2)?;
                self.arena.set_items(self.top()?, &pair)?;
            }
            b'u' => {
                let values = self.pop_mark()?;
                self.arena.set_items(self.top()?, &values)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Memo, globals, calls and persistent ids.
    fn memo_or_call(&mut self, op: u8) -> Result<bool> {
        match op {
            b'q' => {
                let key = u32::from(self.byte()?);
                self.put(key)?;
            }
            b'r' => {
                let key = u32::from_le_bytes(self.array()?);
                self.put(key)?;
            }
            0x94 => self.put(self.memo.len() as u32)?,
            b'p' => {
                let key = self.memo_key()?;
                self.put(key)?;
            }
            b'h' => {
                let key = u32::from(self.byte()?);
                self.get(key)?;
            }
            b'j' => {
                let key = u32::from_le_bytes(self.array()?);
                self.get(key)?;
            }
            b'g' => {
                let key = self.memo_key()?;
                self.get(key)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                let class = self.global(module, name)?;
                self.stack.push(class);
            }
            0x93 => self.stack_global()?,
            // REDUCE and NEWOBJ
            b'R' | 0x81 => {
                let args = self.pop()?;
                let class = self.pop()?;
                self.call(class, args)?;
            }
            // NEWOBJ_EX: keyword arguments are never needed
            0x92 => {
                let [class, args, _] = self.pop_array()?;
                self.call(class, args)?;
            }
            // OBJ, INST
            b'o' => {
                let mut values = self.pop_mark()?;
                if values.is_empty() {
                    return Err(Error::weights("an object without a class"));
                }
                let class = values.remove(0);
                let args = self.arena.push(Node::Tuple(values))?;
                self.call(class, args)?;
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                let values = self.pop_mark()?;
                let class = self.global(module, name)?;
                let args = self.arena.push(Node::Tuple(values))?;
                self.call(class, args)?;
            }
            b'b' => {
                let state = self.pop()?;
                let target = self.top()?;
                if let Node::Object(object) = &mut self.arena.nodes[target as usize] {
                    object.state = Some(state);
                }
            }
            b'Q' => {
                let id = self.pop()?;
                let value = rebuild::persistent(&mut self.arena, id)?;
                self.stack.push(value);
            }
            // EXT1, EXT2, EXT4: entries of a registry that we do not have
            0x82..=0x84 => {
                self.take(1 << (op - 0x82))?;
                self.push(Node::None)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn stack_global(&mut self) -> Result<()> {
        let [module, name] = self.pop_array()?;
        let (Node::Str(module), Node::Str(name)) = (self.arena.node(module), self.arena.node(name)) else {
            return Err(Error::weights("a class whose name is not a string"));
        };
        if module.len().max(name.len()) > rebuild::MAX_NAME {
            return Err(Error::weights("a class name of absurd length"));
        }
        let global = (module.to_string(), name.to_string());
        self.push(Node::Global(Box::new(global)))
    }

    fn global(&mut self, module: &str, name: &str) -> Result<Id> {
        if module.len().max(name.len()) > rebuild::MAX_NAME {
            return Err(Error::weights("a class name of absurd length"));
        }
        self.arena.push(Node::Global(Box::new((module.to_string(), name.to_string()))))
    }

    fn call(&mut self, class: Id, args: Id) -> Result<()> {
        let value = rebuild::call(&mut self.arena, class, args)?;
        self.stack.push(value);
        Ok(())
    }

    fn put(&mut self, key: u32) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn get(&mut self, key: u32) -> Result<()> {
        let value = self.memo.get(&key).copied();
        self.stack.push(value.ok_or_else(|| Error::weights(format!("memo {key} was never set")))?);
        Ok(())
    }

    fn memo_key(&mut self) -> Result<u32> {
        let line = self.line()?;
        line.parse().map_err(|_| Error::weights(format!("`{line}` is not a memo index")))
    }

    // --- stack ---

    fn push(&mut self, node: Node) -> Result<()> {
        let id = self.arena.push(node)?;
        self.stack.push(id);
        Ok(())
    }

    /// Height below which nothing may be popped.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id> {
        let top = self.stack.last().filter(|_| self.stack.len() > self.floor());
        top.copied().ok_or_else(|| Error::weights("the stack is empty"))
    }

    fn pop(&mut self) -> Result<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_or_mark(&mut self) -> Result<()> {
        if self.stack.len() == self.floor() && !self.marks.is_empty() {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>> {
        let height = self.marks.pop().ok_or_else(|| Error::weights("no mark on the stack"))?;
        Ok(self.stack.split_off(height))
    }

    fn pop_n(&mut self, n: usize) -> Result<Vec<Id>> {
        if self.stack.len() < self.floor() + n {
            return Err(Error::weights("the stack is empty"));
        }
        Ok(self.stack.split_off(self.stack.len() - n))
    }

    fn pop_array<const N: usize>(&mut self) -> Result<[Id; N]> {
        let values = self.pop_n(N)?;
        values.try_into().map_err(|_| Error::internal("pop_n returns n values"))
    }

    // --- bytes ---

    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let rest = &self.data[self.pos..];
        let taken = rest
            .get(..n)
            .ok_or_else(|| damaged(format_args!("it ends where {n} more bytes were announced")))?;
        self.pos += n;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| Error::internal("take returns n bytes"))
    }

    fn length4(&mut self) -> Result<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn length8(&mut self) -> Result<usize> {
        // beyond the address space is beyond the data too, and `take` says so
        Ok(usize::try_from(u64::from_le_bytes(self.array()?)).unwrap_or(usize::MAX))
    }

    fn line(&mut self) -> Result<&'a str> {
        let rest = &self.data[self.pos..];
        let end =
            rest.iter().position(|&b| b == b'\n').ok_or_else(|| Error::weights("a line without an end"))?;
        self.pos += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|_| Error::weights("a name that is not UTF-8"))
    }
}

/// Little-endian two's complement of any length.
fn long(bytes: &[u8]) -> Node {
    if bytes.len() > 8 {
        return Node::BigInt;
    }
    let fill = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [fill; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    Node::Int(i64::from_le_bytes(wide))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(data: &[u8]) -> Node {
        let (mut pickle, used) = Pickle::read(data).unwrap();
        assert_eq!(used, data.len());
        pickle.nodes.swap_remove(pickle.root as usize)
    }

    #[test]
    fn numbers_of_every_width() {
        assert!(matches!(root(b"\x80\x02K\x07."), Node::Int(7)));
        assert!(matches!(root(b"J\xff\xff\xff\xff."), Node::Int(-1)));
        assert!(matches!(root(b"M\x01\x02."), Node::Int(513)));
        assert!(matches!(root(b"\x8a\x02\x00\xff."), Node::Int(-256)));
        assert!(matches!(root(b"\x8a\x00."), Node::Int(0)));
        assert!(matches!(root(b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x40."), Node::BigInt));
        assert!(matches!(root(b"I01\n."), Node::Bool(true)));
        assert!(matches!(root(b"L-12L\n."), Node::Int(-12)));
        assert!(matches!(root(b"G\x3f\xf8\x00\x00\x00\x00\x00\x00."), Node::Float(x) if x == 1.5));
    }

    #[test]
    fn calls_become_inert_objects_and_keep_their_state() {
        // os.system("x") with a state dict
        let node = root(b"\x80\x02cos\nsystem\nX\x01\x00\x00\x00x\x85R}X\x01\x00\x00\x00aK\x01sb.");
        let Node::Object(object) = node else { panic!("{node:?}") };
        assert!(object.state.is_some());
    }

    #[test]
    fn broken_pickles_are_errors() {
        let cases: [&[u8]; 12] = [
            b"",
            b".",
            b"\x80\x09N.",
            b"t.",
            b"(N",
            b"X\xff\xff\xff\xffab",
            b"h\x05.",
            b"N(K\x01\x85\x86.",
            b"]K\x01s.",
            b"}(K\x01u.",
            b"\xff.",
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.",
        ];
        for case in cases {
            assert!(Pickle::read(case).is_err(), "{case:?}");
        }
    }

    #[test]
    fn deep_nesting_and_cycles_cost_no_recursion() {
        // a tuple in a tuple, a million deep, and a list that contains itself
        let mut deep = b"N".to_vec();
        deep.extend(std::iter::repeat_n(0x85u8, 1_000_000));
        deep.push(b'.');
        assert!(matches!(root(&deep), Node::Tuple(_)));
        assert!(matches!(root(b"]q\x00h\x00a."), Node::List(items) if items.len() == 1));
    }
}
