//! What went wrong, in the words of the metrics.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::signals::event::PublishStatus;

/// An event is not known to be published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was not published to `{topic}`: {error}")]
pub struct PublishError {
    /// Where it was to go.
    pub topic: String,
    /// What rdkafka said.
    #[source]
    pub error: KafkaError,
}

impl PublishError {
    /// `error.type` on metrics and spans, such as `queue_full`.
    #[must_use]
    pub fn name(&self) -> String {
        name(&self.error)
    }

    /// Whether it is the topic that cannot be published to, while others may do well: it does not
    /// exist, or not for this client.
    #[must_use]
    pub fn is_of_topic(&self) -> bool {
        self.error.rdkafka_error_code().is_some_and(of_topic)
    }

    /// Whether the broker, or the client for it, will never take this event, however often it is
    /// sent.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        use RDKafkaErrorCode as Code;
        matches!(
            self.error.rdkafka_error_code(),
            Some(
                Code::MessageSizeTooLarge
                    | Code::InvalidMessage
                    | Code::InvalidMessageSize
                    | Code::InvalidRecord
                    | Code::MessageBatchTooLarge
            )
        )
    }
}

/// Whether an error is of one topic, while others may do well.
fn of_topic(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::InvalidTopic
            | Code::TopicAuthorizationFailed
            | Code::PolicyViolation
    )
}

/// Not every event was settled by the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{events} events were not delivered by the deadline")]
pub struct Unfinished {
    /// How many there were.
    pub events: u64,
}

/// The name of an error: rdkafka's name of librdkafka's code, in lower case.
pub(super) fn name(error: &KafkaError) -> String {
    match (error.rdkafka_error_code(), error) {
        (Some(code), _) => snake_case(&format!("{code:?}")),
        (None, KafkaError::Canceled) => "canceled".to_owned(),
        (None, KafkaError::Nul(_)) => "invalid_topic".to_owned(),
        (None, _) => "client".to_owned(),
    }
}

/// How publishing ended, of an error.
pub(super) fn status(error: &KafkaError) -> PublishStatus {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(
            Code::MessageTimedOut
            | Code::OperationTimedOut
            | Code::TimedOutQueue
            | Code::RequestTimedOut,
        ) => PublishStatus::Timeout,
        _ => PublishStatus::Failed,
    }
}

/// `MessageTimedOut` as `message_timed_out`, `SSL` as `ssl`.
fn snake_case(camel: &str) -> String {
    let mut snake = String::with_capacity(camel.len() + 8);
    let mut lower = false;
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() && lower {
            snake.push('_');
        }
        lower = !letter.is_ascii_uppercase();
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_names_of_their_codes() {
        for (code, expected, status_expected) in [
            (
                RDKafkaErrorCode::QueueFull,
                "queue_full",
                PublishStatus::Failed,
            ),
            (
                RDKafkaErrorCode::MessageTimedOut,
                "message_timed_out",
                PublishStatus::Timeout,
            ),
            (
                RDKafkaErrorCode::MessageSizeTooLarge,
                "message_size_too_large",
                PublishStatus::Failed,
            ),
            (RDKafkaErrorCode::SSL, "ssl", PublishStatus::Failed),
            (
                RDKafkaErrorCode::PartitionEOF,
                "partition_eof",
                PublishStatus::Failed,
            ),
        ] {
            let error = KafkaError::MessageProduction(code);
            assert_eq!(name(&error), expected);
            assert_eq!(status(&error), status_expected, "{expected}");
        }
        assert_eq!(name(&KafkaError::Canceled), "canceled");
    }

    #[test]
    fn only_what_can_never_succeed_is_permanent() {
        let error = |code| PublishError {
            topic: "t".to_owned(),
            error: KafkaError::MessageProduction(code),
        };
        assert!(error(RDKafkaErrorCode::MessageSizeTooLarge).is_permanent());
        for code in [
            RDKafkaErrorCode::QueueFull,
            RDKafkaErrorCode::MessageTimedOut,
            RDKafkaErrorCode::UnknownTopic,
            RDKafkaErrorCode::TopicAuthorizationFailed,
        ] {
            assert!(!error(code).is_permanent(), "{code:?}");
        }
        assert!(error(RDKafkaErrorCode::UnknownTopic).is_of_topic());
        assert!(!error(RDKafkaErrorCode::MessageTimedOut).is_of_topic());
    }
}
