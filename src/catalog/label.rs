//! Labels: closed sets and open sets with a budget.

/// The value that open labels fold into once their budget is spent.
pub const OTHER: &str = "other";

/// The value of `error.type` for an operation whose caller went away before its end. That is
/// the caller's doing, as a status from 400 to 499 is, and no failure.
pub const CLIENT_DISCONNECT: &str = "client_disconnect";

/// A label of a signal.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// OpenTelemetry attribute name.
    pub key: &'static str,
    /// Meaning.
    pub brief: &'static str,
    /// Which values it takes.
    pub kind: LabelKind,
    /// Whether the value is known only when an operation ends.
    pub outcome: bool,
}

/// Which values a label takes.
#[derive(Clone, Copy, Debug)]
pub enum LabelKind {
    /// One of a fixed list.
    Closed {
        /// Every value, in order of declaration.
        values: &'static [&'static str],
        /// Those that mean failure.
        errors: &'static [&'static str],
        /// Position of the value that stands for an end nobody reported.
        abandoned: Option<u8>,
    },
    /// Any text; past the budget values fold into [`OTHER`]. The empty text means that the
    /// label is absent.
    Open {
        /// Distinct values kept at most.
        budget: u32,
        /// Whether it may be absent.
        optional: bool,
    },
}

impl Label {
    /// Number of values the label can take, [`OTHER`] included.
    #[must_use]
    pub const fn cardinality(&self) -> usize {
        match self.kind {
            LabelKind::Closed { values, .. } => values.len(),
            LabelKind::Open { budget, .. } => budget as usize + 1,
        }
    }

    /// The value an outcome label takes when nobody reported the end; empty: absent.
    #[must_use]
    pub const fn abandoned(&self) -> &'static str {
        match self.kind {
            LabelKind::Closed {
                values,
                abandoned: Some(position),
                ..
            } => values[position as usize],
            LabelKind::Open { .. } if super::check::same(self.key, "error.type") => "abandoned",
            LabelKind::Closed { .. } | LabelKind::Open { .. } => "",
        }
    }

    /// Whether the values are a fixed list.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.kind, LabelKind::Closed { .. })
    }
}

/// A label whose values are a fixed list, as an enum. Made by
/// [`closed_label!`](crate::closed_label).
pub trait ClosedLabel: Copy + 'static {
    /// Every value, in order of declaration.
    const VALUES: &'static [&'static str];
    /// The values that mean failure.
    const ERRORS: &'static [&'static str];
    /// Position of the value that stands for an end nobody reported.
    const ABANDONED: Option<u8>;

    /// Position in [`VALUES`](Self::VALUES).
    fn index(self) -> u8;

    /// The label's value.
    fn as_str(self) -> &'static str {
        Self::VALUES[self.index() as usize]
    }
}

/// Declares an enum whose values are those of a closed label.
///
/// `error` marks values that mean failure; `abandoned` the one that stands for an operation
/// that was dropped before anybody reported its end.
///
/// ```
/// tachograph::closed_label! {
///     /// How a build ended.
///     pub enum BuildStatus {
///         /// It passed.
///         Passed = "passed",
///         /// It did not.
///         Failed = "failed" error,
///         /// Nobody waited for its end.
///         Abandoned = "abandoned" abandoned,
///     }
/// }
/// use tachograph::catalog::ClosedLabel;
/// assert_eq!(BuildStatus::Failed.as_str(), "failed");
/// assert_eq!(BuildStatus::ERRORS, ["failed"]);
/// ```
#[macro_export]
macro_rules! closed_label {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $( $(#[$vmeta:meta])* $variant:ident = $value:literal $($mark:ident)? ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        $vis enum $name { $( $(#[$vmeta])* $variant ),+ }

        impl $crate::catalog::ClosedLabel for $name {
            const VALUES: &'static [&'static str] = &[$($value),+];
            const ERRORS: &'static [&'static str] = {
                const MARKED: &[(&str, bool)] = &[$(($value, $crate::closed_label!(@error $($mark)?))),+];
                const N: usize = $crate::catalog::check::marked_count(MARKED);
                &$crate::catalog::check::marked::<N>(MARKED)
            };
            const ABANDONED: Option<u8> = $crate::catalog::check::marked_index(
                &[$($crate::closed_label!(@abandoned $($mark)?)),+],
            );
            #[inline]
            fn index(self) -> u8 { self as u8 }
        }

        impl $name {
            /// The variant of a value, if there is one.
            #[must_use]
            #[allow(dead_code)]
            $vis fn parse(value: &str) -> Option<Self> {
                match value { $($value => Some(Self::$variant),)+ _ => None }
            }
        }
    };
    (@error) => { false };
    (@error error) => { true };
    (@error abandoned) => { false };
    (@abandoned) => { false };
    (@abandoned error) => { false };
    (@abandoned abandoned) => { true };
}
