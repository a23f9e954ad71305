//! Pages of every size, with rows at their borders that are alike.

use tachograph::ledger::query::{Entry, Node, Rows};

use super::*;

const LIMITS: [usize; 4] = [1, 2, 3, 7];
const RECORDS: i64 = 40;

/// Records of which many agree in their times, durations, sessions, agents and models. What is
/// accepted in one request has its position by its id on PostgreSQL, so ids ascend.
fn alike() -> Value {
    let ids: Vec<Uuid> = (1..=RECORDS)
        .map(|i| Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + i as u128))
        .collect();
    let record = |i: i64| {
        let mut record = request(
            &format!("s-{}", i % 6),
            ["opus", "Opus", "haiku", "émile", "z z"][i as usize % 5],
            // Days, and times within them, five records each.
            i / 10 * 86_400 + i / 5,
            json!(0.25),
        );
        record["id"] = json!(ids[i as usize]);
        // Two that differ in their last bit, and one that began with a shorter one of a second
        // before.
        record["duration"] = json!([0.3, 0.1 + 0.2, 1.3, 0.3][i as usize % 4]);
        record["fields"]["status"] = json!("failed");
        if i % 3 != 0 {
            record["fields"]["gen_ai.agent.name"] = json!(format!("a-{}", i % 4));
        }
        record["fields"]["gen_ai.provider.name"] = json!(format!("p-{}", i % 7));
        record
    };
    (0..RECORDS).map(record).collect()
}

/// The keys on all pages of this size; each page but the last is full.
async fn all(
    limit: usize,
    fetch: impl AsyncFn(Page) -> (Vec<String>, Option<String>),
) -> Vec<String> {
    let (mut keys, mut cursor) = (Vec::new(), None);
    loop {
        let (found, next) = fetch(page(limit, cursor)).await;
        keys.extend(found.iter().cloned());
        assert!(keys.len() <= 1_000, "it does not come to an end");
        let Some(next) = next else {
            assert!(found.len() <= limit && !found.is_empty());
            return keys;
        };
        assert_eq!(found.len(), limit);
        cursor = Some(next);
    }
}

fn of(rows: Rows<Entry>) -> (Vec<String>, Option<String>) {
    let ids = rows.items.iter().map(|entry| entry.id.to_string());
    (ids.collect(), rows.next)
}

fn flat(nodes: &[Node], found: &mut Vec<String>) {
    for node in nodes {
        found.push(node.entry.id.to_string());
        flat(&node.children, found);
    }
}

/// What the records say of themselves, by id.
struct Sent {
    id: String,
    at: i64,
    started_us: i64,
    duration: f64,
    place: usize,
}

fn sent(body: &Value) -> Vec<Sent> {
    let read = |(place, record): (usize, &Value)| {
        let ended: jiff::Timestamp = record["time"].as_str().unwrap().parse().unwrap();
        let duration = record["duration"].as_f64().unwrap();
        Sent {
            id: record["id"].as_str().unwrap().to_owned(),
            at: ended.as_microsecond(),
            started_us: ended.as_microsecond() - (duration * 1e6).round() as i64,
            duration,
            place,
        }
    };
    body.as_array()
        .unwrap()
        .iter()
        .enumerate()
        .map(read)
        .collect()
}

fn ids_of(sent: &[Sent]) -> Vec<String> {
    sent.iter().map(|one| one.id.clone()).collect()
}

on_both! {
    async fn each_record_is_on_one_page_and_in_its_place(database) {
        let api = database.api("a").await;
        let body = alike();
        let outcome = send(&api, body.clone()).await;
        assert_eq!((outcome.accepted, outcome.rejected), (RECORDS as usize, vec![]));
        let ledger = api.ledger();
        let mut order = sent(&body);
        order.sort_by_key(|one| (std::cmp::Reverse(one.at), std::cmp::Reverse(one.place)));
        let failing = ids_of(&order);
        order.sort_by(|a, b| b.duration.total_cmp(&a.duration).then(b.place.cmp(&a.place)));
        let slowest = ids_of(&order);
        order.sort_by_key(|one| (one.started_us, std::cmp::Reverse(one.at), one.place));
        let began = ids_of(&order);
        for limit in LIMITS {
            for signal in [None, Some("llm.request")] {
                let found = all(limit, async |page| of(ledger.failing(signal, always(), &page).await.unwrap())).await;
                assert_eq!(found, failing, "failing {signal:?} by {limit}");
            }
            let found = all(limit, async |page| of(ledger.slowest("llm.request", always(), &page).await.unwrap())).await;
            assert_eq!(found, slowest, "slowest by {limit}");
            let correlation = Which::Correlation("c".to_owned());
            let session = Which::Session("s-1".to_owned());
            for which in [correlation, session] {
                let found = all(limit, async |page| {
                    let timeline = ledger.timeline(&which, &page).await.unwrap();
                    let mut found = Vec::new();
                    flat(&timeline.items, &mut found);
                    // A page is nested by itself.
                    found.sort_by_key(|id| began.iter().position(|other| other == id));
                    (found, timeline.next)
                }).await;
                let expected = began.iter().filter(|id| match which {
                    Which::Correlation(_) => true,
                    Which::Session(_) => body.as_array().unwrap().iter().any(|record| {
                        record["id"] == **id && record["context"]["gen_ai.conversation.id"] == "s-1"
                    }),
                });
                assert_eq!(found, expected.cloned().collect::<Vec<_>>(), "{which:?} by {limit}");
            }
        }
    }

    async fn each_session_and_each_key_of_costs_is_on_one_page(database) {
        let api = database.api("a").await;
        let body = alike();
        for record in body.as_array().unwrap() {
            assert_eq!(send(&api, record.clone()).await.accepted, 1);
        }
        let ledger = api.ledger();
        for limit in LIMITS {
            let found = all(limit, async |page| {
                let rows = ledger.sessions(&page).await.unwrap();
                (rows.items.iter().map(|one| one.session.clone()).collect(), rows.next)
            }).await;
            assert_eq!(found, ["s-5", "s-4", "s-3", "s-2", "s-1", "s-0"], "by {limit}");
            let days: Vec<String> = (0..4).map(|day| at(day * 86_400)[..10].to_owned()).collect();
            for (by, expected) in [
                (CostsBy::Day, &days.iter().map(String::as_str).collect::<Vec<_>>()[..]),
                // Those that name no agent have no key, and come first.
                (CostsBy::Agent, &["", "a-0", "a-1", "a-2", "a-3"]),
                (CostsBy::Model, &["Opus", "haiku", "opus", "z z", "émile"]),
                (CostsBy::Provider, &["p-0", "p-1", "p-2", "p-3", "p-4", "p-5", "p-6"]),
                (CostsBy::Session, &["s-0", "s-1", "s-2", "s-3", "s-4", "s-5"]),
            ] {
                let requests = std::cell::Cell::new(0);
                let found = all(limit, async |page| {
                    let rows = ledger.costs(by, always(), &page).await.unwrap();
                    let keys = rows.items.iter().map(|row| {
                        requests.set(requests.get() + row.requests);
                        row.key.clone().unwrap_or_default()
                    });
                    (keys.collect(), rows.next)
                }).await;
                assert_eq!(found, expected, "{by:?} by {limit}");
                assert_eq!(requests.get(), RECORDS, "{by:?} by {limit}");
            }
        }
    }
}
