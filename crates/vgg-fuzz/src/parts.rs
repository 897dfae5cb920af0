//! Several files in one input.

/// A file in an input that describes several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// What the target makes of it.
    pub kind: u8,
    /// A name, where the kind does not give one.
    pub name: &'a [u8],
    /// The content.
    pub bytes: &'a [u8],
}

/// More parts than this say nothing new.
const MOST: usize = 16;

impl<'a> Part<'a> {
    /// The parts that `data` describes: for each its kind (1 byte), the length of its name (1) and
    /// of its content (2, little endian), the name, the content. Lengths beyond the end are cut, so
    /// that every input means something.
    pub(crate) fn all(mut data: &'a [u8]) -> Vec<Self> {
        let mut parts = Vec::new();
        while let Some((&[kind, name, low, high], rest)) = data.split_first_chunk()
            && parts.len() < MOST
        {
            let (name, rest) = rest.split_at(rest.len().min(name.into()));
            let (bytes, rest) = rest.split_at(rest.len().min(u16::from_le_bytes([low, high]).into()));
            parts.push(Self { kind, name, bytes });
            data = rest;
        }
        parts
    }

    /// The bytes that describe the part.
    ///
    /// # Panics
    /// When the name is longer than 255 bytes or the content than 65,535.
    pub fn encode(&self) -> Vec<u8> {
        let name = u8::try_from(self.name.len()).expect("a name of at most 255 bytes");
        let [low, high] =
            u16::try_from(self.bytes.len()).expect("a content of at most 65,535 bytes").to_le_bytes();
        [&[self.kind, name, low, high], self.name, self.bytes].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_read_again() {
        let parts =
            [Part { kind: 3, name: b"a", bytes: b"content" }, Part { kind: 0, name: b"", bytes: &[7; 300] }];
        let encoded = parts.map(|part| part.encode()).concat();
        assert_eq!(Part::all(&encoded), parts);
        assert_eq!(Part::all(&encoded[..8])[0].bytes, b"con");
        assert_eq!(Part::all(b"abc"), []);
    }
}
