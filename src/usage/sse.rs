//! Server-sent events as they come in, in pieces of any size: WHATWG HTML, section 9.2.6
//! "Interpreting an event stream".

use memchr::{memchr, memchr2};

/// Longest event that is looked at, in bytes of one line or of all its data.
const LIMIT: usize = 4 * 1024 * 1024;

/// An event of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'e> {
    /// What its field `event` says; empty: none, which means `message`.
    pub name: &'e [u8],
    /// Its data: the values of its fields `data`, with a line feed between them.
    pub data: &'e [u8],
}

/// Reads a stream of events. Lines end with CR, LF or both; comments and the fields `id` and
/// `retry` are passed over, as is an event that is not ended before the stream is.
///
/// ```
/// use tachograph::usage::Events;
///
/// let mut events = Events::new();
/// let mut seen = Vec::new();
/// for piece in ["event: ping\nda", "ta: {}\n", "\n: a comment\n"] {
///     events.feed(piece.as_bytes(), |event| {
///         seen.push((event.name.to_vec(), event.data.to_vec()));
///     });
/// }
/// assert_eq!(seen, [(b"ping".to_vec(), b"{}".to_vec())]);
/// ```
#[derive(Clone, Debug)]
pub struct Events {
    limit: usize,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    /// Whether the event has a field `data`.
    any: bool,
    /// Whether the line under way is too long.
    long_line: bool,
    /// Whether the event under way is too large.
    large: bool,
    after_cr: bool,
    begun: bool,
    skipped: u64,
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

impl Events {
    /// A stream of no events yet.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limit(LIMIT)
    }

    fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            name: Vec::new(),
            data: Vec::new(),
            any: false,
            long_line: false,
            large: false,
            after_cr: false,
            begun: false,
            skipped: 0,
        }
    }

    /// Events that were larger than 4 MiB and therefore not handed out.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Takes the next piece, and hands out the events that it completes.
    pub fn feed(&mut self, piece: &[u8], mut on: impl FnMut(Event<'_>)) {
        let mut rest = piece;
        while let Some(first) = rest.first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', rest) else {
                self.hold(rest);
                return;
            };
            let (line, tail) = rest.split_at(end);
            self.after_cr = tail.first() == Some(&b'\r');
            rest = tail.get(1..).unwrap_or_default();
            self.ended(line, &mut on);
        }
    }

    /// Keeps a part of a line.
    fn hold(&mut self, part: &[u8]) {
        if self.line.len() + part.len() > self.limit {
            self.long_line = true;
            self.line.clear();
        }
        if !self.long_line {
            self.line.extend_from_slice(part);
        }
    }

    /// A line has ended, with this as its last part.
    fn ended(&mut self, last: &[u8], on: &mut impl FnMut(Event<'_>)) {
        if self.line.is_empty() && !self.long_line && last.len() <= self.limit {
            self.line(last, on);
            return;
        }
        self.hold(last);
        if std::mem::take(&mut self.long_line) {
            self.begun = true;
            self.large = true;
            return;
        }
        let mut line = std::mem::take(&mut self.line);
        self.line(&line, on);
        line.clear();
        // Its memory is used again, unless one line was much longer than others are.
        if line.capacity() <= 64 * 1024 {
            self.line = line;
        }
    }

    fn line(&mut self, mut line: &[u8], on: &mut impl FnMut(Event<'_>)) {
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            self.dispatch(on);
            return;
        }
        let (field, value) = match memchr(b':', line) {
            Some(colon) => {
                let (field, value) = line.split_at(colon);
                let value = value.get(1..).unwrap_or_default();
                (field, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &b""[..]),
        };
        match field {
            b"data" => {
                if self.any {
                    self.data.push(b'\n');
                }
                self.any = true;
                if self.data.len() + value.len() > self.limit {
                    self.large = true;
                    self.data.clear();
                }
                if !self.large {
                    self.data.extend_from_slice(value);
                }
            }
            b"event" => {
                self.name.clear();
                // No name that means anything is longer.
                self.name
                    .extend_from_slice(value.get(..256).unwrap_or(value));
            }
            _ => {}
        }
    }

    fn dispatch(&mut self, on: &mut impl FnMut(Event<'_>)) {
        if self.large {
            self.skipped += 1;
        } else if self.any {
            on(Event {
                name: &self.name,
                data: &self.data,
            });
        }
        self.large = false;
        self.any = false;
        self.name.clear();
        self.data.clear();
        if self.data.capacity() > 64 * 1024 {
            self.data = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Seen = Vec<(String, String)>;

    fn read(events: &mut Events, pieces: &[&[u8]]) -> Seen {
        let mut seen = Vec::new();
        for piece in pieces {
            events.feed(piece, |event| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                seen.push((text(event.name), text(event.data)));
            });
        }
        seen
    }

    fn all(text: &str) -> Seen {
        read(&mut Events::new(), &[text.as_bytes()])
    }

    fn pairs(expected: &[(&str, &str)]) -> Seen {
        let owned = expected.iter().map(|(name, data)| (*name, *data));
        owned.map(|(n, d)| (n.to_owned(), d.to_owned())).collect()
    }

    #[test]
    fn as_the_specification_has_it() {
        // The examples of section 9.2.6.
        let stocks = "data: YHOO\ndata: +2\ndata: 10\n\n";
        assert_eq!(all(stocks), pairs(&[("", "YHOO\n+2\n10")]));
        let comments = ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n";
        assert_eq!(
            all(comments),
            pairs(&[("", "first event"), ("", "second event")])
        );
        let empty = "data\n\ndata\ndata\n\ndata:";
        assert_eq!(all(empty), pairs(&[("", ""), ("", "\n")]));
        let spaces = "data:test\n\ndata: test\n\n";
        assert_eq!(all(spaces), pairs(&[("", "test"), ("", "test")]));
    }

    #[test]
    fn a_mark_of_byte_order_every_end_of_line_and_names() {
        let text =
            "\u{feff}event: a\r\ndata: 1\r\rdata: 2\n\revent: b\n\nretry: 5\ndata: 3\r\n\r\n";
        assert_eq!(all(text), pairs(&[("a", "1"), ("", "2"), ("", "3")]));
    }

    #[test]
    fn what_is_too_large_is_skipped_and_said_to_be() {
        let long = "x".repeat(100);
        let text = format!(
            "data: {long}\n\ndata: ok\n\n{}\n:{long}\n\nevent: n\ndata: ok\n\n",
            "data: 12345678\n".repeat(9)
        );
        for size in [1, 7, 64, 4096] {
            let mut events = Events::with_limit(64);
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let seen = read(&mut events, &pieces);
            assert_eq!(seen, pairs(&[("", "ok"), ("n", "ok")]), "{size}");
            assert_eq!(events.skipped(), 3, "{size}");
            assert!(events.line.capacity() + events.data.capacity() <= 512);
        }
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same(
            lines in prop::collection::vec(
                prop_oneof!["data: ?[a-z:{}é]{0,6}", "event:[a-z]{0,3}", ":.{0,3}", "", "", "id: 1", "[a-z\u{feff}]{0,5}"],
                0..30,
            ),
            ends in prop::collection::vec(prop_oneof![Just("\n"), Just("\r\n"), Just("\r")], 30),
            cuts in prop::collection::vec(0_usize..400, 0..10),
        ) {
            let text: String = lines.iter().zip(&ends).flat_map(|(l, e)| [l.as_str(), e]).collect();
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(read(&mut Events::new(), &pieces), all(&text));
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(read(&mut Events::new(), &single), all(&text));
        }

        #[test]
        fn nothing_panics(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            read(&mut Events::with_limit(16), &pieces);
        }
    }
}
