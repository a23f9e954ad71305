//! JSON without its contents: what is left of an answer as it passes, in pieces of any size.
//!
//! An answer is kept as it stands, but for
//! - texts and arrays under names of contents ([`CONTENTS`]), of which it is kept whether there
//!   was something: `true`, `false` if they are empty;
//! - texts of more than 256 bytes, which become empty;
//! - numbers in arrays, as embeddings are, which are left out.
//!
//! So an answer of any size takes little memory, and nothing that a model wrote is held.

use memchr::memchr2;

/// Longest text that is kept, in bytes.
const TEXT: usize = 256;
/// Most that is kept of one object, in bytes.
const KEPT: usize = 64 * 1024;
/// Deepest nesting that is kept.
const DEPTH: usize = 64;

/// Names of contents, in the answers of all providers.
const CONTENTS: [&str; 29] = [
    "annotations",
    "arguments",
    "audio",
    "b64_json",
    "content",
    "data",
    "delta",
    "embedding",
    "embeddings",
    "encrypted_content",
    "function_call",
    "input",
    "instructions",
    "logprobs",
    "message",
    "obfuscation",
    "output",
    "partial_json",
    "parts",
    "prompt",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "refusal",
    "signature",
    "text",
    "thinking",
    "tool_calls",
    "tools",
];

/// What came through.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sifted<'s> {
    /// An object: of the whole, or of the array that is the whole.
    Object(&'s [u8]),
    /// An object of which more would have to be kept than 64 KiB.
    TooLarge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Between texts and words.
    Between,
    /// In a text that is kept, or whose end is waited for.
    Text(Role),
    /// In a number or a literal.
    Word { kept: bool },
    /// In an array of contents, this deep.
    Contents { depth: usize, text: bool, any: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Name,
    Value,
    /// Contents: whether there are any.
    Contents(bool),
    /// Outside of any object.
    Passed,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    object: bool,
    /// Whether it has an element already.
    any: bool,
    /// Whether a name was read whose value has not come.
    named: bool,
    /// Whether that is a name of contents.
    contents: bool,
}

/// Lets JSON pass and keeps little of it; see the module.
#[derive(Clone, Debug)]
pub(super) struct Sieve {
    kept: Vec<u8>,
    levels: Vec<Level>,
    place: Place,
    escaped: bool,
    /// Where the text under way begins in `kept`, after its quote; how long it is.
    text: (usize, usize),
    too_large: bool,
    /// Levels that are open beyond what is kept.
    beyond: usize,
    array: bool,
}

impl Sieve {
    pub(super) fn new() -> Self {
        Self {
            kept: Vec::new(),
            levels: Vec::new(),
            place: Place::Between,
            escaped: false,
            text: (0, 0),
            too_large: false,
            beyond: 0,
            array: false,
        }
    }

    /// Forgets a whole that has not ended, and begins with the next; keeps its memory.
    pub(super) fn begin(&mut self) {
        self.kept.clear();
        self.levels.clear();
        *self = Self {
            kept: std::mem::take(&mut self.kept),
            levels: std::mem::take(&mut self.levels),
            ..Self::new()
        };
    }

    /// Whether the whole is an array.
    pub(super) const fn is_array(&self) -> bool {
        self.array
    }

    /// Takes the next piece, and hands out the objects that it completes.
    pub(super) fn feed(&mut self, piece: &[u8], mut on: impl FnMut(Sifted<'_>)) {
        let mut at = 0;
        while let Some(rest) = piece.get(at..)
            && let Some(&byte) = rest.first()
        {
            at += match self.place {
                Place::Between => {
                    self.between(byte, &mut on);
                    1
                }
                Place::Text(role) => self.in_text(role, rest),
                Place::Word { kept } => {
                    if matches!(
                        byte,
                        b',' | b']' | b'}' | b':' | b'"' | b' ' | b'\n' | b'\r' | b'\t'
                    ) {
                        self.place = Place::Between;
                        0
                    } else {
                        if kept {
                            self.push(&[byte]);
                        }
                        1
                    }
                }
                Place::Contents { depth, text, any } => self.in_contents(rest, depth, text, any),
            };
        }
    }

    fn between(&mut self, byte: u8, on: &mut impl FnMut(Sifted<'_>)) {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' | b',' => {}
            b':' => {
                if self.beyond == 0
                    && let Some(level) = self.levels.last_mut()
                {
                    level.named = true;
                }
                self.push(b":");
            }
            b'{' | b'[' => self.open(byte == b'{'),
            b'}' | b']' => self.close(byte, on),
            b'"' => self.begin_text(),
            _ => self.begin_word(byte),
        }
    }

    /// Whether the value that begins here is contents; it is the level's next one.
    fn begin_value(&mut self) -> bool {
        let Some(level) = self.levels.last_mut() else {
            return false;
        };
        if level.object {
            level.named = false;
            return std::mem::take(&mut level.contents);
        }
        if std::mem::replace(&mut level.any, true) {
            self.push(b",");
        }
        false
    }

    fn open(&mut self, object: bool) {
        if self.beyond > 0 {
            self.beyond += 1;
            return;
        }
        if self.levels.is_empty() && !object {
            // The whole: its elements are handed out one by one.
            self.array = true;
            return;
        }
        let contents = self.begin_value();
        if contents && !object {
            self.place = Place::Contents {
                depth: 1,
                text: false,
                any: false,
            };
            return;
        }
        if self.levels.len() >= DEPTH {
            self.too_large = true;
            self.beyond = 1;
            return;
        }
        self.push(if object { b"{" } else { b"[" });
        self.levels.push(Level {
            object,
            any: false,
            named: false,
            contents: false,
        });
    }

    fn close(&mut self, byte: u8, on: &mut impl FnMut(Sifted<'_>)) {
        if self.beyond > 0 {
            self.beyond -= 1;
            return;
        }
        if self.levels.is_empty() {
            return;
        }
        // A bracket that does not match makes it unreadable, as it is.
        self.push(&[byte]);
        self.levels.pop();
        if self.levels.is_empty() {
            let whole = if std::mem::take(&mut self.too_large) {
                Sifted::TooLarge
            } else {
                Sifted::Object(&self.kept)
            };
            on(whole);
            self.kept.clear();
        }
    }

    fn begin_text(&mut self) {
        self.escaped = false;
        let role = match self.levels.last_mut() {
            _ if self.beyond > 0 => Role::Passed,
            None => Role::Passed,
            Some(level) if level.object && !level.named => {
                if std::mem::replace(&mut level.any, true) {
                    self.push(b",");
                }
                Role::Name
            }
            Some(_) => match self.begin_value() {
                true => Role::Contents(false),
                false => Role::Value,
            },
        };
        if matches!(role, Role::Name | Role::Value) {
            self.push(b"\"");
            self.text = (self.kept.len(), 0);
        }
        self.place = Place::Text(role);
    }

    /// Goes on in a text; says how many bytes it took.
    fn in_text(&mut self, role: Role, rest: &[u8]) -> usize {
        let kept = matches!(role, Role::Name | Role::Value);
        if std::mem::take(&mut self.escaped) {
            if kept {
                self.keep_text(rest.get(..1).unwrap_or_default());
            }
            return 1;
        }
        let special = memchr2(b'"', b'\\', rest);
        let plain = rest.get(..special.unwrap_or(rest.len())).unwrap_or(rest);
        if kept {
            self.keep_text(plain);
        }
        if let Role::Contents(any) = role {
            let more = any || !plain.is_empty() || special.is_some_and(|at| rest[at] == b'\\');
            self.place = Place::Text(Role::Contents(more));
        }
        let Some(at) = special else {
            return rest.len();
        };
        if rest.get(at) == Some(&b'\\') {
            self.escaped = true;
            if kept {
                self.keep_text(b"\\");
            }
        } else {
            self.end_text();
        }
        at + 1
    }

    fn keep_text(&mut self, part: &[u8]) {
        self.text.1 += part.len();
        if self.text.1 <= TEXT {
            self.push(part);
        }
    }

    fn end_text(&mut self) {
        let Place::Text(role) = std::mem::replace(&mut self.place, Place::Between) else {
            return;
        };
        let (begin, length) = self.text;
        match role {
            Role::Passed => return,
            Role::Contents(any) => return self.push(if any { b"true" } else { b"false" }),
            Role::Name | Role::Value if length > TEXT => self.kept.truncate(begin),
            Role::Name => {
                let name = self.kept.get(begin..).unwrap_or_default();
                let contents = CONTENTS.iter().any(|known| known.as_bytes() == name);
                if let Some(level) = self.levels.last_mut() {
                    level.contents = contents;
                }
            }
            Role::Value => {}
        }
        self.push(b"\"");
    }

    fn begin_word(&mut self, byte: u8) {
        let mut kept = self.beyond == 0;
        match self.levels.last() {
            None => kept = false,
            Some(level) if level.object => {
                if self.beyond == 0 && self.begin_value() && !matches!(byte, b'n' | b'f') {
                    self.push(b"true");
                    kept = false;
                }
            }
            Some(_) if matches!(byte, b'-' | b'0'..=b'9') => kept = false,
            Some(_) => {
                if self.beyond == 0 {
                    self.begin_value();
                }
            }
        }
        if kept {
            self.push(&[byte]);
        }
        self.place = Place::Word { kept };
    }

    /// Goes on in an array of contents; says how many bytes it took.
    fn in_contents(&mut self, rest: &[u8], depth: usize, text: bool, any: bool) -> usize {
        let (mut depth, mut text, mut any) = (depth, text, any);
        let special = match text {
            true if std::mem::take(&mut self.escaped) => return 1,
            true => memchr2(b'"', b'\\', rest),
            false => rest
                .iter()
                .position(|byte| matches!(byte, b'"' | b'[' | b'{' | b']' | b'}')),
        };
        let passed = rest.get(..special.unwrap_or(rest.len())).unwrap_or(rest);
        any |= !passed.trim_ascii().is_empty();
        match special.and_then(|at| rest.get(at)) {
            Some(b'\\') => self.escaped = true,
            Some(b'"') => {
                text = !text;
                any = true;
            }
            Some(b'[' | b'{') => {
                depth += 1;
                any = true;
            }
            Some(_) => depth -= 1,
            None => {}
        }
        if depth == 0 {
            self.place = Place::Between;
            self.push(if any { b"true" } else { b"false" });
        } else {
            self.place = Place::Contents { depth, text, any };
        }
        special.map_or(rest.len(), |at| at + 1)
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.beyond > 0 || self.too_large {
            return;
        }
        if self.kept.len() + bytes.len() > KEPT {
            self.too_large = true;
            self.kept.clear();
            return;
        }
        self.kept.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    /// What is handed out, read again; `None` for what was too large.
    fn sift(pieces: &[&[u8]]) -> Vec<Option<Value>> {
        let mut sieve = Sieve::new();
        let mut seen = Vec::new();
        for piece in pieces {
            sieve.feed(piece, |sifted| {
                seen.push(match sifted {
                    Sifted::Object(json) => Some(serde_json::from_slice(json).unwrap()),
                    Sifted::TooLarge => None,
                });
            });
        }
        seen
    }

    fn one(text: &str) -> Value {
        sift(&[text.as_bytes()]).remove(0).unwrap()
    }

    /// The same, of a value.
    fn expected(value: &Value, contents: bool) -> Value {
        match value {
            Value::String(text) if contents => json!(!text.is_empty()),
            Value::Array(elements) if contents => json!(!elements.is_empty()),
            Value::Number(_) if contents => json!(true),
            Value::String(text) => {
                let written = serde_json::to_string(text).unwrap();
                if written.len() > TEXT + 2 {
                    json!("")
                } else {
                    value.clone()
                }
            }
            Value::Array(elements) => {
                let kept = elements.iter().filter(|element| !element.is_number());
                kept.map(|element| expected(element, false)).collect()
            }
            Value::Object(members) => {
                let each = members.iter().map(|(name, value)| {
                    let contents = CONTENTS.contains(&name.as_str());
                    (name.clone(), expected(value, contents))
                });
                Value::Object(each.collect::<Map<_, _>>())
            }
            _ => value.clone(),
        }
    }

    #[test]
    fn an_answer_is_left_without_what_it_says() {
        let answer = r#" {"id": "chatcmpl-1", "choices": [{"index": 0, "message": {"role": "assistant",
            "content": "a \"secret\" \\", "tool_calls": [{"id": ["]", "}"]}], "refusal": null},
            "logprobs": {"content": []}, "finish_reason": "stop"}],
            "data": [{"embedding": [0.1, -2e3]}], "usage": {"prompt_tokens": 3, "x": [1, 2, "a", 3, [4]]}} "#;
        assert_eq!(
            one(answer),
            json!({"id": "chatcmpl-1", "choices": [{"index": 0, "message": {"role": "assistant",
                "content": true, "tool_calls": true, "refusal": null},
                "logprobs": {"content": false}, "finish_reason": "stop"}],
                "data": true, "usage": {"prompt_tokens": 3, "x": ["a", []]}})
        );
        let long = format!(r#"{{"a": "{}", "content": ""}}"#, "x".repeat(300));
        assert_eq!(one(&long), json!({"a": "", "content": false}));
    }

    #[test]
    fn the_elements_of_an_array_come_one_by_one() {
        let text = br#"[{"a": 1}
            , {"text": "[{"}, 3, "{", {"b": {}}]"#;
        let mut sieve = Sieve::new();
        let mut seen = 0;
        sieve.feed(text, |_| seen += 1);
        assert_eq!((seen, sieve.is_array()), (3, true));
        sieve.feed(b"{\"cut\": ", |_| seen += 1);
        assert_eq!(seen, 3);
    }

    #[test]
    fn what_is_too_large_or_too_deep_is_said_to_be_and_what_follows_is_read() {
        let wide = format!(r#"{{"a": [{}"x"]}}"#, r#""0123456789","#.repeat(10_000));
        let deep = format!("{{\"a\": {}1{}}}", "[".repeat(99), "]".repeat(99));
        for text in [wide, deep] {
            let both = format!("[{text}, {{\"b\": true}}]");
            assert_eq!(
                sift(&[both.as_bytes()]),
                [None, Some(json!({"b": true}))],
                "{:.40}",
                text
            );
        }
        // An answer that is large for what it says is not.
        let long = format!(r#"{{"content": "{}", "b": 1}}"#, "x".repeat(1 << 20));
        assert_eq!(one(&long), json!({"content": true, "b": 1}));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let name = prop_oneof![
            "[a-z\"\\\\é]{0,5}",
            prop::sample::select(CONTENTS.to_vec()).prop_map(str::to_owned)
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
            (250_usize..260).prop_map(|length| Value::from("y".repeat(length))),
        ];
        leaf.prop_recursive(5, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::hash_map(name.clone(), inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_same_in_pieces_of_any_size(value in any_json(), pretty: bool, size in 1_usize..50) {
            let text = match pretty {
                true => serde_json::to_string_pretty(&value),
                false => serde_json::to_string(&value),
            };
            let text = text.unwrap();
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let seen = sift(&pieces);
            prop_assert_eq!(&seen, &sift(&[text.as_bytes()]));
            if value.is_object() {
                prop_assert_eq!(seen, vec![Some(expected(&value, false))]);
            }
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(
            prop_oneof![prop::sample::select(br#"{}[]",:\ 1-ntdata"#.to_vec()), any::<u8>()], 0..200)) {
            Sieve::new().feed(&bytes, |_| {});
        }
    }
}
