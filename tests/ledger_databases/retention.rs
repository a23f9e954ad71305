//! What is removed, and what an id is worth after its row is gone.

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn now_us() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(now.unwrap().as_micros()).unwrap()
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap()
}

/// The ledger under this retention, once so many records are left of it.
async fn kept_up(
    database: &Database,
    retention: Retention,
    left: impl Fn(i64, i64) -> bool,
) -> Ledger {
    let start = std::time::Instant::now();
    // Upkeep begins with the service. On PostgreSQL it waits for what others are committing.
    loop {
        let config = LedgerConfig {
            retention,
            ..database.config()
        };
        let ledger = Ledger::open(config).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let records = database
            .number("SELECT COUNT(*) FROM records")
            .await
            .unwrap();
        if left(records, kept_bytes(database).await) {
            return ledger;
        }
        assert!(start.elapsed() < PATIENCE, "{records} records are left");
        ledger.shutdown(PATIENCE).await.unwrap();
        database.execute("UPDATE retention SET set_us = 0").await;
    }
}

async fn kept_bytes(database: &Database) -> i64 {
    let sum = "SELECT CAST(SUM(kept_bytes) AS BIGINT) FROM totals";
    database.number(sum).await.unwrap()
}

on_both! {
    async fn what_is_too_much_is_removed_oldest_first_and_what_is_young_stays(database) {
        let (old, young) = (ids(3_000), ids(500));
        let (then_us, now_us) = (now_us() - micros(DAY), now_us());
        // What it takes is counted in bytes.
        let context = r#"{"correlation_id":"é€🦀"}"#;
        let records = |ids: &[Uuid], time_us: i64| -> Vec<Record> {
            let one = |id: &Uuid| Record { time_us, context: context.to_owned(), ..record(*id) };
            ids.iter().map(one).collect()
        };
        let ledger = database.open().await;
        for (ids, time_us) in [(&old, then_us), (&young, now_us)] {
            let receipt = ledger.submit(records(ids, time_us), |_| {}).unwrap();
            receipt.committed().await.unwrap();
        }
        ledger.shutdown(PATIENCE).await.unwrap();
        // As if the old ones had come one a second.
        let received = format!(
            "UPDATE records SET received_us = time_us + 1000000 * (SELECT COUNT(*) FROM records AS r \
             WHERE r.seq < records.seq) WHERE time_us = {then_us}"
        );
        database.execute(&received).await;
        let all = kept_bytes(&database).await;
        let most = u64::try_from(all / 2).unwrap();
        let half = Retention { max_age: None, max_bytes: Some(most) };
        let ledger = kept_up(&database, half, |_, bytes| bytes <= all / 2).await;
        ledger.shutdown(PATIENCE).await.unwrap();
        let left = database.number("SELECT COUNT(*) FROM records").await.unwrap();
        // No more than needed, with a twentieth to spare.
        assert!((1_600..=1_700).contains(&left), "{left}");
        let span = database.number("SELECT MAX(seq) - MIN(seq) + 1 FROM records").await;
        assert_eq!(span, Some(left), "the oldest go first");
        assert_eq!(database.number("SELECT CAST(SUM(kept) AS BIGINT) FROM totals").await, Some(left));
        assert_eq!(kept_bytes(&database).await, all / 3_500 * left);
        // Nothing at all has room, and still what came just now is kept.
        let none = Retention { max_age: None, max_bytes: Some(1) };
        let ledger = kept_up(&database, none, |records, _| records <= 500).await;
        assert_eq!(database.number("SELECT COUNT(*) FROM records").await, Some(500));
        assert_eq!(total(&ledger).await, 3_500);
        let again = ledger.submit(records(&old, then_us), |_| {}).unwrap();
        assert_eq!(again.committed().await.unwrap(), vec![Disposition::TooOld; 3_000]);
        let again = ledger.submit(records(&young, now_us), |_| {}).unwrap();
        assert_eq!(again.committed().await.unwrap(), vec![Disposition::Duplicate; 500]);
        assert_eq!(total(&ledger).await, 3_500);
    }

    async fn what_ended_or_came_later_than_the_horizon_stays(database) {
        let [gone, late, ahead] = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()];
        let (then_us, now_us) = (now_us() - micros(3 * DAY), now_us());
        let ended = |id: Uuid, time_us: i64| Record { time_us, ..record(id) };
        let ledger = database.open().await;
        assert_eq!(accepted(&commit(&ledger, &[gone, late, ahead]).await), 3);
        ledger.shutdown(PATIENCE).await.unwrap();
        for (id, time_us, received_us) in [
            (gone, then_us, then_us),
            (late, then_us, now_us),
            // By its sender's clock.
            (ahead, now_us, then_us),
        ] {
            let row = database.is(id);
            let sql = format!(
                "UPDATE records SET time_us = {time_us}, received_us = {received_us} WHERE {row}"
            );
            database.execute(&sql).await;
        }
        let retention = Retention { max_age: Some(DAY), max_bytes: None };
        let ledger = kept_up(&database, retention, |records, _| records == 2).await;
        let again = vec![ended(gone, then_us), ended(late, then_us), ended(ahead, now_us)];
        let again = ledger.submit(again, |_| {}).unwrap().committed().await.unwrap();
        assert_eq!(again, [Disposition::TooOld, Disposition::TooOld, Disposition::Duplicate]);
        assert_eq!(total(&ledger).await, 3);
    }

    async fn with_neither_time_nor_id_that_tells_it_a_removed_record_is_new(database) {
        let tool = unique("tool");
        let calls = || sample("tool.calls", &[("gen_ai.tool.name", &tool)]);
        let call = |id: Uuid| Report::new("tool.call")
            .id(id)
            .field("gen_ai.tool.name", tool.as_str())
            .field("status", "success")
            .context("gen_ai.conversation.id", "s")
            .took(Duration::from_secs(1));
        let then = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(48);
        let (mut all, mut rows) = (0, 0);
        for retention in [
            Retention { max_age: Some(DAY), max_bytes: None },
            Retention { max_age: None, max_bytes: Some(1) },
        ] {
            let (removed, kept) = (Uuid::new_v4(), Uuid::new_v4());
            let api = database.api("a").await;
            assert_eq!(api.report(&[call(removed), call(kept)]).await.unwrap().accepted, 2);
            (all, rows) = (all + 2, rows + 2);
            api.ledger().shutdown(PATIENCE).await.unwrap();
            let aged = format!(
                "UPDATE records SET time_us = {0}, received_us = {0} WHERE {1}",
                then.as_microsecond(),
                database.is(removed),
            );
            database.execute(&aged).await;
            rows -= 1;
            let ledger = kept_up(&database, retention, |records, _| records == rows).await;
            let api = RecordsApi::new(ledger, RecordsConfig::default());
            let exact = async |all: i64, rows: i64| {
                assert_eq!(calls(), all as f64);
                assert_eq!(total(api.ledger()).await, all as u64);
                let sums = "SELECT CAST(SUM(kept) AS BIGINT) FROM totals";
                assert_eq!(database.number(sums).await, Some(rows));
                assert_eq!(database.number("SELECT COUNT(*) FROM records").await, Some(rows));
                let session = "SELECT records FROM sessions WHERE session = 's'";
                assert_eq!(database.number(session).await, Some(all));
            };
            assert_eq!(api.report(&[call(kept)]).await.unwrap().duplicates, 1);
            let dated = api.report(&[call(removed).at(then)]).await.unwrap();
            assert_eq!((dated.accepted, &*dated.rejected[0].field), (0, "time"));
            exact(all, rows).await;
            assert_eq!(api.report(&[call(removed)]).await.unwrap().accepted, 1);
            assert_eq!(api.report(&[call(removed)]).await.unwrap().duplicates, 1);
            (all, rows) = (all + 1, rows + 1);
            exact(all, rows).await;
            api.ledger().shutdown(PATIENCE).await.unwrap();
        }
    }

    async fn without_a_time_the_one_in_its_id_tells_what_was_removed(database) {
        let tool = unique("tool");
        let calls = || sample("tool.calls", &[("gen_ai.tool.name", &tool)]);
        let made = |ago: Duration| {
            let at = SystemTime::now() - ago;
            let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, since.as_secs(), 0))
        };
        let call = |id: Uuid| Report::new("tool.call")
            .id(id)
            .field("gen_ai.tool.name", tool.as_str())
            .field("status", "success")
            .took(Duration::from_secs(1));
        let start = |id: Uuid| Report::start("tool.call", id).field("gen_ai.tool.name", tool.as_str());
        let end = |id: Uuid| Report::end("tool.call", id).field("status", "success");
        let (removed, running) = (made(3 * DAY), made(3 * DAY));
        let api = database.api("a").await;
        // Late, as from a queue; it is as good as any while nothing is removed.
        assert_eq!(api.report(&[call(removed), start(running)]).await.unwrap().accepted, 2);
        api.ledger().shutdown(PATIENCE).await.unwrap();
        let then_us = now_us() - micros(2 * DAY);
        database.execute(&format!("UPDATE records SET time_us = {then_us}, received_us = {then_us}")).await;
        let retention = Retention { max_age: Some(DAY), max_bytes: None };
        let ledger = kept_up(&database, retention, |records, _| records == 0).await;
        let api = RecordsApi::new(ledger, RecordsConfig::default());
        let again = api.report(&[call(removed), start(removed), end(removed)]).await.unwrap();
        let fields: Vec<&str> = again.rejected.iter().map(|rejected| &*rejected.field).collect();
        assert_eq!((again.accepted, fields), (0, vec!["time"; 3]));
        assert_eq!(calls(), 1.0);
        // It has run since before all that is kept, and nothing of it was removed.
        assert_eq!(api.report(&[end(running)]).await.unwrap().accepted, 1);
        let fresh = call(made(Duration::ZERO));
        assert_eq!(api.report(std::slice::from_ref(&fresh)).await.unwrap().accepted, 1);
        assert_eq!(api.report(&[fresh]).await.unwrap().duplicates, 1);
        assert_eq!(calls(), 3.0);
    }
}
