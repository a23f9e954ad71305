//! `tachograph prices`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{Failure, print};
use crate::prices::{self, Price, Prices, Problem, Rates};

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Only this provider, as `gen_ai.provider.name` has it.
    #[arg(long)]
    provider: Option<String>,
    /// Only the row that holds for this model on the day.
    #[arg(long)]
    model: Option<String>,
    /// Only rows in force on this day, UTC; for `--model` today unless given.
    #[arg(long, value_name = "DATE")]
    at: Option<Date>,
    /// A file of prices that goes before those that are shipped.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Read files of prices and say everything that is wrong with them, by line.
    Check {
        /// The files; those that are shipped unless named.
        files: Vec<PathBuf>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// Dollars per million tokens.
    Table,
    /// Micro-dollars per million tokens.
    Json,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Some(Command::Check { files }) => check(files),
        None => show(arguments),
    }
}

fn check(files: &[PathBuf]) -> Result<(), Failure> {
    let mut problems = Vec::new();
    for file in files {
        let text = text(file)?;
        problems.extend(prices::check(&file.display().to_string(), &text));
    }
    if files.is_empty() {
        problems = prices::check_shipped();
    }
    if problems.is_empty() {
        let what = match files.len() {
            0 => "the prices that are shipped are".to_owned(),
            1 => "the file is".to_owned(),
            count => format!("{count} files are"),
        };
        return print(&format!("{what} right\n"));
    }
    Err(refused(&problems))
}

fn text(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|error| Failure::Usage(format!("{}: cannot be read: {error}", file.display())))
}

fn refused(problems: &[Problem]) -> Failure {
    let mut text = match problems.len() {
        1 => "a price is refused:".to_owned(),
        count => format!("{count} faults in the prices:"),
    };
    for problem in problems {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "\n  {problem}");
    }
    Failure::Failed(text)
}

fn show(arguments: &Arguments) -> Result<(), Failure> {
    let prices = match &arguments.file {
        Some(file) => Prices::with_file(&file.display().to_string(), &text(file)?)
            .map_err(|problems| refused(&problems))?,
        None => Prices::shipped(),
    };
    let rows = chosen(arguments, &prices)?;
    match arguments.format {
        Format::Json => {
            let rows: Vec<Value> = rows.iter().map(|row| json(row)).collect();
            let all = json!({ "version": prices.version(), "unit": "micro-dollars per million tokens", "prices": rows });
            print(&format!("{all:#}\n"))
        }
        Format::Table => print(&table(&rows, prices.version())),
    }
}

fn chosen<'p>(arguments: &Arguments, prices: &'p Prices) -> Result<Vec<&'p Price>, Failure> {
    let of_provider = |row: &&Price| {
        let wanted = arguments.provider.as_ref();
        wanted.is_none_or(|provider| row.providers.contains(provider))
    };
    let Some(model) = &arguments.model else {
        let in_force = |row: &&Price| arguments.at.is_none_or(|day| row.in_force(day));
        return Ok(prices.rows().filter(of_provider).filter(in_force).collect());
    };
    let at = match arguments.at {
        Some(day) => day
            .to_zoned(TimeZone::UTC)
            .map_err(|error| Failure::Usage(format!("--at: {error}")))?
            .timestamp(),
        None => Timestamp::now(),
    };
    let mut providers: Vec<&str> = Vec::new();
    for provider in prices
        .rows()
        .filter(of_provider)
        .flat_map(|row| &row.providers)
    {
        if !providers.contains(&provider.as_str()) {
            providers.push(provider);
        }
    }
    if let Some(provider) = &arguments.provider {
        providers.retain(|known| known == provider);
    }
    let mut rows: Vec<&Price> = Vec::new();
    for row in providers
        .iter()
        .filter_map(|provider| prices.find(provider, model, at))
    {
        if !rows.iter().any(|known| std::ptr::eq(*known, row)) {
            rows.push(row);
        }
    }
    match rows.is_empty() {
        true => Err(Failure::Failed(format!(
            "`{model}` has no price on that day; its requests count in llm.price.unknown"
        ))),
        false => Ok(rows),
    }
}

fn json(row: &Price) -> Value {
    let rates = |rates: &Rates| {
        json!({
            "input": rates.input,
            "cache_read": rates.cache_read,
            "cache_write_5m": rates.cache_write_5m,
            "cache_write_1h": rates.cache_write_1h,
            "output": rates.output,
            "reasoning": rates.reasoning,
        })
    };
    let models: Vec<&str> = row.models.iter().map(prices::Pattern::as_str).collect();
    let above = row.above.map(|tier| {
        json!({ "tokens": tier.tokens, "rates": rates(&tier.rates), "context_window": tier.context_window })
    });
    json!({
        "providers": row.providers,
        "models": models,
        "from": row.from.to_string(),
        "until": row.until.map(|until| until.to_string()),
        "rates": rates(&row.rates),
        "above": above,
        "context_window": row.context_window,
        "source": row.source,
        "place": format!("{}:{}", row.place.0, row.place.1),
    })
}

fn table(rows: &[&Price], version: &str) -> String {
    let head = [
        "provider", "model", "from", "input", "read", "write 5m", "write 1h", "output", "window",
    ];
    let mut lines = vec![head.map(str::to_owned)];
    for row in rows {
        let mut line = |model: String, from: String, rates: &Rates, window: Option<u64>| {
            lines.push([
                row.providers.join(" "),
                model,
                from,
                dollars(rates.input),
                dollars(rates.cache_read),
                dollars(rates.cache_write_5m),
                dollars(rates.cache_write_1h),
                dollars(rates.output),
                window.map_or_else(|| "-".to_owned(), |window| window.to_string()),
            ]);
        };
        for model in &row.models {
            let from = row.from.to_string();
            line(model.to_string(), from, &row.rates, row.context_window);
            if let Some(tier) = &row.above {
                let window = tier.context_window.or(row.context_window);
                let model = format!("{model} > {}", tier.tokens);
                line(model, row.from.to_string(), &tier.rates, window);
            }
        }
    }
    let mut widths = [0; 9];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.len());
        }
    }
    let mut text = format!("US dollars per million tokens; - is not known. Version {version}\n\n");
    for line in &lines {
        for (at, (cell, width)) in line.iter().zip(widths).enumerate() {
            // Writing to a `String` cannot fail. Words to the left, numbers to the right.
            let _ = match at {
                0..=2 => write!(text, "{cell:width$}  "),
                _ => write!(text, "{cell:>width$}  "),
            };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// Micro-dollars as dollars, exactly.
fn dollars(micros: Option<u64>) -> String {
    let Some(micros) = micros else {
        return "-".to_owned();
    };
    let fraction = format!("{:06}", micros % 1_000_000);
    let fraction = fraction.trim_end_matches('0');
    format!("{}.{fraction:0<2}", micros / 1_000_000)
}
