//! Members of a usage object, with their paths.

use serde_json::Value;

use super::UsageError;

/// Most tokens that a count may say: no request comes near, and sums of it fit.
const MOST: u64 = 1_000_000_000_000;

/// An object and where it stands.
pub(super) struct Fields {
    path: String,
    object: Value,
}

impl Fields {
    pub(super) fn of(path: &str, object: &Value) -> Result<Self, UsageError> {
        if !object.is_object() {
            return Err(UsageError {
                field: path.to_owned(),
                reason: "accepted is an object".to_owned(),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            object: object.clone(),
        })
    }

    /// The path of a member.
    fn path_of(&self, name: &str) -> String {
        match &*self.path {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        }
    }

    pub(super) fn refuse<T>(&self, name: &str, reason: impl Into<String>) -> Result<T, UsageError> {
        Err(UsageError {
            field: self.path_of(name),
            reason: reason.into(),
        })
    }

    /// A count; `None` if it is absent or null.
    pub(super) fn count(&self, name: &str) -> Result<Option<u64>, UsageError> {
        match self.object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(count) if count <= MOST => Ok(Some(count)),
                _ => self.refuse(name, "accepted are whole numbers of tokens from 0 to 10^12"),
            },
        }
    }

    /// A member that is an object itself; `None` if it is absent or null.
    pub(super) fn inner(&self, name: &str) -> Result<Option<Self>, UsageError> {
        match self.object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => Self::of(&self.path_of(name), value).map(Some),
        }
    }

    /// The elements of an array member; none if it is absent or null.
    pub(super) fn elements(&self, name: &str) -> Result<Vec<Self>, UsageError> {
        match self.object.get(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(elements)) => elements
                .iter()
                .enumerate()
                .map(|(at, element)| Self::of(&format!("{}[{at}]", self.path_of(name)), element))
                .collect(),
            Some(_) => self.refuse(name, "accepted is an array"),
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.object.get(name).and_then(Value::as_str)
    }

    /// Refuses an object with none of these counts.
    pub(super) fn one_of(&self, names: &[&str]) -> Result<(), UsageError> {
        for name in names {
            if self.count(name)?.is_some() {
                return Ok(());
            }
        }
        let reason = format!("without any count; expected {}", names.join(" or "));
        Err(UsageError {
            field: self.path.clone(),
            reason,
        })
    }

    /// A whole without a part of it, which must not be more.
    pub(super) fn without(
        &self,
        whole: Option<u64>,
        part: Option<u64>,
        (whole_name, part_name): (&str, &str),
    ) -> Result<Option<u64>, UsageError> {
        match (whole, part) {
            (Some(whole), Some(part)) => match whole.checked_sub(part) {
                Some(rest) => Ok(Some(rest)),
                None => self.refuse(
                    part_name,
                    format!("{part} is more than the {whole} of {whole_name}, which it is part of"),
                ),
            },
            (whole, _) => Ok(whole),
        }
    }
}
