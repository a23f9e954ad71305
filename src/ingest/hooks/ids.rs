//! Ids that follow from what an event says: the same event gives the same id, whenever and
//! wherever it arrives.

use sha2::{Digest as _, Sha256};
use uuid::{Builder, Uuid};

/// An id of version 8 (RFC 9562, section 5.8) of a session's operation: of its kind and of what
/// names it there.
pub(super) fn id(session: &str, kind: &str, parts: &[&[u8]]) -> Uuid {
    let mut hash = Sha256::new();
    let all = [&b"claude-code"[..], session.as_bytes(), kind.as_bytes()];
    for part in all.iter().chain(parts) {
        // Lengths keep parts apart.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    Builder::from_custom_bytes(bytes).into_uuid()
}

/// The `number`th id of several that are named alike.
pub(super) fn numbered(session: &str, kind: &str, parts: &[&[u8]], number: u32) -> Uuid {
    let number = number.to_be_bytes();
    let parts: Vec<&[u8]> = parts.iter().copied().chain([&number[..]]).collect();
    id(session, kind, &parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_from_what_is_named_and_parts_do_not_run_together() {
        let one = id("s", "tool", &[b"ab", b"c"]);
        assert_eq!(one, id("s", "tool", &[b"ab", b"c"]));
        assert_ne!(one, id("s", "tool", &[b"a", b"bc"]));
        assert_ne!(one, id("t", "tool", &[b"ab", b"c"]));
        assert_ne!(
            numbered("s", "turn", &[b"x"], 0),
            numbered("s", "turn", &[b"x"], 1)
        );
        assert_eq!(one.get_version_num(), 8);
    }
}
