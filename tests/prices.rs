//! The table of prices: what is shipped, what a file says, exact costs, and the command.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use jiff::Timestamp;
use proptest::prelude::*;
use tachograph::prices::{self, Prices, Unpriced, check};
use tachograph::usage::Usage;

fn at(day: &str) -> Timestamp {
    format!("{day}T12:00:00Z").parse().unwrap()
}

fn usage(input: u64, output: u64) -> Usage {
    Usage {
        input: Some(input),
        output: Some(output),
        ..Usage::default()
    }
}

/// Micro-dollars in pico-dollars.
const fn micros(micros: u128) -> u128 {
    micros * 1_000_000
}

/// A file of one row with these lines.
fn file(lines: &str) -> String {
    format!(
        "as_of = 2026-01-01\nsource = \"a contract\"\n[[price]]\nprovider = \"p\"\nmodel = \"mm\"\nfrom = 2026-01-01\n{lines}"
    )
}

fn own(lines: &str) -> Prices {
    Prices::with_file("own.toml", &file(lines)).unwrap()
}

#[test]
fn what_is_shipped_is_right() {
    assert_eq!(prices::check_shipped(), []);
    let prices = Prices::shipped();
    assert!(prices.rows().count() > 50);
    assert!(
        prices
            .rows()
            .all(|row| !row.source.is_empty() && row.context_window.is_some())
    );
    let (day, hash) = prices.version().split_once('+').unwrap();
    assert_eq!((day.len(), hash.len()), (10, 12));
    for (provider, model, day, input, output) in [
        (
            "anthropic",
            "claude-sonnet-4-5-20250929",
            "2025-10-01",
            3_000_000,
            15_000_000,
        ),
        (
            "anthropic",
            "claude-opus-4-1",
            "2025-10-01",
            15_000_000,
            75_000_000,
        ),
        (
            "anthropic",
            "claude-opus-5-5",
            "2026-10-01",
            4_000_000,
            20_000_000,
        ),
        (
            "anthropic",
            "claude-sonnet-5",
            "2026-11-01",
            2_000_000,
            10_000_000,
        ),
        ("openai", "gpt-5.2", "2026-01-01", 1_750_000, 14_000_000),
        ("openai", "gpt-4o-mini", "2025-01-01", 150_000, 600_000),
        ("openai", "o3", "2025-05-01", 10_000_000, 40_000_000),
        (
            "openai",
            "o3-2025-04-16",
            "2025-06-10",
            2_000_000,
            8_000_000,
        ),
        (
            "gcp.vertex_ai",
            "gemini-2.5-flash",
            "2025-12-01",
            300_000,
            2_500_000,
        ),
        (
            "aws.bedrock",
            "eu.amazon.nova-micro-v1:0",
            "2025-01-01",
            35_000,
            140_000,
        ),
        ("deepseek", "deepseek-chat", "2025-10-01", 280_000, 420_000),
        (
            "mistral_ai",
            "mistral-large-2411",
            "2025-01-01",
            2_000_000,
            6_000_000,
        ),
    ] {
        let row = prices.find(provider, model, at(day)).unwrap();
        assert_eq!(
            (row.rates.input, row.rates.output),
            (Some(input), Some(output)),
            "{model}"
        );
    }
    // A model that is like another, a day before the first, another provider: unknown.
    for (provider, model, day) in [
        ("openai", "gpt-4o-ultra", "2025-12-01"),
        ("anthropic", "claude-opus-5", "2026-07-23"),
        ("anthropic", "claude-opus-4-6", "2026-08-31"),
        ("openai", "gpt-5", "2025-08-06"),
        ("azure.ai.openai", "gpt-4o", "2025-12-01"),
        (
            "aws.bedrock",
            "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "2025-12-01",
        ),
    ] {
        assert!(prices.find(provider, model, at(day)).is_none(), "{model}");
    }
}

#[test]
fn a_request_costs_what_its_bill_says() {
    let prices = Prices::shipped();
    let sonnet = prices
        .find("anthropic", "claude-sonnet-4-5", at("2025-12-01"))
        .unwrap();
    let used = Usage {
        input: Some(1_000),
        cache_read: Some(100_000),
        cache_write_5m: Some(2_000),
        cache_write_1h: Some(1_000),
        output: Some(500),
        reasoning: None,
    };
    // 1000 at $3, 100,000 at $0.30, 2000 at $3.75, 1000 at $6, 500 at $15, each per million.
    let cost = sonnet.cost(&used).unwrap();
    assert_eq!(
        (
            cost.input,
            cost.cache_read,
            cost.cache_write,
            cost.output,
            cost.total
        ),
        (
            micros(3_000),
            micros(30_000),
            micros(13_500),
            micros(7_500),
            micros(54_000)
        )
    );
    // The mistake of adding the cache to the input: what is read costs ten times as much.
    let wrong = usage(used.input_total().unwrap(), 500);
    assert_eq!(sonnet.cost(&wrong).unwrap().total, micros(319_500));
    assert_eq!(sonnet.context_use(&used), Some(104_500.0 / 200_000.0));
    // Above 200,000 tokens of input, cached ones included, all of it is dearer.
    let long = Usage {
        cache_read: Some(200_000),
        ..usage(1, 10)
    };
    let cost = sonnet.cost(&long).unwrap();
    assert_eq!(
        (cost.input, cost.cache_read, cost.output),
        (micros(6), micros(120_000), micros(225))
    );
    assert_eq!(sonnet.context_use(&long), Some(200_011.0 / 1e6));
    let edge = Usage {
        cache_read: Some(199_999),
        ..usage(1, 10)
    };
    assert_eq!(
        sonnet.cost(&edge).unwrap().cache_read,
        micros(59_999) + 700_000
    );
    // Reasoning costs what output does.
    let gpt = prices.find("openai", "gpt-5", at("2025-12-01")).unwrap();
    let thought = Usage {
        reasoning: Some(1_000),
        ..usage(1_000, 100)
    };
    assert_eq!(
        gpt.cost(&thought).unwrap().total,
        micros(1_250 + 1_000 + 10_000)
    );
}

#[test]
fn what_is_unknown_is_not_nothing() {
    let prices = Prices::shipped();
    let gpt = prices
        .find("openai", "gpt-5-pro", at("2025-12-01"))
        .unwrap();
    let cached = Usage {
        cache_read: Some(1),
        ..usage(10, 10)
    };
    assert_eq!(gpt.cost(&cached), Err(Unpriced::Price("cache_read")));
    assert_eq!(
        gpt.cost(&Usage {
            cache_read: Some(0),
            ..usage(10, 10)
        })
        .unwrap()
        .total,
        micros(1_350)
    );
    let none = Usage::default();
    assert_eq!(gpt.cost(&none), Err(Unpriced::Usage("input")));
    assert_eq!(
        gpt.cost(&Usage {
            output: None,
            ..usage(1, 1)
        }),
        Err(Unpriced::Usage("output"))
    );
    // Embeddings have no output.
    let small = prices
        .find("openai", "text-embedding-3-small", at("2025-12-01"))
        .unwrap();
    assert_eq!(
        small
            .cost(&Usage {
                output: None,
                ..usage(1_000_000, 0)
            })
            .unwrap()
            .total,
        micros(20_000)
    );
    assert_eq!(small.cost(&usage(1, 1)), Err(Unpriced::Price("output")));
}

#[test]
fn a_file_goes_before_what_is_shipped() {
    let text = "as_of = 2027-05-05\nsource = \"a contract\"\n\
        [[price]]\nprovider = [\"openai\", \"azure.ai.openai\"]\nmodel = [\"gpt-4o\", \"prod-*\"]\nfrom = 2025-06-01\nuntil = 2025-07-01\ninput = 1_000_000\noutput = 1_000_000\n\
        [[price]]\nprovider = \"openai\"\nmodel = \"prod-eu-*\"\nfrom = 2025-06-01\ninput = 2_000_000\nreasoning = 5\noutput = 1\n";
    let prices = Prices::with_file("own.toml", text).unwrap();
    let input = |provider, model, day| {
        prices
            .find(provider, model, at(day))
            .map(|row| row.rates.input.unwrap())
    };
    assert_eq!(input("openai", "gpt-4o", "2025-06-30"), Some(1_000_000));
    // Before and after it, what is shipped holds.
    assert_eq!(input("openai", "gpt-4o", "2025-05-31"), Some(2_500_000));
    assert_eq!(input("openai", "gpt-4o", "2025-07-01"), Some(2_500_000));
    assert_eq!(
        input("azure.ai.openai", "prod-1", "2025-06-30"),
        Some(1_000_000)
    );
    // The pattern that says more holds.
    assert_eq!(input("openai", "prod-eu-1", "2025-06-30"), Some(2_000_000));
    assert!(prices.version().starts_with("2027-05-05+"));
    assert_ne!(prices.version(), Prices::shipped().version());
    assert_ne!(
        own("input = 1\noutput = 1").version(),
        own("input = 2\noutput = 1").version()
    );
}

#[test]
fn everything_wrong_with_a_file_is_named_by_line() {
    let said = |text: &str| -> Vec<(usize, String)> {
        let problems = check("f.toml", text);
        problems.into_iter().map(|p| (p.line, p.message)).collect()
    };
    for (lines, line, words) in [
        ("input = -1", 7, "accepted are whole micro-dollars"),
        ("input = 0.5", 7, "accepted are whole micro-dollars"),
        ("input = 1\ninptu = 1", 8, "unknown key `inptu`"),
        (
            "input = 1\nabove = { tokens = 5 }",
            8,
            "`above` without `input`",
        ),
        (
            "input = 1\nabove = { input = 5 }",
            8,
            "`above` without `tokens`",
        ),
        (
            "input = 1\nabove = { tokens = 1, input = 1, more = 2 }",
            8,
            "unknown key `above.more`",
        ),
        ("output = 1", 3, "without `input`"),
        ("input = 1\nuntil = 2025-01-01", 3, "is not after"),
        ("input = 1\nuntil = 2026-13-01", 8, "not TOML"),
        ("input = 1\nuntil = \"soon\"", 8, "accepted is a day"),
        (
            "input = 1\ncontext_window = \"big\"",
            8,
            "accepted are whole tokens",
        ),
    ] {
        let found = said(&file(lines));
        assert!(
            found
                .iter()
                .any(|(at, message)| *at == line && message.contains(words)),
            "{lines}: {found:?}"
        );
    }
    let second = |first: &str, second: &str| {
        let head = "[[price]]\nprovider = \"p\"\nmodel = \"mm\"";
        let text = format!(
            "{}\n{head}\n{second}\ninput = 1\n",
            file(&format!("input = 1\n{first}"))
        );
        said(&text)
    };
    assert_eq!(second("", "from = 2026-02-01"), []);
    for (first, then, words) in [
        (
            "",
            "from = 2026-01-01",
            "overlap: `mm` of p has the row of line 3",
        ),
        ("", "from = 2025-01-01", "not sorted"),
        ("until = 2026-03-01", "from = 2026-02-01", "overlap"),
        (
            "until = 2026-01-15",
            "from = 2026-02-01",
            "gap: `mm` of p has no price from 2026-01-15",
        ),
    ] {
        let found = second(first, then);
        assert!(
            found.len() == 1 && found[0].1.contains(words),
            "{then}: {found:?}"
        );
    }
    assert!(
        said("")
            .iter()
            .any(|(_, message)| message.contains("as_of"))
    );
    let pattern = file("input = 1").replace("\"mm\"", "\"*\"");
    assert!(said(&pattern)[0].1.contains("says nothing"));
    let no_model = file("input = 1").replace("model = \"mm\"\n", "");
    assert!(said(&no_model)[0].1.contains("without `model`"));
}

fn tachograph(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tachograph"))
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn the_command_shows_and_checks() {
    let out = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let all = tachograph(&["prices"]);
    assert!(all.status.success());
    let row = out(&all);
    let row = row
        .lines()
        .find(|line| line.contains("claude-haiku-4-5 "))
        .unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    let expected = [
        "anthropic",
        "claude-haiku-4-5",
        "2025-10-15",
        "1.00",
        "0.10",
        "1.25",
        "2.00",
        "5.00",
        "200000",
    ];
    assert_eq!(cells, expected);
    let one = [
        "prices",
        "--format",
        "json",
        "--provider",
        "openai",
        "--model",
        "o3",
        "--at",
        "2025-05-01",
    ];
    let one: serde_json::Value = serde_json::from_slice(&tachograph(&one).stdout).unwrap();
    assert_eq!(one["prices"].as_array().unwrap().len(), 1);
    assert_eq!(one["prices"][0]["rates"]["input"], 10_000_000);
    assert_eq!(one["version"], Prices::shipped().version());
    assert_eq!(
        tachograph(&["prices", "--model", "nobody"]).status.code(),
        Some(1)
    );
    assert!(tachograph(&["prices", "check"]).status.success());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.toml");
    std::fs::write(&path, file("input = -1")).unwrap();
    let checked = tachograph(&["prices", "check", path.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(1));
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(said.contains("own.toml:7: `input`"), "{said}");
}

proptest! {
    #[test]
    fn costs_are_exact_and_their_kinds_add_up(
        tokens in prop::array::uniform5(0_u64..1_000_000_000_000),
        rates in prop::array::uniform5(0_u64..1_000_000_000_000),
        small in any::<bool>(),
    ) {
        let tokens = tokens.map(|n| if small { n % 50 } else { n });
        let [a, b, c, d, e] = rates;
        let prices = own(&format!("input = {a}\ncache_read = {b}\ncache_write_5m = {c}\ncache_write_1h = {d}\noutput = {e}"));
        let used = Usage {
            input: Some(tokens[0]), cache_read: Some(tokens[1]), cache_write_5m: Some(tokens[2]),
            cache_write_1h: Some(tokens[3]), output: Some(tokens[4]), reasoning: None,
        };
        let cost = prices.find("p", "mm", at("2026-01-01")).unwrap().cost(&used).unwrap();
        let exact: u128 = tokens.iter().zip(rates).map(|(n, rate)| u128::from(*n) * u128::from(rate)).sum();
        prop_assert_eq!(cost.total, exact);
        prop_assert_eq!(cost.input + cost.cache_read + cost.cache_write + cost.output + cost.reasoning, cost.total);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[a-z_=\\[\\]\"0-9 \n.#*-]{0,120}") {
        let _ = check("f.toml", &text);
    }
}
