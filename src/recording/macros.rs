//! The `signal!` macro.

/// Declares a signal: its descriptor, its typed recorder and its cell.
///
/// An **operation** has a beginning and an end:
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
/// tachograph::signal! {
///     /// One build of a project.
///     pub operation Build => BuildEnd = "ci.build" {
///         labels {
///             /// The project.
///             project: open(50),
///         }
///         outcome {
///             /// How it ended.
///             status: closed(BuildStatus),
///         }
///         context {
///             /// The commit that was built.
///             COMMIT = "commit",
///         }
///         metrics {
///             /// Builds that ended.
///             "ci.builds" = counter "{build}" count by [project, status] no_alert "an example";
///             /// Wall time of a build.
///             "ci.build.duration" = histogram "s" duration by [project]
///                 buckets (tachograph::catalog::JOB) no_alert "an example";
///             /// Builds under way.
///             "ci.build.active" = in_flight "{build}" active by [project] no_alert "an example";
///         }
///     }
/// }
/// let build = Build { project: "tachograph" }.start();
/// build.context(Build::COMMIT, "67ab5c1");
/// build.finish(BuildEnd { status: BuildStatus::Passed });
/// ```
///
/// A **measure** is a point, and has one metric:
///
/// ```
/// tachograph::signal! {
///     /// Things that were retried.
///     pub counter Retry = "ci.retry" => "ci.retries" "{retry}" {
///         labels {
///             /// Why.
///             reason: open(10),
///         }
///         no_alert "an example"
///     }
/// }
/// Retry { reason: "flaky" }.add(1);
/// ```
///
/// Label kinds: `closed(Enum)`, made by [`closed_label!`](crate::closed_label); `open(n)` and
/// `optional(n)`, text with a budget of `n` distinct values, the latter absent when empty. A
/// label's key is its field name unless `as "key"` follows it.
///
/// `timed_by_write true` before the braces of an operation: it is the writing of a record, and
/// takes, where nobody says how long, as long as the ledger needed to write it.
///
/// Context fields, of operations and measures alike, go to spans, logs and the ledger.
///
/// A metric of an operation is fed by `count`, `duration`, `ended`, `active`, `of(value)`, or
/// `rest(whole part …)`: the whole without those parts that are known.
///
/// Values of unit `1` lie between 0 and 1; `range (0.0, f64::INFINITY)` after the buckets says
/// otherwise, and so does the range of any other gauge or histogram. Thresholds of alerts must
/// lie within it, and what is reported outside is refused.
///
/// Measures: `counter` (`add`), `sum` (`add` of fractions), `gauge` (`set`, `remove`),
/// `distribution` (`record`, with `buckets`).
#[macro_export]
macro_rules! signal {
    (
        $(#[doc = $doc:literal])+
        $vis:vis operation $name:ident => $end:ident = $signal:literal
        $(span $span_kind:ident)? $(series $series:literal)? $(reportable $reportable:literal)?
        $(timed_by_write $written:literal)? {
            labels { $($(#[doc = $ldoc:literal])+ $l:ident $(as $lkey:literal)? : $lkind:ident ($larg:tt)),* $(,)? }
            outcome { $($(#[doc = $odoc:literal])+ $o:ident $(as $okey:literal)? : $okind:ident ($oarg:tt)),* $(,)? }
            $(values { $($(#[doc = $vdoc:literal])+ $v:ident $(as $vkey:literal)?),* $(,)? })?
            $(context { $($(#[doc = $cdoc:literal])+ $c:ident = $ckey:literal),* $(,)? })?
            metrics { $(
                $(#[doc = $mdoc:literal])+
                $metric:literal = $inst:ident $unit:literal $feed:ident $(($($fv:ident)+))? by [$($by:ident),* $(,)?]
                $(with $wk:literal = $wv:literal)? $(buckets ($buckets:expr))? $(range ($low:expr, $high:expr))? $(no_alert $na:literal)?;
            )+ }
            $(panels [ $($panel:expr),* $(,)? ])?
            $(alerts [ $($alert:expr),* $(,)? ])?
        }
    ) => {
        $crate::signal! { @struct
            [$(#[doc = $doc])+] $vis $name
            { $( [$(#[doc = $ldoc])+] $l $lkind ($larg) )* } {}
        }
        $crate::signal! { @struct
            [#[doc = concat!("The end of [`", stringify!($name), "`].")]] $vis $end
            { $( [$(#[doc = $odoc])+] $o $okind ($oarg) )* }
            { $($( [$(#[doc = $vdoc])+] $v )*)? }
        }

        const _: () = {
            const FIELDS: &[&str] = &[$(stringify!($l),)* $(stringify!($o),)*];
            #[allow(dead_code)]
            const VALUES: &[&str] = &[$($(stringify!($v),)*)?];
            const LABELS: &[$crate::catalog::Label] = &[
                $($crate::signal!(@label false [$($ldoc)+] ($crate::signal!(@key $l $($lkey)?)) $lkind ($larg)),)*
                $($crate::signal!(@label true [$($odoc)+] ($crate::signal!(@key $o $($okey)?)) $okind ($oarg)),)*
            ];
            const OPEN: usize = $crate::catalog::check::rank(LABELS, LABELS.len(), false);
            const SIGNAL: &$crate::catalog::Signal = &$crate::catalog::Signal {
                name: $signal,
                domain: $crate::catalog::check::domain(module_path!()),
                brief: concat!($($doc),+).trim_ascii(),
                kind: $crate::catalog::SignalKind::Operation,
                labels: LABELS,
                values: &[$($($crate::catalog::ValueField {
                    key: $crate::signal!(@key $v $($vkey)?),
                    brief: concat!($($vdoc),+).trim_ascii(),
                },)*)?],
                context: &[$($($crate::catalog::ContextField {
                    key: $ckey,
                    brief: concat!($($cdoc),+).trim_ascii(),
                },)*)?],
                metrics: &[$($crate::catalog::Metric {
                    name: $metric,
                    brief: concat!($($mdoc),+).trim_ascii(),
                    unit: $unit,
                    instrument: $crate::signal!(@instrument $inst),
                    feed: $crate::signal!(@feed $feed $(($($fv)+))?),
                    labels: &[$($crate::catalog::check::position(FIELDS, stringify!($by))),*],
                    constant: $crate::signal!(@option $(($wk, $wv))?),
                    bounds: $crate::signal!(@bounds $($buckets)?),
                    declared_range: $crate::signal!(@option $(($low, $high))?),
                    no_alert: $crate::signal!(@option $($na)?),
                },)+],
                panels: &[$($($panel),*)?],
                alerts: &[$($($alert),*)?],
                reportable: $crate::signal!(@or true $($reportable)?),
                timed_by_write: $crate::signal!(@or false $($written)?),
                span_kind: $crate::signal!(@span $($span_kind)?),
                series: $crate::signal!(@or 2000 $($series)?),
                source: (file!(), line!()),
            };
            const _: () = $crate::catalog::check::signal(SIGNAL);
            static CELL: $crate::recording::Cell<OPEN> = $crate::recording::Cell::new(SIGNAL);

            $crate::signal! { @impl $name { $($lkind)* } {
                /// The descriptor.
                pub const SIGNAL: &'static $crate::catalog::Signal = SIGNAL;
                $($(
                    #[doc = concat!("Context field:", $($cdoc),+)]
                    pub const $c: &'static str = $ckey;
                )*)?

                /// The recorder by which edges record what they learn at run time.
                #[must_use]
                pub const fn recorder() -> &'static dyn $crate::recording::Recorder {
                    &CELL
                }

                #[inline]
                fn start_key(&self) -> $crate::recording::Key<'_, OPEN> {
                    #[allow(unused_mut)]
                    let mut key = $crate::recording::Key { closed: 0, open: [""; OPEN] };
                    $($crate::signal!(@put key LABELS FIELDS $lkind $l self.$l);)*
                    key
                }

                /// Starts the operation: opens its span and counts it in flight.
                pub fn start(self) -> $crate::recording::Active<$crate::signal!(@ty 'static $name { $($lkind)* }), OPEN> {
                    let span = $crate::recording::private::tracing::span!(
                        target: "tachograph::signal",
                        $crate::recording::private::tracing::Level::INFO,
                        $signal,
                        otel.kind = SIGNAL.span_kind.as_str(),
                        otel.status_code = $crate::recording::private::tracing::field::Empty,
                        $({ $crate::signal!(@key $l $($lkey)?) } = $crate::signal!(@text $lkind self.$l),)*
                        $({ $crate::signal!(@key $o $($okey)?) } = $crate::recording::private::tracing::field::Empty,)*
                        $($({ $crate::signal!(@key $v $($vkey)?) } = $crate::recording::private::tracing::field::Empty,)*)?
                        $($({ $ckey } = $crate::recording::private::tracing::field::Empty,)*)?
                    );
                    $crate::recording::Active::begin(self.start_key(), span)
                }

                /// Starts the operation in a span of the caller's, which has the signal's fields:
                /// for adapters whose spans have a name or fields of their own.
                pub fn start_in(self, span: $crate::recording::private::tracing::Span) -> $crate::recording::Active<$crate::signal!(@ty 'static $name { $($lkind)* }), OPEN> {
                    $crate::recording::Active::begin(self.start_key(), span)
                }

                /// Records an operation that has ended already and took this long.
                #[inline]
                pub fn record(self, end: $crate::signal!(@ty '_ $end { $($okind)* }), duration: ::core::time::Duration) {
                    let key = <$crate::signal!(@ty 'static $name { $($lkind)* }) as $crate::recording::OperationSpec<OPEN>>::end_key(self.start_key(), &end);
                    CELL.end(
                        key,
                        duration,
                        &<$crate::signal!(@ty 'static $name { $($lkind)* }) as $crate::recording::OperationSpec<OPEN>>::end_values(&end),
                    );
                }

                /// The handle of these labels, for a caller that records them often; `None`
                /// until a pipeline is installed.
                #[inline]
                #[must_use]
                pub fn handle(&self, end: &$crate::signal!(@ty '_ $end { $($okind)* })) -> Option<$crate::recording::Handle> {
                    CELL.handle(<$crate::signal!(@ty 'static $name { $($lkind)* }) as $crate::recording::OperationSpec<OPEN>>::end_key(self.start_key(), end))
                }

                /// The handle with which operations of these labels are counted in flight.
                #[inline]
                #[must_use]
                pub fn start_handle(&self) -> Option<$crate::recording::Handle> {
                    CELL.start_handle(self.start_key())
                }
            } }

            impl $crate::recording::OperationSpec<OPEN> for $crate::signal!(@ty 'static $name { $($lkind)* }) {
                const SIGNAL: &'static $crate::catalog::Signal = SIGNAL;
                type End<'e> = $crate::signal!(@ty 'e $end { $($okind)* });
                type Values = [Option<f64>; VALUES.len()];

                fn cell() -> &'static $crate::recording::Cell<OPEN> {
                    &CELL
                }

                #[inline]
                #[allow(unused_mut, unused_variables)]
                fn end_key<'k>(
                    started: $crate::recording::Key<'k, OPEN>,
                    end: &Self::End<'k>,
                ) -> $crate::recording::Key<'k, OPEN> {
                    let mut key = started;
                    $($crate::signal!(@put key LABELS FIELDS $okind $o end.$o);)*
                    key
                }

                #[inline]
                #[allow(unused_variables)]
                fn end_values(end: &Self::End<'_>) -> Self::Values {
                    [$($(end.$v),*)?]
                }

                #[allow(unused_mut, unused_variables)]
                fn describe(span: &$crate::recording::private::tracing::Span, end: &Self::End<'_>, seconds: f64) {
                    let mut failed = false;
                    $(
                        let text = $crate::signal!(@text $okind end.$o);
                        span.record($crate::signal!(@key $o $($okey)?), text);
                        failed |= $crate::signal!(@failed $okind ($crate::signal!(@key $o $($okey)?)) ($oarg) end.$o);
                    )*
                    $($(span.record($crate::signal!(@key $v $($vkey)?), end.$v);)*)?
                    if failed {
                        span.record("otel.status_code", "ERROR");
                    }
                    $crate::recording::private::tracing::event!(
                        target: "tachograph::signal",
                        parent: span,
                        $crate::recording::private::tracing::Level::INFO,
                        $({ $crate::signal!(@key $o $($okey)?) } = $crate::signal!(@text $okind end.$o),)*
                        $($({ $crate::signal!(@key $v $($vkey)?) } = end.$v,)*)?
                        duration = seconds,
                        concat!($signal, " ended")
                    );
                }

                fn describe_abandoned(span: &$crate::recording::private::tracing::Span, seconds: f64) {
                    $(span.record($crate::signal!(@key $o $($okey)?), {
                        const LABEL: &$crate::catalog::Label =
                            &LABELS[$crate::catalog::check::position(FIELDS, stringify!($o)) as usize];
                        const { LABEL.abandoned() }
                    });)*
                    span.record("otel.status_code", "ERROR");
                    $crate::recording::private::tracing::event!(
                        target: "tachograph::signal",
                        parent: span,
                        $crate::recording::private::tracing::Level::WARN,
                        duration = seconds,
                        concat!($signal, " abandoned")
                    );
                }
            }
        };
    };

    (
        $(#[doc = $doc:literal])+
        $vis:vis $kind:ident $name:ident = $signal:literal => $metric:literal $unit:literal
        $(series $series:literal)? $(reportable $reportable:literal)? {
            labels { $($(#[doc = $ldoc:literal])+ $l:ident $(as $lkey:literal)? : $lkind:ident ($larg:tt)),* $(,)? }
            $(context { $($(#[doc = $cdoc:literal])+ $c:ident = $ckey:literal),* $(,)? })?
            $(buckets ($buckets:expr))?
            $(range ($low:expr, $high:expr))?
            $(panels [ $($panel:expr),* $(,)? ])?
            $(alerts [ $($alert:expr),* $(,)? ])?
            $(no_alert $na:literal)?
        }
    ) => {
        $crate::signal! { @struct
            [$(#[doc = $doc])+] $vis $name
            { $( [$(#[doc = $ldoc])+] $l $lkind ($larg) )* } {}
        }

        const _: () = {
            #[allow(dead_code)]
            const FIELDS: &[&str] = &[$(stringify!($l),)*];
            const LABELS: &[$crate::catalog::Label] = &[
                $($crate::signal!(@label false [$($ldoc)+] ($crate::signal!(@key $l $($lkey)?)) $lkind ($larg)),)*
            ];
            const OPEN: usize = $crate::catalog::check::rank(LABELS, LABELS.len(), false);
            const SIGNAL: &$crate::catalog::Signal = &$crate::catalog::Signal {
                name: $signal,
                domain: $crate::catalog::check::domain(module_path!()),
                brief: concat!($($doc),+).trim_ascii(),
                kind: $crate::catalog::SignalKind::Measure,
                labels: LABELS,
                values: &[$crate::catalog::ValueField { key: "value", brief: "The amount or the value." }],
                context: &[$($($crate::catalog::ContextField {
                    key: $ckey,
                    brief: concat!($($cdoc),+).trim_ascii(),
                },)*)?],
                metrics: &[$crate::catalog::Metric {
                    name: $metric,
                    brief: concat!($($doc),+).trim_ascii(),
                    unit: $unit,
                    instrument: $crate::signal!(@measure_instrument $kind),
                    feed: $crate::signal!(@measure_feed $kind),
                    labels: &[$($crate::catalog::check::position(FIELDS, stringify!($l))),*],
                    constant: None,
                    bounds: $crate::signal!(@bounds $($buckets)?),
                    declared_range: $crate::signal!(@option $(($low, $high))?),
                    no_alert: $crate::signal!(@option $($na)?),
                }],
                panels: &[$($($panel),*)?],
                alerts: &[$($($alert),*)?],
                reportable: $crate::signal!(@or true $($reportable)?),
                timed_by_write: false,
                span_kind: $crate::catalog::SpanKind::Internal,
                series: $crate::signal!(@or 2000 $($series)?),
                source: (file!(), line!()),
            };
            const _: () = $crate::catalog::check::signal(SIGNAL);
            static CELL: $crate::recording::Cell<OPEN> = $crate::recording::Cell::new(SIGNAL);

            $crate::signal! { @impl $name { $($lkind)* } {
                /// The descriptor.
                pub const SIGNAL: &'static $crate::catalog::Signal = SIGNAL;
                $($(
                    #[doc = concat!("Context field:", $($cdoc),+)]
                    pub const $c: &'static str = $ckey;
                )*)?

                /// The recorder by which edges record what they learn at run time.
                #[must_use]
                pub const fn recorder() -> &'static dyn $crate::recording::Recorder {
                    &CELL
                }

                #[inline]
                fn key(&self) -> $crate::recording::Key<'_, OPEN> {
                    #[allow(unused_mut)]
                    let mut key = $crate::recording::Key { closed: 0, open: [""; OPEN] };
                    $($crate::signal!(@put key LABELS FIELDS $lkind $l self.$l);)*
                    key
                }

                /// The handle of these labels, for a caller that records them often; `None`
                /// until a pipeline is installed.
                #[inline]
                #[must_use]
                pub fn handle(&self) -> Option<$crate::recording::Handle> {
                    CELL.handle(self.key())
                }
            } }
            $crate::signal! { @methods $kind $name { $($lkind)* } CELL }
        };
    };

    (@methods counter $name:ident { $($k:ident)* } $cell:ident) => {
        $crate::signal! { @impl $name { $($k)* } {
            /// Adds to the counter.
            #[inline]
            pub fn add(self, amount: u64) {
                $cell.count(self.key(), amount);
            }
        } }
    };
    (@methods sum $name:ident { $($k:ident)* } $cell:ident) => {
        $crate::signal! { @impl $name { $($k)* } {
            /// Adds to the sum; amounts that are negative or not finite are ignored.
            #[inline]
            pub fn add(self, amount: f64) {
                $cell.measure(self.key(), amount);
            }
        } }
    };
    (@methods gauge $name:ident { $($k:ident)* } $cell:ident) => {
        $crate::signal! { @impl $name { $($k)* } {
            /// Sets the gauge.
            #[inline]
            pub fn set(self, value: f64) {
                $cell.measure(self.key(), value);
            }

            /// Sets the gauge with free attributes beside its labels, at most 64.
            pub fn set_with(self, attributes: &[(String, String)], value: f64) {
                $cell.set_with(self.key(), attributes, value);
            }

            /// Takes the series off the page.
            pub fn remove(self) {
                $cell.remove(self.key());
            }
        } }
    };
    (@methods distribution $name:ident { $($k:ident)* } $cell:ident) => {
        $crate::signal! { @impl $name { $($k)* } {
            /// Records a value; one that is not finite is ignored.
            #[inline]
            pub fn record(self, value: f64) {
                $cell.measure(self.key(), value);
            }
        } }
    };

    (@measure_instrument counter) => { $crate::catalog::Instrument::Counter };
    (@measure_instrument sum) => { $crate::catalog::Instrument::FloatCounter };
    (@measure_instrument gauge) => { $crate::catalog::Instrument::Gauge };
    (@measure_instrument distribution) => { $crate::catalog::Instrument::Histogram };
    (@measure_feed counter) => { $crate::catalog::Feed::Count };
    (@measure_feed $kind:ident) => { $crate::catalog::Feed::Value(0) };

    (@instrument counter) => { $crate::catalog::Instrument::Counter };
    (@instrument sum) => { $crate::catalog::Instrument::FloatCounter };
    (@instrument histogram) => { $crate::catalog::Instrument::Histogram };
    (@instrument in_flight) => { $crate::catalog::Instrument::InFlight };
    (@instrument gauge) => { $crate::catalog::Instrument::Gauge };

    (@feed count) => { $crate::catalog::Feed::Count };
    (@feed duration) => { $crate::catalog::Feed::Duration };
    (@feed ended) => { $crate::catalog::Feed::Ended };
    (@feed active) => { $crate::catalog::Feed::Active };
    (@feed of ($field:ident)) => {
        $crate::catalog::Feed::Value($crate::catalog::check::position(VALUES, stringify!($field)))
    };
    (@feed rest ($whole:ident $($part:ident)+)) => {
        $crate::catalog::Feed::Rest(
            $crate::catalog::check::position(VALUES, stringify!($whole)),
            &[$($crate::catalog::check::position(VALUES, stringify!($part))),+],
        )
    };

    (@span) => { $crate::catalog::SpanKind::Internal };
    (@span internal) => { $crate::catalog::SpanKind::Internal };
    (@span server) => { $crate::catalog::SpanKind::Server };
    (@span client) => { $crate::catalog::SpanKind::Client };
    (@span consumer) => { $crate::catalog::SpanKind::Consumer };
    (@span producer) => { $crate::catalog::SpanKind::Producer };

    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };

    (@option) => { None };
    (@option $value:expr) => { Some($value) };
    (@or $default:expr) => { $default };
    (@or $default:expr, ) => { $default };
    (@or $default:literal $value:literal) => { $value };
    (@bounds) => { &[] };
    (@bounds $bounds:expr) => { $bounds };

    (@label $outcome:literal [$($doc:literal)+] ($key:expr) closed ($ty:ty)) => {
        $crate::catalog::Label {
            key: $key,
            brief: concat!($($doc),+).trim_ascii(),
            kind: $crate::catalog::LabelKind::Closed {
                values: <$ty as $crate::catalog::ClosedLabel>::VALUES,
                errors: <$ty as $crate::catalog::ClosedLabel>::ERRORS,
                abandoned: <$ty as $crate::catalog::ClosedLabel>::ABANDONED,
            },
            outcome: $outcome,
        }
    };
    (@label $outcome:literal [$($doc:literal)+] ($key:expr) open ($budget:expr)) => {
        $crate::signal!(@open_label $outcome [$($doc)+] ($key) ($budget) false)
    };
    (@label $outcome:literal [$($doc:literal)+] ($key:expr) optional ($budget:expr)) => {
        $crate::signal!(@open_label $outcome [$($doc)+] ($key) ($budget) true)
    };
    (@open_label $outcome:literal [$($doc:literal)+] ($key:expr) ($budget:expr) $optional:literal) => {
        $crate::catalog::Label {
            key: $key,
            brief: concat!($($doc),+).trim_ascii(),
            kind: $crate::catalog::LabelKind::Open { budget: $budget, optional: $optional },
            outcome: $outcome,
        }
    };

    (@put $keyvar:ident $labels:ident $fields:ident closed $field:ident $($value:tt)+) => {{
        const SHIFT: u32 = $crate::catalog::check::shift(
            $labels,
            $crate::catalog::check::position($fields, stringify!($field)) as usize,
        );
        $keyvar.closed |= ($crate::catalog::ClosedLabel::index($($value)+) as u64) << SHIFT;
    }};
    (@put $keyvar:ident $labels:ident $fields:ident $kind:ident $field:ident $($value:tt)+) => {{
        const RANK: usize = $crate::catalog::check::rank(
            $labels,
            $crate::catalog::check::position($fields, stringify!($field)) as usize,
            false,
        );
        $keyvar.open[RANK] = $($value)+;
    }};

    (@text closed $($value:tt)+) => { $crate::catalog::ClosedLabel::as_str($($value)+) };
    (@text $kind:ident $($value:tt)+) => {{
        let text: &str = $($value)+;
        (!text.is_empty()).then_some(text)
    }};

    (@failed closed ($key:expr) ($ty:ty) $($value:tt)+) => {
        <$ty as $crate::catalog::ClosedLabel>::ERRORS
            .contains(&$crate::catalog::ClosedLabel::as_str($($value)+))
    };
    (@failed $kind:ident ($key:expr) ($budget:expr) $($value:tt)+) => {
        $key == "error.type" && !$($value)+.is_empty()
    };

    // A struct of labels: with a lifetime only if one of them is text.
    (@struct [$($meta:tt)*] $vis:vis $name:ident
        { $( [$($lmeta:tt)*] $l:ident closed ($t:ty) )* } { $( [$($vmeta:tt)*] $v:ident )* }
    ) => {
        $($meta)*
        #[derive(Clone, Copy, Debug)]
        $vis struct $name {
            $( $($lmeta)* pub $l: $t, )*
            $( $($vmeta)* pub $v: Option<f64>, )*
        }
    };
    (@struct [$($meta:tt)*] $vis:vis $name:ident
        { $( [$($lmeta:tt)*] $l:ident $k:ident ($t:tt) )* } { $( [$($vmeta:tt)*] $v:ident )* }
    ) => {
        $($meta)*
        #[derive(Clone, Copy, Debug)]
        $vis struct $name<'a> {
            $( $($lmeta)* pub $l: $crate::signal!(@field 'a $k ($t)), )*
            $( $($vmeta)* pub $v: Option<f64>, )*
        }
    };
    (@field $a:lifetime closed ($t:ty)) => { $t };
    (@field $a:lifetime $k:ident ($t:tt)) => { &$a str };

    (@ty $a:lifetime $name:ident { $(closed)* }) => { $name };
    (@ty $a:lifetime $name:ident { $($k:ident)* }) => { $name<$a> };

    (@impl $name:ident { $(closed)* } { $($body:tt)* }) => { impl $name { $($body)* } };
    (@impl $name:ident { $($k:ident)* } { $($body:tt)* }) => { impl $name<'_> { $($body)* } };
}

/// Declares a list of signals and holds their names against each other at compile time.
///
/// ```
/// tachograph::signal! {
///     /// Things that were retried.
///     pub counter Retry = "ci.retry" => "ci.retries" "{retry}" {
///         labels {}
///         no_alert "an example"
///     }
/// }
/// tachograph::catalog! {
///     /// The signals of this application.
///     pub SIGNALS = [Retry];
/// }
/// assert_eq!(SIGNALS[0].signal().name, "ci.retry");
/// ```
#[macro_export]
macro_rules! catalog {
    ($(#[$meta:meta])* $vis:vis $name:ident = [$($signal:ty),* $(,)?];) => {
        $(#[$meta])*
        #[allow(elided_lifetimes_in_paths)]
        $vis static $name: &[&'static dyn $crate::recording::Recorder] =
            &[$(<$signal>::recorder()),*];
        #[allow(elided_lifetimes_in_paths)]
        const _: () = $crate::catalog::check::unique(&[$(<$signal>::SIGNAL),*]);
    };
}
