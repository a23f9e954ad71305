//! The event that nearly all of a stream of chat completions are: one more piece of the answer,
//! which says nothing else that is new. It is told apart without building up what it says.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A piece, as far as it is looked at. What has no place here says nothing.
#[derive(Deserialize)]
struct Piece<'p> {
    id: Option<&'p str>,
    model: Option<&'p str>,
    #[serde(default)]
    choices: Vec<Object<Choice>>,
    usage: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
    x_groq: Option<IgnoredAny>,
    response: Option<IgnoredAny>,
    r#type: Option<IgnoredAny>,
    #[serde(rename = "promptFeedback")]
    prompt_feedback: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice {
    finish_reason: Option<IgnoredAny>,
    #[serde(default)]
    delta: Delta,
    #[serde(default)]
    text: There,
}

/// Members of a choice's `delta` that are pieces of the answer.
pub(super) const SAID: [&str; 7] = [
    "content",
    "tool_calls",
    "reasoning_content",
    "reasoning",
    "refusal",
    "function_call",
    "audio",
];

/// Whether a choice's `delta` has a piece of the answer.
#[derive(Default)]
struct Delta(bool);

impl<'de> Deserialize<'de> for Delta {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Delta;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Delta, A::Error> {
                let mut said = [false; SAID.len()];
                while let Some(name) = members.next_key::<&str>()? {
                    match SAID.iter().position(|known| *known == name) {
                        // Of two with one name the last holds.
                        Some(at) => said[at] = members.next_value::<There>()?.0,
                        None => drop(members.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Delta(said.contains(&true)))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// An object, where serde would take an array of its members too.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Object)
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// Whether there is something: not null, not false, not empty.
#[derive(Clone, Copy, Default)]
struct There(bool);

impl<'de> Deserialize<'de> for There {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Looking)
    }
}

struct Looking;

impl<'de> Visitor<'de> for Looking {
    type Value = There;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<There, E> {
        Ok(There(false))
    }

    fn visit_bool<E>(self, value: bool) -> Result<There, E> {
        Ok(There(value))
    }

    fn visit_u64<E>(self, _: u64) -> Result<There, E> {
        Ok(There(true))
    }

    fn visit_i64<E>(self, _: i64) -> Result<There, E> {
        Ok(There(true))
    }

    fn visit_f64<E>(self, _: f64) -> Result<There, E> {
        Ok(There(true))
    }

    fn visit_str<E>(self, text: &str) -> Result<There, E> {
        Ok(There(!text.is_empty()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<There, A::Error> {
        let mut any = false;
        while elements.next_element::<IgnoredAny>()?.is_some() {
            any = true;
        }
        Ok(There(any))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<There, A::Error> {
        let mut any = false;
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            any = true;
        }
        Ok(There(any))
    }
}

/// Whether an event is one more piece of the answer whose id and model are `known`, and if so,
/// whether the model put something out in it. `None`: it has to be read.
pub(super) fn piece(data: &[u8], known: impl Fn(&str, &str) -> bool) -> Option<bool> {
    let Object(piece): Object<Piece<'_>> = serde_json::from_slice(data).ok()?;
    let says_more = [
        piece.usage,
        piece.error,
        piece.x_groq,
        piece.response,
        piece.r#type,
        piece.prompt_feedback,
    ];
    let names = [("id", piece.id), ("model", piece.model)];
    let new = |(name, value): (&str, Option<&str>)| value.is_some_and(|value| !known(name, value));
    let ends = |Object(choice): &Object<Choice>| choice.finish_reason.is_some();
    if says_more.iter().any(Option::is_some)
        || names.into_iter().any(new)
        || piece.choices.iter().any(ends)
    {
        return None;
    }
    let said = |Object(choice): &Object<Choice>| choice.delta.0 || choice.text.0;
    Some(piece.choices.iter().any(said))
}
