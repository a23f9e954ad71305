//! Operations that nobody ends, that nobody counts any more, and that nobody knows.

use super::*;

on_both! {
    async fn what_no_declaration_fits_any_more_is_removed(database) {
        let tool = unique("tool");
        let active = || sample("tool.active", &[("gen_ai.tool.name", &tool)]);
        let lost = || sample("tachograph.dropped", &[("signal", "records"), ("reason", "invalid")]);
        let [unknown, changed, fine] = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
        let before = database.api("a").await;
        let starts = [unknown, changed, fine]
            .map(|id| Report::start("tool.call", id).field("gen_ai.tool.name", tool.as_str()));
        assert_eq!(before.report(&starts).await.unwrap().accepted, 3);
        drop(before);
        database.execute(&format!("UPDATE open_operations SET signal = 'gone' WHERE {}", database.is(unknown))).await;
        let fields = r#"fields = '{"tool.name":"t"}'"#;
        database.execute(&format!("UPDATE open_operations SET {fields} WHERE {}", database.is(changed))).await;
        let after = database.api("a").await;
        let counted = lost();
        after.sweep(SystemTime::now()).await.unwrap();
        assert!(lost() >= counted + 2.0);
        assert_eq!(active(), 1.0);
        assert_eq!(database.number("SELECT COUNT(*) FROM open_operations").await, Some(1));
        let end = Report::end("tool.call", fine).field("status", "success");
        assert_eq!(after.report(&[end]).await.unwrap().accepted, 1);
        assert_eq!(active(), 0.0);
        // Without a start the end has to be complete.
        let end = Report::end("tool.call", unknown).field("status", "success");
        assert_eq!(after.report(&[end]).await.unwrap().rejected.len(), 1);
    }

    async fn nobody_knows_how_long_it_took_what_was_given_up(database) {
        let api = database.api("a").await;
        let tool = unique("tool");
        let label = ("gen_ai.tool.name", tool.as_str());
        let [ended, given_up] = [Uuid::now_v7(), Uuid::now_v7()];
        let start = |id| Report::start("tool.call", id)
            .field(label.0, label.1)
            .expires_in(Duration::from_secs(60));
        let end = Report::end("tool.call", ended).field("status", "success");
        api.report(&[start(ended), start(given_up), end]).await.unwrap();
        api.sweep(SystemTime::now() + Duration::from_secs(3_600)).await.unwrap();
        assert_eq!(sample("tool.calls", &[label, ("status", "abandoned")]), 1.0);
        assert_eq!(sample("tool.calls", &[label]), 2.0);
        let durations = points_of(collector().collect(), "tool.call.duration");
        assert_eq!(durations.value(&[label]), Some(1.0));
        assert!(durations.sum(&[label]) < 60.0);
        let row = "SELECT COUNT(*) FROM records WHERE status = 'abandoned' AND duration IS NULL";
        assert_eq!(database.number(row).await, Some(1));
    }
}

#[test]
fn what_a_service_counted_that_is_gone_is_counted_by_another_one() {
    async fn test(database: Database) {
        let (tool, id) = (unique("tool"), Uuid::now_v7());
        let active = || sample("tool.active", &[("gen_ai.tool.name", &tool)]);
        let owned = async |owner: &str| {
            let sql = format!("SELECT COUNT(*) FROM open_operations WHERE owner = '{owner}'");
            database.number(&sql).await == Some(1)
        };
        let ages = async |seconds: i64| {
            let sql = format!("UPDATE services SET seen_us = seen_us - {seconds} * 1000000");
            database.execute(&sql).await;
        };
        let one = database.api("one").await;
        let start = Report::start("tool.call", id).field("gen_ai.tool.name", tool.as_str());
        one.report(&[start]).await.unwrap();
        one.ledger().shutdown(PATIENCE).await.unwrap();
        drop(one);
        assert_eq!(active(), 0.0);
        // It may come back.
        ages(30).await;
        let two = database.api("two").await;
        let since = std::time::Instant::now();
        let seen = "SELECT COUNT(*) FROM services WHERE owner = 'two'";
        while database.number(seen).await != Some(1) {
            assert!(since.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // What upkeep it has begun it ends.
        two.ledger().shutdown(PATIENCE).await.unwrap();
        assert!(owned("one").await);
        ages(31).await;
        let three = database.api("three").await;
        while !owned("three").await {
            assert!(since.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        three.sweep(SystemTime::now()).await.unwrap();
        assert_eq!(active(), 1.0);
        let end = Report::end("tool.call", id).field("status", "success");
        assert_eq!(three.report(&[end]).await.unwrap().accepted, 1);
        assert_eq!(active(), 0.0);
    }
    run(test, true);
}
