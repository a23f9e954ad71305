//! What of prompts, tool inputs and tool results is kept.

use std::fmt::{self, Write as _};

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::redact::{LONGEST, MASK, names_secret, redact};

/// Longest value that is kept, in bytes.
const KEPT: usize = 4096;
/// Where values end that are longer: brackets that are open, 128 at most, have to be closed.
const FULL: usize = KEPT - 192;
/// Bytes of text that are read for one value at most.
const READ: usize = 4 * LONGEST;
/// What stands in place of what was cut off.
const CUT: &str = "…[cut]";

/// What hooks may send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(schemars::JsonSchema)]
pub struct HooksConfig {
    /// What is kept in the ledger of prompts, tool inputs and tool results: nothing (`off`), 4 KiB of each without secrets, e-mail addresses and names of home directories (`redacted`), or 4 KiB of each as they came (`full`).
    pub content: HookContent,
}

/// What is kept of prompts, tool inputs and tool results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[derive(schemars::JsonSchema)]
pub enum HookContent {
    /// Nothing.
    #[default]
    Off,
    /// What there is, without secrets, e-mail addresses and names of home directories.
    Redacted,
    /// What there is.
    Full,
}

impl HookContent {
    /// `off`, `redacted` or `full`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Redacted => "redacted",
            Self::Full => "full",
        }
    }

    /// A prompt, as the messages of OpenTelemetry's conventions v1.41.0
    /// (`gen_ai.input.messages`).
    pub(super) fn prompt(self, raw: Option<&RawValue>) -> Option<String> {
        let text = raw.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok())?;
        let mut kept = self.keeping()?;
        kept.out
            .push_str(r#"[{"role":"user","parts":[{"type":"text","content":"#);
        kept.quoted(&text);
        kept.out.push_str("}]}]");
        Some(kept.out)
    }

    /// A tool's input or result: text as text, anything else as JSON, which it stays when it is
    /// cut.
    pub(super) fn value(self, raw: Option<&RawValue>) -> Option<String> {
        let raw = raw.map(RawValue::get).filter(|raw| *raw != "null")?;
        let mut kept = self.keeping()?;
        match raw.starts_with('"') {
            true => {
                let text: String = serde_json::from_str(raw).ok()?;
                kept.text(&text, |out, c| {
                    // No text of a record has one.
                    out.push(if c == '\0' { '\u{fffd}' } else { c });
                });
            }
            false => {
                let mut json = serde_json::Deserializer::from_str(raw);
                // What is nested deeper than serde_json goes is cut there.
                if kept.deserialize(&mut json).is_err() {
                    kept.cut = true;
                }
            }
        }
        Some(kept.out)
    }

    fn keeping(self) -> Option<Keeping> {
        (self != Self::Off).then(|| Keeping {
            redacted: self == Self::Redacted,
            out: String::new(),
            read: 0,
            cut: false,
        })
    }
}

/// A value that is being written down.
struct Keeping {
    redacted: bool,
    out: String,
    read: usize,
    /// Something was left out.
    cut: bool,
}

impl Keeping {
    fn full(&self) -> bool {
        self.cut || self.out.len() >= FULL || self.read >= READ
    }

    /// Adds text, each character by `push`, as far as there is room.
    fn text(&mut self, text: &str, push: impl Fn(&mut String, char)) {
        self.read += text.len().min(LONGEST);
        let (shown, whole) = match self.redacted {
            true => (redact(text), text.len() <= LONGEST),
            false => (text.into(), true),
        };
        for c in shown.chars() {
            if self.out.len() >= FULL {
                self.cut = true;
                break;
            }
            push(&mut self.out, c);
        }
        if self.cut || !whole {
            self.cut = true;
            self.out.push_str(CUT);
        }
    }

    fn quoted(&mut self, text: &str) {
        self.out.push('"');
        self.text(text, |out, c| match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                // Writing to a `String` cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        });
        self.out.push('"');
    }

    /// Says once, among the elements of something, that the rest is left out.
    fn cut_off(&mut self, first: bool, said: &str) {
        if !self.cut {
            self.cut = true;
            self.out.push_str(if first { "" } else { "," });
            self.out.push_str(said);
        }
    }

    /// A value whose key says that it is secret.
    fn secret(&mut self, raw: &RawValue) {
        match raw.get() {
            none @ ("null" | "true" | "false" | "\"\"") => self.out.push_str(none),
            _ => {
                let _ = write!(self.out, "\"{MASK}\"");
            }
        }
    }

    fn scalar<E>(&mut self, scalar: impl fmt::Display) -> Result<(), E> {
        let _ = write!(self.out, "{scalar}");
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for &mut Keeping {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Keeping {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.scalar("null")
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.scalar(serde_json::Value::from(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.quoted(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.out.push('[');
        let mut first = true;
        let read = loop {
            if self.full() {
                match seq.next_element::<IgnoredAny>() {
                    Ok(Some(_)) => self.cut_off(first, "\"…[cut]\""),
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
                continue;
            }
            let before = self.out.len();
            self.out.push_str(if first { "" } else { "," });
            match seq.next_element_seed(&mut *self) {
                Ok(Some(())) => first = false,
                Ok(None) => {
                    self.out.truncate(before);
                    break Ok(());
                }
                Err(error) => {
                    // Nothing of the element, or what there is of it, closed.
                    if self.out[before..].len() <= 1 {
                        self.out.truncate(before);
                    }
                    self.cut_off(first, "\"…[cut]\"");
                    break Err(error);
                }
            }
        };
        self.out.push(']');
        read
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.out.push('{');
        let mut first = true;
        let read = loop {
            if self.full() {
                match map.next_entry::<IgnoredAny, IgnoredAny>() {
                    Ok(Some(_)) => self.cut_off(first, "\"…[cut]\":true"),
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
                continue;
            }
            let key = match map.next_key::<String>() {
                Ok(Some(key)) => key,
                Ok(None) => break Ok(()),
                Err(error) => {
                    self.cut_off(first, "\"…[cut]\":true");
                    break Err(error);
                }
            };
            self.out.push_str(if first { "" } else { "," });
            first = false;
            self.quoted(&key);
            self.out.push(':');
            let read = match self.redacted && names_secret(&key) {
                true => map.next_value::<&RawValue>().map(|raw| self.secret(raw)),
                false => map.next_value_seed(&mut *self),
            };
            if let Err(error) = read {
                if self.out.ends_with(':') {
                    self.out.push_str("null");
                }
                self.cut_off(false, "\"…[cut]\":true");
                break Err(error);
            }
        };
        self.out.push('}');
        read
    }
}

#[cfg(test)]
mod tests {
    use super::super::redact::tests::{secret, survives};
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn kept(mode: HookContent, raw: &str) -> Option<String> {
        let raw = RawValue::from_string(raw.to_owned()).unwrap();
        mode.value(Some(&raw))
    }

    fn redacted(value: &Value) -> String {
        kept(HookContent::Redacted, &value.to_string()).unwrap()
    }

    #[test]
    fn each_mode_keeps_what_it_says() {
        let raw = r#"{"command": "cat /home/alice/x", "env": {"API_KEY": [1, {"a": "b"}]}, "n": 1.50, "secret": null}"#;
        assert_eq!(kept(HookContent::Off, raw), None);
        assert_eq!(
            kept(HookContent::Redacted, raw).unwrap(),
            r#"{"command":"cat ~/x","env":{"API_KEY":"[redacted]"},"n":1.5,"secret":null}"#
        );
        assert_eq!(
            kept(HookContent::Full, raw).unwrap(),
            r#"{"command":"cat /home/alice/x","env":{"API_KEY":[1,{"a":"b"}]},"n":1.5,"secret":null}"#
        );
        assert_eq!(
            kept(HookContent::Full, "\"a\\u0000b\\n\"").unwrap(),
            "a\u{fffd}b\n"
        );
        assert_eq!(kept(HookContent::Full, "null"), None);
        assert_eq!(kept(HookContent::Redacted, "7").unwrap(), "7");
    }

    #[test]
    fn a_prompt_is_a_message() {
        let raw = RawValue::from_string(r#""write to \"bob@example.org\"""#.to_owned()).unwrap();
        let prompt = HookContent::Redacted.prompt(Some(&raw)).unwrap();
        let read: Value = serde_json::from_str(&prompt).unwrap();
        let part = json!({"type": "text", "content": "write to \"[redacted]\""});
        assert_eq!(read, json!([{"role": "user", "parts": [part]}]));
        assert_eq!(HookContent::Off.prompt(Some(&raw)), None);
        let number = RawValue::from_string("5".to_owned()).unwrap();
        assert_eq!(HookContent::Full.prompt(Some(&number)), None);
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so_and_stays_json() {
        let long = "\u{1}é".repeat(3_000);
        let deep = format!("{}1{}", "[".repeat(400), "]".repeat(400));
        let broken = r#"{"a": [1, "\ud800", 2], "b": "password"}"#.to_owned();
        for raw in [
            json!({"a": long, "b": long}).to_string(),
            json!({long.clone(): {"x": [long]}, "y": 1}).to_string(),
            json!([vec![u64::MAX; 900], vec![f64::MIN; 900], {"a": 1}]).to_string(),
            json!(vec![json!({"k": "v"}); 900]).to_string(),
            deep,
            broken,
        ] {
            for mode in [HookContent::Redacted, HookContent::Full] {
                let kept = kept(mode, &raw).unwrap();
                assert!(kept.len() <= KEPT, "{}", kept.len());
                assert!(kept.contains(CUT), "{kept}");
                let read: Result<Value, _> = serde_json::from_str(&kept);
                assert!(read.is_ok(), "{kept}");
            }
        }
        let text = kept(HookContent::Full, &json!("é".repeat(9_000)).to_string()).unwrap();
        assert!(text.len() <= KEPT && text.ends_with(CUT));
    }

    fn any_json(leaf: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::hash_map(".{0,8}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_secret_survives_in_json(
            (written, secret) in secret(),
            (key, other) in ("[a-z]{1,8}", any_json(".{0,20}".prop_map(Value::from))),
            nested in 0..3_u8,
        ) {
            let mut text = format!("run: {written} .");
            for _ in 0..nested {
                // JSON within the text of JSON.
                text = json!({"k": text}).to_string();
            }
            let value = json!({key: [other, {"content": text}]});
            let kept = redacted(&value);
            prop_assert!(!survives(&secret, &kept), "{value} {kept}");
            let prompt = RawValue::from_string(json!(text).to_string()).unwrap();
            let kept = HookContent::Redacted.prompt(Some(&prompt)).unwrap();
            prop_assert!(!survives(&secret, &kept), "{value} {kept}");
        }

        #[test]
        fn named_secrets_go_whatever_they_are(
            key in "(DB_|x-|)(password|api_key|clientSecret|token)",
            value in any_json("[a-z]{12}".prop_map(Value::from)),
        ) {
            let kept = redacted(&json!({"a": [{key: value}], "b": "stays"}));
            prop_assert!(kept.ends_with(r#":"[redacted]"}],"b":"stays"}"#), "{kept}");
        }

        #[test]
        fn any_json_is_kept_as_json_and_redacted_once(
            value in any_json(prop_oneof![
                ".{0,40}".prop_map(Value::from),
                secret().prop_map(|(written, _)| Value::from(written)),
                any::<i32>().prop_map(|n| Value::from(f64::from(n) / 4.0)),
                any::<i64>().prop_map(Value::from),
                any::<bool>().prop_map(Value::from),
            ]).prop_filter("text is kept as text", |value| !value.is_string() && !value.is_null()),
        ) {
            let once = redacted(&value);
            prop_assert!(once.len() <= KEPT);
            let read: Value = serde_json::from_str(&once).unwrap();
            if !once.contains(CUT) {
                let twice: Value = serde_json::from_str(&redacted(&read)).unwrap();
                prop_assert_eq!(twice, read);
            }
        }

        #[test]
        fn any_text_is_taken(text in any::<String>()) {
            let raw = json!(text).to_string();
            for mode in [HookContent::Redacted, HookContent::Full] {
                prop_assert!(kept(mode, &raw).unwrap().len() <= KEPT);
            }
        }
    }
}
