//! What librdkafka tells of itself every few seconds (its `STATISTICS.md`, schema of 2.12), as
//! far as it is shown.

use std::collections::HashMap;

use serde::Deserialize;

/// What a client was last told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Figures {
    /// Brokers that it is connected to.
    pub(super) brokers: u64,
    /// Share of the producer's queue in use, 0 to 1; `None` of a consumer.
    pub(super) saturation: Option<f64>,
    /// Topic, partition and lag of the partitions that a consumer has, in order.
    pub(super) lags: Vec<(String, i32, u64)>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    msg_cnt: f64,
    #[serde(default)]
    msg_max: f64,
    #[serde(default)]
    msg_size: f64,
    #[serde(default)]
    msg_size_max: f64,
    #[serde(default)]
    brokers: HashMap<String, Broker>,
    #[serde(default)]
    topics: HashMap<String, Topic>,
}

#[derive(Deserialize)]
struct Broker {
    #[serde(default)]
    source: String,
    #[serde(default)]
    state: String,
}

#[derive(Deserialize)]
struct Topic {
    #[serde(default)]
    topic: String,
    #[serde(default)]
    partitions: HashMap<String, Partition>,
}

#[derive(Deserialize)]
struct Partition {
    #[serde(default)]
    partition: i32,
    #[serde(default)]
    fetch_state: String,
    /// -1 where it is not known.
    #[serde(default = "unknown")]
    consumer_lag: i64,
}

const fn unknown() -> i64 {
    -1
}

impl Figures {
    /// Reads librdkafka's JSON.
    pub(super) fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        let raw: Raw = serde_json::from_slice(json)?;
        // The coordinator of a group stands there beside the broker that it is.
        let up = |broker: &&Broker| broker.state == "UP" && broker.source != "logical";
        let brokers = raw.brokers.values().filter(up).count() as u64;
        let share = |used: f64, most: f64| (most > 0.0).then(|| (used / most).clamp(0.0, 1.0));
        let shares = [
            share(raw.msg_cnt, raw.msg_max),
            share(raw.msg_size, raw.msg_size_max),
        ];
        let mut lags = Vec::new();
        for topic in raw.topics.values() {
            for partition in topic.partitions.values() {
                // What is left of a partition that was given back says nothing any more.
                let held = !matches!(&*partition.fetch_state, "none" | "stopping" | "stopped");
                if let (true, Ok(lag)) = (held, u64::try_from(partition.consumer_lag)) {
                    lags.push((topic.topic.clone(), partition.partition, lag));
                }
            }
        }
        lags.sort_unstable();
        Ok(Self {
            brokers,
            saturation: shares.into_iter().flatten().reduce(f64::max),
            lags,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn brokers_queue_and_lag_are_read_and_what_is_unknown_is_left_out() {
        let json = br#"{
            "msg_cnt": 5, "msg_max": 10, "msg_size": 90, "msg_size_max": 100,
            "brokers": {
                "a:9092/1": {"source": "learned", "state": "UP"},
                "b:9092/2": {"source": "learned", "state": "CONNECT"},
                "GroupCoordinator": {"source": "logical", "state": "UP"}
            },
            "topics": {"t": {"topic": "t", "partitions": {
                "0": {"partition": 0, "fetch_state": "active", "consumer_lag": 7},
                "1": {"partition": 1, "fetch_state": "active", "consumer_lag": -1},
                "2": {"partition": 2, "fetch_state": "none", "consumer_lag": 3},
                "-1": {"partition": -1, "fetch_state": "none"}
            }}}
        }"#;
        let figures = Figures::parse(json).unwrap();
        assert_eq!(figures.brokers, 1);
        assert_eq!(figures.saturation, Some(0.9));
        assert_eq!(figures.lags, [("t".to_owned(), 0, 7)]);
        let consumer = Figures::parse(br#"{"msg_max": 0}"#).unwrap();
        assert_eq!(consumer, Figures::default());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Figures::parse(&bytes);
        }

        #[test]
        fn shares_lie_between_none_and_all(used: u32, most: u32) {
            let json = format!(r#"{{"msg_cnt": {used}, "msg_max": {most}}}"#);
            let share = Figures::parse(json.as_bytes()).unwrap().saturation;
            prop_assert!(share.is_none_or(|share| (0.0..=1.0).contains(&share)));
            prop_assert_eq!(share.is_none(), most == 0);
        }
    }
}
