//! Labels that are read one after the other, kept as the recorder looks them up.

use std::fmt;

use super::recorder::{FieldError, missing, unknown_value};
use super::table::Words;
use crate::catalog::check::{self, MAX_LABELS};
use crate::catalog::{LabelKind, Signal};

/// Text of all labels of one recording at most; what finds no room is missing.
const MAX_TEXTS: usize = 8 * 1024;
/// Room that is kept for long texts.
const KEPT: usize = 256;
/// Text of one label at most; a longer one folds anyway.
const MAX_TEXT: usize = 512;

/// Where a label's value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    bit: u8,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Into these bits, as the position among the values.
    Closed {
        shift: u32,
        mask: u64,
        values: &'static [&'static str],
    },
    /// To this position among the open labels.
    Open(u8),
}

/// What of a signal's labels must be given, and what stands for those that need not.
#[derive(Debug)]
struct Rules {
    /// Labels that have no default.
    required: u8,
    /// Labels whose default is other than none.
    defaulted: u8,
    defaults: [u64; MAX_LABELS],
}

/// A signal's labels, prepared for reading.
#[derive(Debug)]
pub struct Shape {
    signal: &'static Signal,
    ended: Rules,
    started: Rules,
    /// The start labels: as bits of the packed closed ones, and among the open ones.
    start_closed: u64,
    start_open: u8,
}

impl Shape {
    /// The labels of a signal.
    #[must_use]
    pub fn new(signal: &'static Signal) -> Self {
        let rules = || Rules {
            required: 0,
            defaulted: 0,
            defaults: [0; MAX_LABELS],
        };
        let mut shape = Self {
            signal,
            ended: rules(),
            started: rules(),
            start_closed: 0,
            start_open: 0,
        };
        for (i, label) in signal.labels.iter().enumerate().take(MAX_LABELS) {
            let place = Self::place_of(signal, i);
            let default = match (label.kind, place.kind) {
                (
                    LabelKind::Closed {
                        values, abandoned, ..
                    },
                    Kind::Closed { shift, mask, .. },
                ) => {
                    if !label.outcome {
                        shape.start_closed |= mask << shift;
                    }
                    abandoned
                        .map(usize::from)
                        .filter(|_| label.outcome)
                        .or_else(|| values.iter().position(|value| value.is_empty()))
                        .map(|position| (position as u64) << shift)
                }
                (LabelKind::Open { optional, .. }, Kind::Open(rank)) => {
                    if !label.outcome {
                        shape.start_open |= 1 << rank;
                    }
                    optional.then_some(0)
                }
                _ => None,
            };
            let both = [&mut shape.ended, &mut shape.started];
            for rules in both.into_iter().take(if label.outcome { 1 } else { 2 }) {
                match default {
                    None => rules.required |= place.bit,
                    Some(0) => {}
                    Some(bits) => {
                        rules.defaulted |= place.bit;
                        rules.defaults[i] = bits;
                    }
                }
            }
        }
        shape
    }

    /// Where the value of the label at this position goes.
    #[must_use]
    pub fn place(&self, label: usize) -> Place {
        Self::place_of(self.signal, label)
    }

    fn place_of(signal: &'static Signal, label: usize) -> Place {
        let kind = match signal.labels[label].kind {
            LabelKind::Closed { values, .. } => Kind::Closed {
                shift: check::shift(signal.labels, label),
                mask: check::mask(values.len()),
                values,
            },
            LabelKind::Open { .. } => Kind::Open(check::rank(signal.labels, label, false) as u8),
        };
        Place {
            bit: 1 << label,
            kind,
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Text {
    at: u16,
    len: u16,
}

/// Labels read so far. Short texts are kept as words, and closed labels as their bits, so that
/// nothing but long texts is copied.
pub struct Given {
    closed: u64,
    /// Labels that have a value, and labels whose value is not one of the closed ones.
    given: u8,
    unknown: u8,
    words: [Words; MAX_LABELS],
    /// Where in `texts` those are of which the words are not the whole.
    long: [Text; MAX_LABELS],
    texts: String,
    refused: Vec<(u8, Box<str>)>,
}

/// Labels that are complete: the packed closed ones, the open ones' words and where to find
/// longer texts.
#[derive(Clone, Copy)]
pub struct Complete<'g> {
    pub(super) closed: u64,
    given: &'g Given,
    /// Open labels that count; of the others nothing is said.
    open: u8,
}

impl Given {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self {
            closed: 0,
            given: 0,
            unknown: 0,
            words: [Words::EMPTY; MAX_LABELS],
            long: [Text { at: 0, len: 0 }; MAX_LABELS],
            texts: String::new(),
            refused: Vec::new(),
        }
    }

    /// Forgets them all.
    #[inline]
    pub fn clear(&mut self) {
        self.closed = 0;
        self.given = 0;
        self.words = [Words::EMPTY; MAX_LABELS];
        if !self.texts.is_empty() || self.unknown != 0 {
            self.clear_texts();
        }
    }

    #[cold]
    fn clear_texts(&mut self) {
        self.unknown = 0;
        self.refused = Vec::new();
        if self.texts.capacity() > KEPT {
            self.texts = String::with_capacity(KEPT);
        }
        self.texts.clear();
    }

    /// Sets a label's value; an empty one is none.
    #[inline]
    pub fn set(&mut self, place: &Place, text: &str) {
        let bit = place.bit;
        if self.unknown & bit != 0 {
            self.forgive(bit);
        }
        self.given &= !bit;
        match place.kind {
            Kind::Closed {
                shift,
                mask,
                values,
            } => {
                self.closed &= !(mask << shift);
                if text.is_empty() {
                    return;
                }
                match values.iter().position(|value| *value == text) {
                    Some(position) => self.closed |= (position as u64) << shift,
                    None => self.refuse(bit, text),
                }
            }
            Kind::Open(rank) => {
                let rank = usize::from(rank) % MAX_LABELS;
                self.words[rank] = Words::EMPTY;
                if text.is_empty() {
                    return;
                }
                let mut words = Words::of(text);
                if !words.are_whole() {
                    match self.keep(rank, text) {
                        Some(kept) => words = kept,
                        None => return,
                    }
                }
                self.words[rank] = words;
            }
        }
        self.given |= bit;
    }

    /// Copies a long text; none: there is no room.
    #[cold]
    fn keep(&mut self, rank: usize, text: &str) -> Option<Words> {
        let text = cut(text);
        if self.texts.len() + text.len() > MAX_TEXTS {
            return None;
        }
        self.long[rank] = Text {
            at: self.texts.len() as u16,
            len: text.len() as u16,
        };
        self.texts.push_str(text);
        Some(Words::of(text))
    }

    #[cold]
    fn refuse(&mut self, bit: u8, text: &str) {
        self.unknown |= bit;
        self.refused.push((bit, cut(text).into()));
    }

    #[cold]
    fn forgive(&mut self, bit: u8) {
        self.unknown &= !bit;
        self.refused.retain(|(of, _)| *of != bit);
    }

    /// Sets a label's value to how it is displayed.
    pub fn set_display(&mut self, place: &Place, text: fmt::Arguments<'_>) {
        let mut buffer = Buffer {
            bytes: [0; MAX_TEXT],
            len: 0,
        };
        // Truncated text still folds like the whole.
        let _ = fmt::write(&mut buffer, text);
        let text = std::str::from_utf8(&buffer.bytes[..buffer.len]).unwrap_or_default();
        self.set(place, text);
    }

    /// The labels of an end.
    ///
    /// # Errors
    /// Names a label that is missing or has none of its values.
    #[inline]
    pub fn ended(&self, shape: &Shape) -> Result<Complete<'_>, FieldError> {
        self.complete(shape, &shape.ended, u64::MAX, u8::MAX)
    }

    /// The labels of a start; others are left out.
    ///
    /// # Errors
    /// As of an end.
    #[inline]
    pub fn started(&self, shape: &Shape) -> Result<Complete<'_>, FieldError> {
        self.complete(shape, &shape.started, shape.start_closed, shape.start_open)
    }

    #[inline]
    fn complete(
        &self,
        shape: &Shape,
        rules: &Rules,
        closed: u64,
        open: u8,
    ) -> Result<Complete<'_>, FieldError> {
        let absent = !self.given | self.unknown;
        if absent & rules.required != 0 || self.unknown != 0 {
            self.faultless(shape, rules)?;
        }
        let mut closed = self.closed & closed;
        let defaulted = absent & rules.defaulted;
        if defaulted != 0 {
            for (i, bits) in rules.defaults.iter().enumerate() {
                if defaulted & (1 << i) != 0 {
                    closed |= bits;
                }
            }
        }
        Ok(Complete {
            closed,
            given: self,
            open,
        })
    }

    /// Finds the first label that is missing or has none of its values.
    #[cold]
    fn faultless(&self, shape: &Shape, rules: &Rules) -> Result<(), FieldError> {
        let start_only = std::ptr::eq(rules, &raw const shape.started);
        for (i, label) in shape.signal.labels.iter().enumerate().take(MAX_LABELS) {
            if start_only && label.outcome {
                continue;
            }
            let bit = 1 << i;
            if let Some((_, text)) = self.refused.iter().find(|(of, _)| *of == bit)
                && let LabelKind::Closed { values, .. } = label.kind
            {
                return Err(unknown_value(label.key, text, values));
            }
            if rules.required & !self.given & bit != 0 {
                return Err(missing(label.key));
            }
        }
        Ok(())
    }
}

impl Complete<'_> {
    /// An open label's words: read where they are, because a copy of what was just written in
    /// pieces waits for the pieces.
    #[inline(always)]
    pub(super) fn words(&self, rank: usize) -> &Words {
        let words = self.given.words.get(rank);
        words
            .filter(|_| self.open & (1 << rank) != 0)
            .unwrap_or(&Words::EMPTY)
    }

    /// An open label of which the words are not the whole.
    #[inline]
    pub(super) fn long(&self, rank: usize) -> &str {
        let Text { at, len } = self.given.long[rank];
        let at = usize::from(at);
        self.given
            .texts
            .get(at..at + usize::from(len))
            .unwrap_or_default()
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

struct Buffer {
    bytes: [u8; MAX_TEXT],
    len: usize,
}

impl fmt::Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_TEXT - self.len;
        let end = text.floor_char_boundary(room);
        self.bytes[self.len..self.len + end].copy_from_slice(&text.as_bytes()[..end]);
        self.len += end;
        if end < text.len() {
            Err(fmt::Error)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
// Of the signal the labels alone are used.
#[allow(dead_code)]
mod tests {
    use super::*;
    use crate::{closed_label, signal};

    closed_label! {
        /// A closed label that has to be given.
        pub enum Scheme {
            /// One value.
            Http = "http",
            /// Another.
            Https = "https",
        }
    }

    closed_label! {
        /// A closed label that may be absent.
        pub enum Version {
            /// One value.
            V11 = "1.1",
            /// Another.
            V2 = "2",
            /// Absent.
            Unknown = "",
        }
    }

    closed_label! {
        /// A closed outcome.
        pub enum Auth {
            /// One value.
            Jwt = "jwt",
            /// Absent.
            Unknown = "" abandoned,
        }
    }

    signal! {
        /// A request.
        pub operation Request => RequestEnd = "test.request" {
            labels {
                /// Has to be given.
                method: open(9),
                /// Has to be given.
                scheme: closed(Scheme),
                /// May be absent.
                version: closed(Version),
            }
            outcome {
                /// May be absent.
                route: optional(9),
                /// May be absent.
                status: optional(9),
                /// Has a value of its own when absent.
                auth: closed(Auth),
            }
            metrics {
                /// Requests.
                "test.requests" = counter "{request}" count
                    by [method, scheme, version, route, status, auth] no_alert "a test";
            }
        }
    }

    const METHOD: usize = 0;
    const SCHEME: usize = 1;
    const VERSION: usize = 2;
    const ROUTE: usize = 3;
    const STATUS: usize = 4;

    fn given(shape: &Shape, labels: &[(usize, &str)]) -> Given {
        let mut given = Given::new();
        for (label, text) in labels {
            given.set(&shape.place(*label), text);
        }
        given
    }

    fn text(labels: Complete<'_>, rank: usize) -> String {
        let words = labels.words(rank);
        if words.are_whole() {
            words.text()
        } else {
            labels.long(rank).to_owned()
        }
    }

    #[test]
    fn the_last_value_of_a_label_counts() {
        let shape = Shape::new(Request::SIGNAL);
        let long = "/a/route/that/is/longer/than/words";
        let given = given(
            &shape,
            &[
                (METHOD, "GET"),
                (SCHEME, "gopher"),
                (SCHEME, "http"),
                (VERSION, "2"),
                (VERSION, "1.1"),
                (ROUTE, "/short"),
                (ROUTE, long),
                (STATUS, long),
                (STATUS, "200"),
            ],
        );
        let labels = given.ended(&shape).unwrap();
        assert_eq!(text(labels, 0), "GET");
        assert_eq!(text(labels, 1), long);
        assert_eq!(text(labels, 2), "200");
        let started = given.started(&shape).unwrap();
        assert_eq!(text(started, 0), "GET");
        assert_eq!(text(started, 1), "");
        // The position of `auth` when nobody says it is not 0.
        assert_ne!(started.closed, labels.closed);
        assert_eq!(started.closed, labels.closed & shape.start_closed);
    }

    #[test]
    fn the_first_label_at_fault_is_named() {
        let shape = Shape::new(Request::SIGNAL);
        let error = |labels: &[(usize, &str)]| {
            let given = given(&shape, labels);
            given.ended(&shape).err().map(|error| error.to_string())
        };
        let missing = Some("scheme: missing".to_owned());
        assert_eq!(error(&[(METHOD, "GET"), (VERSION, "2")]), missing);
        let emptied = [(METHOD, "GET"), (SCHEME, "http"), (SCHEME, "")];
        assert_eq!(error(&emptied), missing);
        let unknown = [(METHOD, "GET"), (SCHEME, "gopher"), (VERSION, "9")];
        assert_eq!(
            error(&unknown).as_deref(),
            Some("scheme: `gopher` is not a value; accepted are http, https")
        );
        assert_eq!(error(&[(METHOD, "GET"), (SCHEME, "http")]), None);
    }

    #[test]
    fn what_finds_no_room_is_missing() {
        let shape = Shape::new(Request::SIGNAL);
        let (long, route) = ("é".repeat(MAX_TEXT), shape.place(ROUTE));
        let mut given = given(&shape, &[(METHOD, "GET"), (SCHEME, "http")]);
        for _ in 0..MAX_TEXTS / MAX_TEXT {
            given.set(&route, &long);
            assert_eq!(text(given.ended(&shape).unwrap(), 1), long[..MAX_TEXT]);
        }
        given.set(&route, &long);
        assert_eq!(text(given.ended(&shape).unwrap(), 1), "");
        given.clear();
        assert!(given.texts.capacity() <= KEPT);
        given.set_display(&route, format_args!("{:600}", 1));
        given.set(&shape.place(METHOD), "GET");
        given.set(&shape.place(SCHEME), "http");
        assert_eq!(text(given.ended(&shape).unwrap(), 1).len(), MAX_TEXT);
    }
}
