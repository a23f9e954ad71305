//! What a command asks for, as far as it is recorded: its name, and how long it means to wait.

use std::time::Duration;

use deadpool_redis::redis::{Arg, Cmd, Pipeline};

use crate::signals::redis::Command;

/// The command's name, whatever its case; one that is not told apart is [`Command::Other`].
pub(super) fn command(cmd: &Cmd) -> Command {
    let Some(Arg::Simple(name)) = cmd.args_iter().next() else {
        return Command::Other;
    };
    let mut upper = [0; 24];
    let Some(upper) = upper.get_mut(..name.len()) else {
        return Command::Other;
    };
    upper.copy_from_slice(name);
    upper.make_ascii_uppercase();
    let known = std::str::from_utf8(upper).ok().and_then(Command::parse);
    // What stands for several commands, or for those not known, is none itself.
    known.map_or(Command::Other, |command| match command {
        Command::Pipeline => Command::Other,
        command => command,
    })
}

/// What several commands sent together are called.
pub(super) fn together(pipeline: &Pipeline) -> Command {
    match pipeline.is_transaction() {
        true => Command::Multi,
        false => Command::Pipeline,
    }
}

/// Messages that commands publish.
pub(super) fn publishes(command: Command) -> bool {
    matches!(command, Command::Publish | Command::Spublish)
}

/// The database that a command changes its connection to; `None`: to no other, or to one that
/// Redis will refuse.
pub(super) fn selects(cmd: &Cmd) -> Option<u32> {
    let mut arguments = cmd.args_iter();
    match (arguments.next(), arguments.next()) {
        (Some(Arg::Simple(name)), Some(Arg::Simple(index)))
            if name.eq_ignore_ascii_case(b"select") =>
        {
            std::str::from_utf8(index).ok()?.parse().ok()
        }
        _ => None,
    }
}

/// How long a command means to wait for what it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Not at all.
    No,
    /// This long.
    For(Duration),
    /// As long as it takes.
    Forever,
}

/// How long a command blocks (Redis 7.2, documentation of each command).
pub(super) fn wait(cmd: &Cmd, command: Command) -> Wait {
    let last = || cmd.args_iter().last().and_then(number);
    let seconds = match command {
        Command::Blpop
        | Command::Brpop
        | Command::Blmove
        | Command::Brpoplpush
        | Command::Bzpopmax
        | Command::Bzpopmin => last(),
        Command::Blmpop | Command::Bzmpop => cmd.args_iter().nth(1).and_then(number),
        Command::Wait | Command::Waitaof => last().map(of_millis),
        Command::Xread | Command::Xreadgroup => block(cmd).map(of_millis),
        _ => None,
    };
    seconds.map_or(Wait::No, of_seconds)
}

/// What stands after `BLOCK`, which comes before the streams.
fn block(cmd: &Cmd) -> Option<f64> {
    let is = |arg: &Arg<&[u8]>, word: &[u8]| matches!(arg, Arg::Simple(a) if a.eq_ignore_ascii_case(word));
    let mut options = cmd.args_iter().take_while(|arg| !is(arg, b"streams"));
    options.find(|arg| is(arg, b"block"))?;
    options.next().and_then(number)
}

fn of_millis(millis: f64) -> f64 {
    millis / 1000.0
}

/// Whether a command whose answer nobody waits for any more leaves its connection unfit for
/// others: held up, or in another database.
pub(super) fn lingers(cmd: &Cmd, wait: Wait) -> bool {
    wait != Wait::No || selects(cmd).is_some()
}

fn number(arg: Arg<&[u8]>) -> Option<f64> {
    match arg {
        Arg::Simple(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

fn of_seconds(seconds: f64) -> Wait {
    match Duration::try_from_secs_f64(seconds) {
        Ok(Duration::ZERO) => Wait::Forever,
        Ok(duration) => Wait::For(duration),
        // Redis will refuse it.
        Err(_) => Wait::No,
    }
}

#[cfg(test)]
mod tests {
    use deadpool_redis::redis::cmd;

    use super::*;

    #[test]
    fn commands_are_told_apart_by_name_and_others_are_other() {
        assert_eq!(command(&cmd("GET")), Command::Get);
        assert_eq!(command(&cmd("hgetall")), Command::Hgetall);
        assert_eq!(command(&cmd("DEBUG")), Command::Other);
        assert_eq!(command(&cmd("PIPELINE")), Command::Other);
        assert_eq!(command(&cmd(&"X".repeat(1000))), Command::Other);
        assert_eq!(command(&Cmd::new()), Command::Other);
    }

    #[test]
    fn the_database_that_is_selected_is_read() {
        for (cmd, expected) in [
            (cmd("SELECT").arg(3), Some(3)),
            (cmd("select").arg("15"), Some(15)),
            (cmd("SELECT").arg("x"), None),
            (cmd("SELECT").arg(-1), None),
            (&mut cmd("SELECT"), None),
            (cmd("GET").arg(3), None),
        ] {
            assert_eq!(selects(cmd), expected);
        }
    }

    #[test]
    fn commands_that_block_say_for_how_long() {
        let wait = |cmd: &Cmd| wait(cmd, command(cmd));
        assert_eq!(wait(cmd("GET").arg("5")), Wait::No);
        let two = Wait::For(Duration::from_secs(2));
        assert_eq!(wait(cmd("BLPOP").arg("a").arg("b").arg(2)), two);
        assert_eq!(wait(cmd("BLPOP").arg("a").arg(0)), Wait::Forever);
        assert_eq!(wait(cmd("BLPOP").arg("a").arg(-1)), Wait::No);
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(5).arg("block").arg(2000);
        assert_eq!(wait(read.arg("STREAMS").arg("s").arg("$")), two);
        let mut read = cmd("XREAD");
        read.arg("STREAMS").arg("block").arg("s").arg("0");
        assert_eq!(wait(read.arg("0")), Wait::No);
        assert_eq!(wait(cmd("BLMPOP").arg(2).arg(1).arg("a").arg("LEFT")), two);
        assert_eq!(wait(cmd("BRPOPLPUSH").arg("a").arg("b").arg(2)), two);
        assert_eq!(wait(cmd("WAIT").arg(1).arg(2000)), two);
        assert_eq!(wait(cmd("WAIT").arg(1).arg(0)), Wait::Forever);
    }
}
