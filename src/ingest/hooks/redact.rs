//! Takes secrets, e-mail addresses and names of home directories out of text.
//!
//! What is known by its shape goes: keys and tokens of known services, JSON web tokens, private
//! keys in PEM (RFC 7468), credentials in URLs (RFC 3986, section 3.2.1) and in `Authorization`
//! and `Cookie` headers, values whose name says that they are secret, e-mail addresses. Home
//! directories become `~`. A secret that looks like nothing in particular and is named by nothing
//! stays. `otel-collector/agent.yaml` masks much the same: what is added here belongs there too.
//!
//! Patterns are matched in time that is linear in the text. They are applied until nothing
//! changes, so what was redacted once stays as it is.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// What stands in place of what was taken out.
pub(super) const MASK: &str = "[redacted]";
/// Longest text that is looked at, in bytes; of a longer one the rest is dropped.
pub(super) const LONGEST: usize = 64 * 1024;
/// Rounds after which a text that still changes goes as a whole.
const ROUNDS: usize = 8;

/// Names of secrets, wherever in a name they stand.
const ANYWHERE: &str = r"(?:password|passwd|passphrase|passcode|secret|credential|api[_.-]?key|(?:access|account|private|signing|encryption|master|shared)[_.-]?key)";
/// Names of secrets at the end of a name.
const AT_END: &str = r"(?:token|authorization|cookie|[_-]auth|[_-]pwd|[_-]pat)";
/// A value: in triple, double, single or escaped quotes, which need not end, or up to a delimiter.
const VALUE: &str = r#"(?:"""(?s:.*?)(?:"""|\z)|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|\\+"[^"]*"?|[^\s"'`,;&}<{\[\\][^\s"'`,;&}<]*|[{\[][^\s"'`,;&}<]+)"#;

enum With {
    Template(&'static str),
    Judged(fn(&Captures<'_>) -> String),
}

struct Rule {
    pattern: Regex,
    with: With,
}

struct Rules {
    rules: Vec<Rule>,
    key: Regex,
}

/// `None` if a pattern is wrong, which a test rules out: then every text goes as a whole.
static RULES: LazyLock<Option<Rules>> = LazyLock::new(|| rules().ok());

fn rules() -> Result<Rules, regex::Error> {
    use With::{Judged, Template};
    let name = format!(r"(?:{ANYWHERE}[A-Za-z0-9_.-]*|{AT_END})");
    let patterns: [(String, With); 15] = [
        // Private keys, also those that were cut off.
        (
            r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)".to_owned(),
            Template(MASK),
        ),
        // Headers, to the end of the line or of the quotes.
        (
            r#"(?i)((?:authorization|cookie|x-api-key)\\*["']?\s*[:=]\s*\\*["']?)[^\s\\"'][^\r\n\\"']*"#.to_owned(),
            Template("${1}[redacted]"),
        ),
        // Known beginnings that no word has.
        (
            r"(?:sk-(?:ant|proj|svcacct|admin|or)-|gh[oprsu]_|github_pat_|glpat-|gl(?:dt|rt|ft|soat|cbt|ptt)-|glsa_|glc_|dop_v1_|doo_v1_|dckr_pat_|shp(?:at|ca|pa|ss)_|lin_api_|whsec_|AGE-SECRET-KEY-|hv[sb]\.|ya29\.|GOCSPX-|PMAK-|rubygems_|tskey-|NRAK-|sntrys_|pypi-|xapp-|xox[abceoprs]-)[A-Za-z0-9_.=-]{10,}".to_owned(),
            Template(MASK),
        ),
        (
            r"(?:(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{30,}|(?:hf|npm|gsk|r8)_[A-Za-z0-9]{30,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,})".to_owned(),
            Template(MASK),
        ),
        // Known beginnings that words have too.
        (
            r"(?-u:\b)(?:(?:sk|pk|rk)(?:-|_(?:live|test)_)[A-Za-z0-9_-]{16,}|xai-[A-Za-z0-9]{20,}|pplx-[A-Za-z0-9]{20,}|[0-9]{8,10}:AA[A-Za-z0-9_-]{30,})".to_owned(),
            Template(MASK),
        ),
        // JSON web tokens, signed or encrypted (RFC 7519).
        (
            r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)*".to_owned(),
            Template(MASK),
        ),
        // URLs: user and password, a token as the user, hooks that need nothing else.
        (
            r#"(://)(?:[^\s/:@"'<>\\]*:[^\s/"'<>\\]*|[^\s/:@"'<>\\]{20,})@"#.to_owned(),
            Template("${1}[redacted]@"),
        ),
        (
            r#"(https://hooks\.slack\.com/(?:services|workflows|triggers)/|https://discord(?:app)?\.com/api/webhooks/)[^\s"'<>\\]+"#.to_owned(),
            Template("${1}[redacted]"),
        ),
        // Named values: password=…, "api_key": "…", \"token\": \"…\", <secret>…</secret>.
        (
            format!(r#"(?i)({name}(?:\\*["'`]?\s*(?:=>|:=|!?={{1,3}}|:)\s*|>))({VALUE})"#),
            Judged(value),
        ),
        (
            format!(r#"(?i)((?:^|[\s"'`(])--?[\w-]*{name}\s+)({VALUE})"#),
            Judged(value),
        ),
        (
            r"(?i)([?&](?:key|sig|signature|code|auth)=)[^\s&\x22'<>\\]+".to_owned(),
            Template("${1}[redacted]"),
        ),
        // `curl -u NAME:PASSWORD`; numbers are users of containers.
        (
            r"((?-u:\s)(?:-u|--user)[ =][\x22']?[^\s:\x22'\\]+:)([^\s\x22']*[^\s\d\x22'][^\s\x22']*)".to_owned(),
            Template("${1}[redacted]"),
        ),
        // RFC 6750, RFC 7617.
        (
            r"(?i)(?-u:\b)((?:bearer|basic|token)(?:\s+|%20))([A-Za-z0-9._~+/=-]{8,})".to_owned(),
            Judged(scheme),
        ),
        (
            r"([A-Za-z0-9._%+-]+)(?:@|%40)[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}".to_owned(),
            Judged(address),
        ),
        // Names of home directories, also in the names that Claude Code gives to projects.
        (
            r#"(?:/home|/Users)/[^\s/\\"'`<>|:;,(){}\[\]*?$&]+|(?i:[a-z]:(?:\\+|/)users(?:\\+|/)[^\s/\\"'`<>|:;,(){}\[\]*?$&%]+(?: [^\s/\\"'<>|:*?]+\\)?)|(?-u:/)-(?:home|Users)-[^\s/\\"'-]+"#.to_owned(),
            Judged(home),
        ),
    ];
    let rule = |(pattern, with): (String, With)| {
        Regex::new(&pattern).map(|pattern| Rule { pattern, with })
    };
    Ok(Rules {
        rules: patterns.into_iter().map(rule).collect::<Result<_, _>>()?,
        key: Regex::new(&format!(r"(?i){ANYWHERE}|(?:{AT_END}|^auth|^pwd)$"))?,
    })
}

/// Whether the value of this key is secret whatever it is.
pub(super) fn names_secret(key: &str) -> bool {
    RULES.as_ref().is_none_or(|rules| rules.key.is_match(key))
}

/// The text without what should not be kept.
pub(super) fn redact(text: &str) -> Cow<'_, str> {
    let text = bounded(text);
    let Some(Rules { rules, .. }) = &*RULES else {
        return Cow::Borrowed(MASK);
    };
    let mut now = Cow::Borrowed(text);
    for _ in 0..ROUNDS {
        let next = rules.iter().fold(None::<String>, |next, rule| {
            let before = next.as_deref().unwrap_or(&now);
            let after = match rule.with {
                With::Template(template) => rule.pattern.replace_all(before, template),
                With::Judged(judge) => rule.pattern.replace_all(before, judge),
            };
            match after {
                Cow::Owned(after) => Some(after),
                Cow::Borrowed(_) => next,
            }
        });
        match next {
            Some(next) if *next != *now => now = Cow::Owned(next),
            _ => return now,
        }
    }
    Cow::Borrowed(MASK)
}

/// The part of a text that is looked at. It ends between two words, as the beginning of a secret
/// is not known for one.
fn bounded(text: &str) -> &str {
    if text.len() <= LONGEST {
        return text;
    }
    let part = &text[..text.floor_char_boundary(LONGEST)];
    part.rfind(char::is_whitespace).map_or("", |at| &part[..at])
}

/// A named value; what is none, and other flags, stay.
fn value(found: &Captures<'_>) -> String {
    let (name, value) = (&found[1], &found[2]);
    let quotes = |c: char| matches!(c, '\\' | '"' | '\'');
    let open = &value[..value.len() - value.trim_start_matches(quotes).len()];
    // One that is nothing but quotes is empty.
    if open.len() == value.len() || none(value.trim_matches(quotes)) || other(name, value) {
        return found[0].to_owned();
    }
    let closed = value.len() > open.len() && !open.is_empty() && value.ends_with(open);
    format!("{name}{open}{MASK}{}", if closed { open } else { "" })
}

fn none(value: &str) -> bool {
    ["null", "none", "nil", "true", "false", "undefined"]
        .iter()
        .any(|none| value.eq_ignore_ascii_case(none))
}

/// What stands like a value and is none: the next flag, the rest of `token::Kind`.
fn other(name: &str, value: &str) -> bool {
    let named = name.trim_end().ends_with([':', '=', '>']);
    !named && value.starts_with("--") || name.ends_with(':') && value.starts_with(':')
}

/// What follows the name of a scheme; plain words are prose.
fn scheme(found: &Captures<'_>) -> String {
    let rest = found[2].get(1..).unwrap_or_default();
    let word = |b: u8| b.is_ascii_lowercase() || b"._/-".contains(&b);
    match rest.bytes().all(word) && rest.len() < 24 {
        true => found[0].to_owned(),
        false => format!("{}{MASK}", &found[1]),
    }
}

/// An e-mail address; `git@…` is a way to name repositories.
fn address(found: &Captures<'_>) -> String {
    match &found[1] {
        "git" => found[0].to_owned(),
        _ => MASK.to_owned(),
    }
}

fn home(found: &Captures<'_>) -> String {
    let path = &found[0];
    match (path.starts_with("/-"), path.ends_with('\\')) {
        (true, _) => "/-~".to_owned(),
        (_, true) => "~\\".to_owned(),
        _ => "~".to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_pattern_is_one() {
        assert!(rules().is_ok());
    }

    #[test]
    fn what_looks_like_a_secret_goes_and_what_is_around_it_stays() {
        for (given, expected) in [
            (
                "use sk-ant-api03-AAAABBBBCCCCDDDD now",
                "use [redacted] now",
            ),
            ("sk-proj-abcdefghijklmnop1234", "[redacted]"),
            ("xghp_0123456789abcdefghijABCDEFGHIJ012345", "x[redacted]"),
            ("key AKIAIOSFODNN7EXAMPLE.", "key [redacted]."),
            ("(AIzaSyA1234567890abcdefghijklmnopqrstu)", "([redacted])"),
            ("xoxb-123456789012-abcdefABCDEF", "[redacted]"),
            ("sk_live_abcdefghijklmnop1234", "[redacted]"),
            (
                "-H 'Authorization: Bearer abc'",
                "-H 'Authorization: [redacted]'",
            ),
            ("{\"Cookie\": \"a=b; c=d\"}", "{\"Cookie\": \"[redacted]\"}"),
            ("as bearer 0123456789abcdef", "as bearer [redacted]"),
            (
                "postgres://me:p@ss@db:5432/x",
                "postgres://[redacted]@db:5432/x",
            ),
            ("redis://:hunter2@r/0", "redis://[redacted]@r/0"),
            ("DB_PASSWORD=hunter2 make", "DB_PASSWORD=[redacted] make"),
            ("password: 'it is me', x", "password: '[redacted]', x"),
            (
                r#"{"api_key": "a\"b", "n": 1}"#,
                r#"{"api_key": "[redacted]", "n": 1}"#,
            ),
            (
                r#"\"client_secret\": \"ab cd\","#,
                r#"\"client_secret\": \"[redacted]\","#,
            ),
            (
                "<password>hunter2</password>",
                "<password>[redacted]</password>",
            ),
            ("x --api-key abc --y", "x --api-key [redacted] --y"),
            ("curl -u me:hunter2 h", "curl -u me:[redacted] h"),
            ("GET /x?a=1&sig=abc&b", "GET /x?a=1&sig=[redacted]&b"),
            ("to alice.b+c@mail.example.org.", "to [redacted]."),
            ("cat /home/alice/x /Users/bob", "cat ~/x ~"),
            (r"C:\Users\Jane Doe\x C:\\Users\\jd\\x", r"~\x ~\\x"),
            (
                "~/.claude/projects/-home-alice-x/a",
                "~/.claude/projects/-~-x/a",
            ),
            (
                "a\n-----BEGIN RSA PRIVATE KEY-----\nMII\nx=\n-----END RSA PRIVATE KEY-----\nb",
                "a\n[redacted]\nb",
            ),
            ("-----BEGIN PRIVATE KEY-----\\nMIIEvQ", "[redacted]"),
        ] {
            assert_eq!(redact(given), expected, "{given}");
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            "",
            "Fix the token counting in src/usage/tokens.rs: 1,200 tokens too many.",
            "max_tokens = 4096, \"total_tokens\": 12",
            "basic authentication and bearer tokens are described in RFC 6750",
            "git clone git@github.com:someone/thing.git",
            "docker run -u 1000:1000 -v /srv/x:/y image@sha256:0123",
            "a top-secret file and an api-key handling task",
            "password: null, secret=false, \"token\": \"\"",
            "Token::Ident(name) => parse(name)?,",
            "https://example.org:8080/a/b?page=2#c",
            "ls ~/project; cd /home; cat /homes/x",
            "task-management-and-risk-assessment",
            "ALTER TABLE t DROP CONSTRAINT pk_customer_order_items",
            "naïve 🚗 – „quoted“",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn keys_are_judged_by_what_they_name() {
        for key in [
            "password",
            "AWS_SECRET_ACCESS_KEY",
            "apiKey",
            "x-api-key",
            "auth_token",
        ] {
            assert!(names_secret(key), "{key}");
        }
        for key in [
            "max_tokens",
            "tokens",
            "author",
            "key",
            "public_key",
            "pattern",
            "content",
        ] {
            assert!(!names_secret(key), "{key}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_words_before_it_is_looked_at() {
        let text = format!("{} ghp_0123456789abcdefghij", "x ".repeat(LONGEST / 2 - 8));
        assert!(!redact(&text).contains("ghp"));
        assert_eq!(redact(&"y".repeat(LONGEST + 1)), "");
    }

    /// A secret as it is written, and the part of it that must not survive.
    pub(in crate::ingest::hooks) fn secret() -> impl Strategy<Value = (String, String)> {
        let whole = prop_oneof![
            "sk-ant-api03-[A-Za-z0-9_-]{40,90}",
            "sk-(proj-)?[A-Za-z0-9]{32,60}",
            "gh[opsru]_[A-Za-z0-9]{36}",
            "github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{40}",
            "glpat-[A-Za-z0-9_-]{20}",
            "(AKIA|ASIA)[A-Z0-9]{16}",
            "AIza[A-Za-z0-9_-]{35}",
            "ya29\\.[A-Za-z0-9_-]{40}",
            "xox[bp]-[0-9]{12}-[A-Za-z0-9]{24}",
            "(sk|rk)_(live|test)_[A-Za-z0-9]{24}",
            "(hf|npm)_[A-Za-z0-9]{36}",
            "SG\\.[A-Za-z0-9_-]{22}\\.[A-Za-z0-9_-]{43}",
            "eyJ[A-Za-z0-9_-]{20,60}\\.[A-Za-z0-9_-]{20,60}\\.[A-Za-z0-9_-]{20,60}",
            "-----BEGIN (RSA |EC |OPENSSH |)PRIVATE KEY-----\n([A-Za-z0-9+/]{40}\n){1,4}-----END PRIVATE KEY-----",
            "[a-z]{4,8}\\.[a-z0-9]{4,8}@[a-z]{4,8}\\.(com|org|io)",
        ]
        .prop_map(|secret| (secret.clone(), secret));
        let within = |before: &'static str, secret: &'static str, after: &'static str| {
            (before, secret, after).prop_map(|(b, s, a)| (format!("{b}{s}{a}"), s))
        };
        let name = "(DB_|my-|)(password|PASSWD|secret|api_key|apiKey|access-token|Client_Secret|aws_secret_access_key)";
        prop_oneof![
            4 => whole,
            1 => within("(Bearer|bearer|Basic) ", "[A-Za-z0-9+/]{19}[0-9]={0,2}", ""),
            1 => within("Authorization: (Bearer|Basic|token|Digest) ", "[A-Za-z0-9+/=]{8,40}", ""),
            1 => within("(postgres|https|amqp)://[a-z]{1,8}:", "[A-Za-z0-9!$%^*()_+.~@-]{10,20}", "@db.internal:5432/x"),
            2 => (name, "(=|: | = |:)", "[A-Za-z0-9!$%^*_+.~@/-]{9}[0-9]").prop_map(|(n, sep, s)| (format!("{n}{sep}{s}"), s)),
            1 => (name, "[A-Za-z0-9 ,;:!$%^*_+.~@/-]{9}[0-9]").prop_map(|(n, s)| (format!("\"{n}\": \"{s}\""), s)),
            1 => (name, "[A-Za-z0-9 ,;:!$%^*_+.~@/-]{9}[0-9]").prop_map(|(n, s)| (format!("\\\"{n}\\\":\\\"{s}\\\""), s)),
            1 => within("(/home/|/Users/)", "[a-z]{4}[a-z0-9_.-]{5}[0-9]", "(/x|)"),
            1 => within("(C:|d:)(\\\\|\\\\\\\\|/)[uU]sers(\\\\|\\\\\\\\|/)", "[a-z]{4}[a-z0-9_.-]{5}[0-9]", "(\\\\x|)"),
        ]
    }

    /// Any ten characters of it, or all of a shorter one.
    pub(in crate::ingest::hooks) fn survives(secret: &str, text: &str) -> bool {
        let secret: Vec<char> = secret.chars().collect();
        let mut parts = secret.windows(secret.len().min(10));
        parts.any(|part| text.contains(&part.iter().collect::<String>()))
    }

    proptest! {
        #[test]
        fn no_secret_survives(
            before in ".{0,30}",
            (written, secret) in secret(),
            after in ".{0,30}",
            (left, right) in ("[ \n(,;]", "[ \n),;]"),
        ) {
            let text = format!("{before}{left}{written}{right}{after}");
            let redacted = redact(&text);
            prop_assert!(!survives(&secret, &redacted), "{text:?} {redacted:?}");
        }

        #[test]
        fn redacted_twice_is_redacted_once(
            parts in proptest::collection::vec(
                prop_oneof![
                    secret().prop_map(|(written, _)| written),
                    ".{0,20}".boxed(),
                    "[\\[\\]{}\"'=:@/ .-]{0,6}".boxed(),
                    Just(MASK.to_owned()),
                    "(password|token|Bearer|/home/|://|secret|Cookie)[:= ]{0,2}".boxed(),
                ],
                0..12,
            ),
        ) {
            let once = redact(&parts.concat()).into_owned();
            prop_assert_eq!(redact(&once), once.as_str());
        }

        #[test]
        fn plain_words_stay(text in "([a-z]{1,10}|[0-9]{1,4}|[A-Z][a-z]{2,8})([ ,.!?\n]{1,2}([a-z]{1,10}|[0-9]{1,4}|[A-Z][a-z]{2,8})){0,20}") {
            prop_assert_eq!(redact(&text), text.as_str());
        }
    }
}
