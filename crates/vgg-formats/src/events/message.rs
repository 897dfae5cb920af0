//! The few messages of protocol buffers that a run needs. Numbers of fields and values are those of
//! TensorFlow's `event.proto` and `summary.proto`.

/// Something that happened at a step.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// When, in seconds since 1970.
    pub wall_time: f64,
    /// Updates made.
    pub step: u64,
    /// What happened.
    pub what: What<'a>,
}

/// What an event tells.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// The format of the file; its first record.
    FileVersion,
    /// A run begins or goes on: readers forget what they have read of this step and of later ones.
    SessionStart,
    /// Numbers by name.
    Scalars(&'a [(&'a str, f32)]),
    /// A picture.
    Picture(&'a Picture),
}

/// A picture with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Its name.
    pub tag: String,
    /// Rows of pixels.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// 1 for grey, 3 for colour.
    pub channels: usize,
    /// The picture as a PNG file.
    pub png: Vec<u8>,
}

/// `SessionLog.START`.
const START: u64 = 1;

impl Event<'_> {
    /// The event as a message `Event`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut event = Message::default();
        event.double(1, self.wall_time);
        event.number(2, self.step);
        match self.what {
            What::FileVersion => event.bytes(3, b"brain.Event:2"),
            What::SessionStart => {
                let mut session = Message::default();
                session.number(1, START);
                event.bytes(7, &session.0);
            }
            What::Scalars(values) => event.bytes(5, &scalars(values).0),
            What::Picture(picture) => event.bytes(5, &summary(picture).0),
        }
        event.0
    }
}

/// A message `Summary` with a value for each number.
fn scalars(values: &[(&str, f32)]) -> Message {
    let mut summary = Message::default();
    for &(tag, number) in values {
        let mut value = Message::default();
        value.bytes(1, tag.as_bytes());
        value.float(2, number);
        summary.bytes(1, &value.0);
    }
    summary
}

/// A message `Summary` with a picture.
fn summary(picture: &Picture) -> Message {
    let (mut summary, mut value, mut image) = (Message::default(), Message::default(), Message::default());
    for (field, number) in [(1, picture.height), (2, picture.width), (3, picture.channels)] {
        image.number(field, number as u64);
    }
    image.bytes(4, &picture.png);
    value.bytes(1, picture.tag.as_bytes());
    value.bytes(4, &image.0);
    summary.bytes(1, &value.0);
    summary
}

/// A message in the making. Each field is a key, that is its number and its kind, and then its value.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    /// Seven bits a byte, the lowest first; the highest bit says that more follow.
    fn varint(&mut self, mut number: u64) {
        while number > 0x7F {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn number(&mut self, field: u64, number: u64) {
        self.varint(field << 3);
        self.varint(number);
    }

    fn double(&mut self, field: u64, number: f64) {
        self.varint(field << 3 | 1);
        self.0.extend(number.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn float(&mut self, field: u64, number: f32) {
        self.varint(field << 3 | 5);
        self.0.extend(number.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(what: What<'_>) -> Vec<u8> {
        Event { wall_time: 1.0, step: 300, what }.to_bytes()
    }

    /// Field 1 is the double 1.0, field 2 the number 300 = 0b10_0101100.
    const BEFORE: [u8; 12] = [0x09, 0, 0, 0, 0, 0, 0, 0xF0, 0x3F, 0x10, 0xAC, 0x02];

    #[test]
    fn events_have_the_bytes_that_protocol_buffers_ask_for() {
        assert_eq!(bytes(What::FileVersion), [&BEFORE, &b"\x1A\x0Dbrain.Event:2"[..]].concat());
        assert_eq!(bytes(What::SessionStart), [&BEFORE, &b"\x3A\x02\x08\x01"[..]].concat());
        let two = [("a", 1.0), ("bc", -2.0)];
        let expected = b"\x2A\x15\x0A\x08\x0A\x01a\x15\0\0\x80\x3F\x0A\x09\x0A\x02bc\x15\0\0\0\xC0";
        assert_eq!(bytes(What::Scalars(&two)), [&BEFORE, &expected[..]].concat());
        let picture = Picture { tag: "p".into(), height: 2, width: 200, channels: 1, png: b"PNG".into() };
        let expected = b"\x2A\x13\x0A\x11\x0A\x01p\x22\x0C\x08\x02\x10\xC8\x01\x18\x01\x22\x03PNG";
        assert_eq!(bytes(What::Picture(&picture)), [&BEFORE, &expected[..]].concat());
    }

    #[test]
    fn numbers_that_are_not_finite_are_kept() {
        let values = [("a", f32::NAN), ("b", f32::INFINITY)];
        let bytes = bytes(What::Scalars(&values));
        assert!(bytes.windows(4).any(|four| four == f32::NAN.to_le_bytes()));
        assert!(bytes.ends_with(&f32::INFINITY.to_le_bytes()));
    }
}
