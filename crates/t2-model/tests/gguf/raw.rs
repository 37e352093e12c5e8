//! GGUF files put together byte by byte, so that any of them can be wrong.

use t2_model::format::quant::GgmlType;

/// The parts of a file.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(crate) magic: [u8; 4],
    pub(crate) version: u32,
    /// The counts that the header says, where they are not those of what follows.
    pub(crate) counts: Option<[u64; 2]>,
    /// Keys with their values, kind in front.
    pub(crate) keys: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) tensors: Vec<RawTensor>,
    pub(crate) alignment: usize,
    /// Bytes of all tensors.
    pub(crate) data: usize,
}

/// What a header says of a tensor.
#[derive(Clone, Debug)]
pub(crate) struct RawTensor {
    pub(crate) name: Vec<u8>,
    /// As stored: the dimension whose numbers are side by side first.
    pub(crate) dims: Vec<u64>,
    pub(crate) ty: u32,
    pub(crate) offset: u64,
}

impl Raw {
    /// Two keys and two tensors, as they should be.
    pub(crate) fn sound() -> Self {
        let tensor = |name: &str, dims: &[u64], ty: GgmlType, offset| RawTensor {
            name: name.as_bytes().to_vec(),
            dims: dims.to_vec(),
            ty: ty.id(),
            offset,
        };
        let tensors = vec![
            // 3 x 2 blocks of 34 bytes are 204, rounded up to 224.
            tensor("first", &[64, 3], GgmlType::Q8_0, 0),
            tensor("second", &[5], GgmlType::F32, 224),
        ];
        Self {
            magic: *b"GGUF",
            version: 3,
            counts: None,
            keys: vec![
                key("general.architecture", 8, &string("llama")),
                key("llama.block_count", 4, &7_u32.to_le_bytes()),
            ],
            tensors,
            alignment: 32,
            data: 224 + 20,
        }
    }

    /// Add a key.
    pub(crate) fn with(mut self, name: &str, kind: u32, value: &[u8]) -> Self {
        self.keys.push(key(name, kind, value));
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        let counts = self.counts.unwrap_or([self.tensors.len() as u64, self.keys.len() as u64]);
        out.extend(counts.iter().flat_map(|count| count.to_le_bytes()));
        for (key, value) in &self.keys {
            out.extend(sized(key));
            out.extend(value);
        }
        for RawTensor { name, dims, ty, offset } in &self.tensors {
            out.extend(sized(name));
            out.extend((dims.len() as u32).to_le_bytes());
            out.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
            out.extend(ty.to_le_bytes());
            out.extend(offset.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(self.alignment), 0);
        out.extend((0..self.data).map(|at| at as u8));
        out
    }
}

fn key(name: &str, kind: u32, value: &[u8]) -> (Vec<u8>, Vec<u8>) {
    (name.as_bytes().to_vec(), [&kind.to_le_bytes(), value].concat())
}

/// `bytes` with their length in front.
pub(crate) fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes(), bytes].concat()
}

/// A string as stored.
pub(crate) fn string(text: &str) -> Vec<u8> {
    sized(text.as_bytes())
}

/// A list of `count` items of a kind, as stored.
pub(crate) fn list(kind: u32, count: u64, items: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &count.to_le_bytes(), items].concat()
}
