//! Numbers as Prometheus reads them, and the chunks they are written into.

use bytes::Bytes;

/// Room of a chunk.
pub(super) const CHUNK: usize = 64 * 1024;
/// Chunks of earlier pages that are kept to be written anew, all together 32 MiB: the system
/// clears new memory, which takes longer than writing a page.
const SPARE: usize = 512;

/// Text in chunks, so that a large page never needs one large buffer.
#[derive(Default)]
pub(super) struct Chunks {
    pub(super) buffer: Vec<u8>,
    done: Vec<Bytes>,
    len: usize,
    spare: Vec<Bytes>,
}

impl Chunks {
    /// Chunks that are written over those of earlier pages, as far as nobody holds them.
    pub(super) fn over(spare: Vec<Bytes>) -> Self {
        Self {
            spare,
            ..Self::default()
        }
    }

    /// Closes the chunk if it has no room for so many bytes more. Called between lines.
    #[inline]
    pub(super) fn room(&mut self, bytes: usize) {
        if self.buffer.capacity() - self.buffer.len() < bytes {
            self.close(bytes);
        }
    }

    #[cold]
    fn close(&mut self, bytes: usize) {
        let mut next = loop {
            match self.spare.pop() {
                None => break Vec::new(),
                Some(mut spare) if spare.is_unique() => {
                    spare.clear();
                    break Vec::from(spare);
                }
                Some(_) => {}
            }
        };
        next.reserve(bytes.max(CHUNK));
        let full = std::mem::replace(&mut self.buffer, next);
        self.push_done(full);
    }

    fn push_done(&mut self, full: Vec<u8>) {
        if !full.is_empty() {
            self.len += full.len();
            self.done.push(Bytes::from(full));
        }
    }

    #[inline]
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.room(bytes.len());
        self.buffer.extend_from_slice(bytes);
    }

    /// The chunks and their length.
    pub(super) fn finish(mut self) -> (Vec<Bytes>, usize) {
        let last = std::mem::take(&mut self.buffer);
        self.push_done(last);
        (self.done, self.len)
    }
}

/// What is kept of a page to be written anew.
pub(super) fn spare<'c>(chunks: impl Iterator<Item = &'c Bytes>) -> Vec<Bytes> {
    let kept = chunks.filter(|chunk| chunk.len() <= CHUNK);
    kept.take(SPARE).cloned().collect()
}

impl std::io::Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A whole number, unsigned.
#[inline]
pub(super) fn unsigned(out: &mut Vec<u8>, value: u64) {
    if value < 10 {
        out.push(b'0' + value as u8);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }
}

/// A whole number.
#[inline]
pub(super) fn signed(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A number: shortest text that reads back the same, whole ones without a fraction, `NaN`,
/// `+Inf`, `-Inf`.
#[inline]
pub(super) fn float(out: &mut Vec<u8>, value: f64) {
    // Whole numbers below 2^53 are exact as integers.
    if value.trunc() == value && value.abs() < 9_007_199_254_740_992.0 {
        signed(out, value as i64);
    } else if value.is_finite() {
        out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
    } else {
        out.extend_from_slice(if value.is_nan() {
            b"NaN"
        } else if value > 0.0 {
            b"+Inf"
        } else {
            b"-Inf"
        });
    }
}

/// An upper bound as `le` or `quantile`, the text by which Prometheus tells buckets apart:
/// never with an exponent; with a fraction in OpenMetrics (1.0, "Numbers").
pub(super) fn bound(value: f64, open_metrics: bool) -> String {
    if value.is_infinite() {
        return (if value > 0.0 { "+Inf" } else { "-Inf" }).to_owned();
    }
    let mut text = value.to_string();
    if open_metrics && value.trunc() == value && value.is_finite() {
        text.push_str(".0");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: f64) -> String {
        let mut out = Vec::new();
        float(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_read_back_the_same() {
        for value in [
            0.0,
            1.0,
            -1.0,
            0.1,
            1e-9,
            1.5e300,
            -2.25,
            9.007_199_254_740_992e15,
            1e16,
            123_456.789,
            f64::MAX,
            f64::MIN_POSITIVE,
        ] {
            assert_eq!(
                text(value).parse::<f64>().unwrap().to_bits(),
                value.to_bits()
            );
        }
        assert_eq!(text(3.0), "3");
        assert_eq!(text(f64::NAN), "NaN");
        assert_eq!(text(f64::INFINITY), "+Inf");
        assert_eq!(text(f64::NEG_INFINITY), "-Inf");
    }

    #[test]
    fn bounds_have_no_exponent() {
        assert_eq!(bound(1.0, true), "1.0");
        assert_eq!(bound(1.0, false), "1");
        assert_eq!(bound(0.005, true), "0.005");
        assert_eq!(bound(1e9, false), "1000000000");
        assert_eq!(bound(f64::INFINITY, true), "+Inf");
    }

    #[test]
    fn chunks_are_bounded_and_whole() {
        let mut chunks = Chunks::default();
        for _ in 0..100_000 {
            chunks.push(b"0123456789");
        }
        chunks.push(&[b'x'; 3 * CHUNK]);
        let (parts, len) = chunks.finish();
        assert_eq!(len, 1_000_000 + 3 * CHUNK);
        assert_eq!(parts.iter().map(Bytes::len).sum::<usize>(), len);
        assert!(parts.iter().rev().skip(1).all(|part| part.len() <= CHUNK));
        assert_eq!(parts.concat()[..20], *b"01234567890123456789");
    }

    #[test]
    fn chunks_that_nobody_holds_are_written_anew() {
        let fill = |spare| {
            let mut chunks = Chunks::over(spare);
            (0..20_000).for_each(|_| chunks.push(b"0123456789"));
            chunks.finish().0
        };
        let first = fill(Vec::new());
        let places: Vec<*const u8> = first.iter().map(|part| part.as_ptr()).collect();
        let kept = spare(first.iter());
        let held = first[1].clone();
        drop(first);
        let second = fill(kept);
        let again = second.iter().filter(|part| places.contains(&part.as_ptr()));
        assert_eq!(again.count(), places.len() - 1);
        assert!(
            held.iter()
                .zip(b"0123456789".iter().cycle())
                .all(|(a, b)| a == b)
        );
    }
}
