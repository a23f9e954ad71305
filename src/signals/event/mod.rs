//! Events that go through a message broker: OpenTelemetry semantic conventions v1.41.0,
//! "Messaging metrics" and "Messaging spans". What waits to be published is in [`outbox`].

use crate::catalog::{Alert, BYTES, Condition, HTTP, Panel, Runbook, Severity, View};
use crate::{closed_label, signal};

pub mod outbox;

closed_label! {
    /// Which kind of broker, by its name in the semantic conventions.
    pub enum MessagingSystem {
        /// Apache Kafka.
        Kafka = "kafka",
        /// RabbitMQ.
        RabbitMq = "rabbitmq",
        /// Apache Pulsar.
        Pulsar = "pulsar",
        /// Apache RocketMQ.
        RocketMq = "rocketmq",
        /// Apache ActiveMQ.
        ActiveMq = "activemq",
        /// Google Cloud Pub/Sub.
        GcpPubSub = "gcp_pubsub",
        /// Amazon SQS.
        AwsSqs = "aws_sqs",
        /// Amazon SNS.
        AwsSns = "aws.sns",
        /// Azure Event Hubs.
        EventHubs = "eventhubs",
        /// Azure Event Grid.
        EventGrid = "eventgrid",
        /// Azure Service Bus.
        ServiceBus = "servicebus",
        /// Another one.
        Other = "_OTHER",
    }
}

closed_label! {
    /// How the publishing of an event ended.
    pub enum PublishStatus {
        /// The broker has it, and said so.
        Success = "success",
        /// The broker refused it, or it could not be handed to the client.
        Failed = "failed" error,
        /// The broker did not say by the deadline that it has it: it may have it all the same.
        Timeout = "timeout" error,
        /// Nobody reported how it ended.
        Abandoned = "abandoned" abandoned,
    }
}

closed_label! {
    /// How the processing of an event ended.
    pub enum ProcessStatus {
        /// It was done.
        Success = "success",
        /// It failed.
        Failed = "failed" error,
        /// It was given up before its end: cancelled, or it panicked.
        Abandoned = "abandoned" abandoned,
    }
}

closed_label! {
    /// What a rebalance of a consumer group did to one of its consumers.
    pub enum RebalanceKind {
        /// It got partitions.
        Assigned = "assigned",
        /// It has to give partitions back.
        Revoked = "revoked",
        /// It failed.
        Failed = "failed",
    }
}

signal! {
    /// Publishing of one event: from handing it to the client to the broker's answer.
    pub operation EventPublish => EventPublishEnd = "event.publish" span producer {
        labels {
            /// Topic, queue or exchange that it goes to.
            destination as "messaging.destination.name": open(64),
            /// Kind of broker.
            system as "messaging.system": closed(MessagingSystem),
        }
        outcome {
            /// How it ended.
            status: closed(PublishStatus),
            /// What went wrong: the client's name of the error, such as `message_timed_out`; absent if nothing.
            error as "error.type": optional(40),
        }
        values {
            /// Bytes of its key and its value together.
            size as "messaging.message.envelope.size",
        }
        context {
            /// `send`, as the kind of operation.
            OPERATION_TYPE = "messaging.operation.type",
            /// Partition that the broker put it into.
            PARTITION = "messaging.destination.partition.id",
            /// Offset within the partition.
            OFFSET = "messaging.kafka.offset",
            /// Name of the client.
            CLIENT = "messaging.client.id",
        }
        metrics {
            /// Events that were sent, or could not be.
            "messaging.client.sent.messages" = counter "{message}" count by [destination, system, status, error] with "messaging.operation.name" = "send";
            /// Time from handing an event to the client to the broker's answer.
            "messaging.client.operation.duration" = histogram "s" duration by [destination, system, status] with "messaging.operation.name" = "send" buckets (HTTP);
            /// Size of key and value of an event.
            "messaging.client.sent.size" = histogram "By" of(size) by [destination, system] buckets (BYTES)
                no_alert "an event that is too large is refused, which is watched";
        }
        panels [
            Panel::new("Events published", View::Rate("messaging.client.sent.messages"), "Events that were published or could not be, a second, by topic.")
                .by(&["messaging.destination.name"])
                .section("Publishing")
                .headline(),
            Panel::new("Events not published", View::ErrorRatio("messaging.client.sent.messages"), "Share of events of which the broker did not say that it has them, by topic.")
                .by(&["messaging.destination.name"])
                .section("Publishing")
                .headline(),
            Panel::new("Publishing latency", View::Quantiles("messaging.client.operation.duration"), "How long it takes until the broker says that it has an event.")
                .only(&[("status", "success")])
                .section("Publishing")
                .headline(),
            Panel::new("Publishing latency by topic", View::Quantiles("messaging.client.operation.duration"), "The 95th percentile of the time until the broker says that it has an event, by topic.")
                .by(&["messaging.destination.name"])
                .only(&[("status", "success")])
                .section("Publishing"),
            Panel::new("Publishing by status", View::Rate("messaging.client.sent.messages"), "Events, a second, by how their publishing ended. Of one that timed out nobody knows whether the broker has it.")
                .by(&["status"])
                .section("Publishing"),
            Panel::new("Publishing errors", View::Errors("messaging.client.sent.messages"), "Events that were not published, a second, by topic and by what went wrong.")
                .by(&["messaging.destination.name", "error.type"])
                .section("Publishing"),
            Panel::new("Size of events", View::Quantiles("messaging.client.sent.size"), "The 95th percentile of the size of key and value, by topic.")
                .by(&["messaging.destination.name"])
                .section("Publishing"),
            Panel::new("Bytes published", View::Rate("messaging.client.sent.size"), "Events whose size is known, a second, by topic.")
                .by(&["messaging.destination.name"])
                .section("Publishing"),
        ]
        alerts [
            Alert::new(
                "EventPublishFailureRateHigh",
                Severity::Critical,
                Condition::ErrorRatioAbove { metric: "messaging.client.sent.messages", ratio: 0.05, floor: 20 },
                "More than 5 % of the events to a topic are not published",
                Runbook {
                    meaning: "The broker refuses events of this topic, or does not say by the deadline that it has them. Unless the application keeps them, they are lost.",
                    causes: &[
                        "The broker is away, or has no leader for the partition (`message_timed_out`, `broker_transport_failure`)",
                        "The client's queue is full: more is published than the broker takes (`queue_full`)",
                        "The topic does not exist and is not created by itself (`unknown_topic`)",
                        "Events are larger than the broker accepts (`message_size_too_large`)",
                        "Credentials or access lists have changed (`topic_authorization_failed`)",
                    ],
                    actions: &[
                        "Split by `error_type`",
                        "Look at the brokers that the client is connected to, and at what waits in its queue",
                        "Describe the topic with `kafka-topics.sh --describe`: leaders and replicas in sync",
                    ],
                },
            )
            .by(&["messaging.destination.name"]),
            Alert::new(
                "EventPublishSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "messaging.client.operation.duration", quantile: 0.95, threshold: 1.0, floor: 20 },
                "The 95th percentile of publishing to a topic is above 1 second",
                Runbook {
                    meaning: "For one event in twenty it takes longer than a second until the broker says that it has it.",
                    causes: &["A replica is slow or away, and the leader waits for it", "The broker's disk is busy", "Events wait in the client: a long `linger.ms`, or more than the connection takes"],
                    actions: &["Compare with what waits in the client's queue", "Look at the broker's request latency and at replicas that are not in sync", "Lower `linger.ms`, or publish less at once"],
                },
            )
            .only(&[("status", "success")])
            .by(&["messaging.destination.name"]),
        ]
    }
}

signal! {
    /// Processing of one event that was received.
    pub operation EventProcess => EventProcessEnd = "event.process" span consumer {
        labels {
            /// Topic or queue that it comes from.
            destination as "messaging.destination.name": open(64),
            /// Consumer group.
            group as "messaging.consumer.group.name": optional(32),
            /// Kind of broker.
            system as "messaging.system": closed(MessagingSystem),
        }
        outcome {
            /// How it ended.
            status: closed(ProcessStatus),
            /// What went wrong: one of few words of the application; absent if nothing.
            error as "error.type": optional(40),
        }
        context {
            /// `process`, as the kind of operation.
            OPERATION_TYPE = "messaging.operation.type",
            /// Partition that it was in.
            PARTITION = "messaging.destination.partition.id",
            /// Offset within the partition.
            OFFSET = "messaging.kafka.offset",
            /// Name of the client.
            CLIENT = "messaging.client.id",
        }
        metrics {
            /// Events whose processing ended.
            "messaging.process.messages" = counter "{message}" count by [destination, group, system, status, error] with "messaging.operation.name" = "process";
            /// Time that processing an event took.
            "messaging.process.duration" = histogram "s" duration by [destination, group, system] with "messaging.operation.name" = "process" buckets (HTTP)
                no_alert "how long it may take is the application's; consumers that are too slow fall behind, which is watched";
        }
        panels [
            Panel::new("Events processed", View::Rate("messaging.process.messages"), "Events whose processing ended, a second, by topic and consumer group.")
                .by(&["messaging.destination.name", "messaging.consumer.group.name"])
                .section("Consuming")
                .headline(),
            Panel::new("Failing events", View::ErrorRatio("messaging.process.messages"), "Share of events whose processing failed, by topic and consumer group.")
                .by(&["messaging.destination.name", "messaging.consumer.group.name"])
                .section("Consuming")
                .headline(),
            Panel::new("Processing time", View::Quantiles("messaging.process.duration"), "The 95th percentile of the time that processing an event takes, by topic and consumer group.")
                .by(&["messaging.destination.name", "messaging.consumer.group.name"])
                .section("Consuming"),
            Panel::new("Processing errors", View::Errors("messaging.process.messages"), "Events whose processing failed, a second, by topic and by what went wrong.")
                .by(&["messaging.destination.name", "error.type"])
                .section("Consuming"),
        ]
        alerts [
            Alert::new(
                "EventProcessingFails",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "messaging.process.messages", ratio: 0.05, floor: 20 },
                "More than 5 % of the events that a group consumes fail",
                Runbook {
                    meaning: "The application cannot process these events. Whether they are tried again is its own decision.",
                    causes: &["Something that processing needs is away", "Events of a form that this version does not know", "A defect of the version that was rolled out last"],
                    actions: &["Split by `error_type`", "Open an exemplar's trace: it begins where the event was published", "Read one of the events at its partition and offset"],
                },
            )
            .by(&["messaging.destination.name", "messaging.consumer.group.name"]),
        ]
    }
}

signal! {
    /// Events that were handed to an application, and attempts that failed.
    pub counter EventConsumed = "event.consumed" => "messaging.client.consumed.messages" "{message}" {
        labels {
            /// Topic or queue; absent where an attempt failed that was for none in particular.
            destination as "messaging.destination.name": optional(64),
            /// Consumer group.
            group as "messaging.consumer.group.name": optional(32),
            /// Kind of broker.
            system as "messaging.system": closed(MessagingSystem),
            /// What went wrong: the client's name of the error; absent if nothing.
            error as "error.type": optional(40),
        }
        panels [
            Panel::new("Events consumed", View::Rate("messaging.client.consumed.messages"), "Events that were handed to applications, a second, by topic and consumer group.")
                .by(&["messaging.destination.name", "messaging.consumer.group.name"])
                .section("Consuming"),
            Panel::new("Consuming errors", View::Errors("messaging.client.consumed.messages"), "Attempts to consume that failed, a second, by consumer group and by what went wrong.")
                .by(&["messaging.consumer.group.name", "error.type"])
                .section("Consuming"),
        ]
        no_alert "a consumer that receives nothing falls behind, which is watched"
    }
}

signal! {
    /// Events of a partition that a consumer group has not committed yet.
    pub gauge EventConsumerLag = "event.consumer.lag" => "messaging.kafka.consumer.lag" "{message}" {
        labels {
            /// Consumer group.
            group as "messaging.consumer.group.name": open(32),
            /// Topic.
            destination as "messaging.destination.name": open(64),
            /// Partition.
            partition as "messaging.destination.partition.id": open(256),
        }
        panels [
            Panel::new("Consumer lag", View::Value("messaging.kafka.consumer.lag"), "Events that a consumer group has not committed yet, by topic.")
                .by(&["messaging.consumer.group.name", "messaging.destination.name"])
                .section("Consuming")
                .headline(),
            Panel::new("Consumer lag by partition", View::Value("messaging.kafka.consumer.lag"), "Events that a consumer group has not committed yet, by partition. One that grows alone has a slow consumer, or a key that most events share.")
                .by(&["messaging.destination.name", "messaging.destination.partition.id"])
                .section("Consuming"),
        ]
        alerts [
            Alert::new(
                "EventConsumerLags",
                Severity::Warning,
                Condition::ValueAbove { metric: "messaging.kafka.consumer.lag", threshold: 10_000.0 },
                "A consumer group is more than 10,000 events behind in a partition",
                Runbook {
                    meaning: "Events are published faster than this group processes them, or it does not process at all. What waits longer than the topic's retention is lost to the group.",
                    causes: &["Consumers are slower than before, or fewer", "One event fails again and again and holds the partition up", "Far more is published than usual"],
                    actions: &["Compare the rates of publishing and processing", "Look at failing events and at rebalances of the group", "Add consumers, up to the number of partitions"],
                },
            )
            .for_minutes(10)
            .by(&["messaging.consumer.group.name", "messaging.destination.name"]),
        ]
    }
}

signal! {
    /// Rebalances of a consumer group, as one of its consumers saw them.
    pub counter EventRebalance = "event.rebalance" => "messaging.kafka.consumer.rebalances" "{rebalance}" {
        labels {
            /// Consumer group.
            group as "messaging.consumer.group.name": open(32),
            /// What it did.
            kind as "messaging.kafka.rebalance.kind": closed(RebalanceKind),
        }
        panels [
            Panel::new("Rebalances", View::Total("messaging.kafka.consumer.rebalances"), "How often consumers got partitions or had to give them back over the range shown, by consumer group.")
                .by(&["messaging.consumer.group.name", "messaging.kafka.rebalance.kind"])
                .section("Consuming"),
        ]
        alerts [
            Alert::new(
                "EventConsumersRebalance",
                Severity::Warning,
                Condition::IncreaseAbove { metric: "messaging.kafka.consumer.rebalances", amount: 20.0 },
                "A consumer group has been rebalanced again and again in the last 30 minutes",
                Runbook {
                    meaning: "Consumers of this group come and go. While partitions move, nobody processes them, and what was not committed is processed twice.",
                    causes: &["Processing takes longer than `max.poll.interval.ms`, so that a consumer is taken for gone", "Consumers are restarted again and again", "The network between consumers and broker is broken"],
                    actions: &["Read the consumers' log for why they left the group", "Compare the time that processing takes with `max.poll.interval.ms`", "Use static membership (`group.instance.id`) where restarts are frequent"],
                },
            )
            .over_minutes(30)
            .for_minutes(1)
            .by(&["messaging.consumer.group.name"]),
        ]
    }
}

signal! {
    /// Brokers that a client is connected to.
    pub gauge EventBrokers = "event.brokers" => "messaging.kafka.client.brokers" "{broker}" {
        labels {
            /// Name of the client.
            client as "messaging.client.id": open(32),
        }
        panels [
            Panel::new("Brokers connected", View::Value("messaging.kafka.client.brokers"), "Brokers that each client is connected to. It connects to those that it needs, which need not be all.")
                .by(&["messaging.client.id"])
                .section("Clients")
                .headline(),
        ]
        alerts [
            Alert::new(
                "EventBrokersAway",
                Severity::Critical,
                Condition::ValueBelow { metric: "messaging.kafka.client.brokers", threshold: 1.0 },
                "A client is connected to no broker",
                Runbook {
                    meaning: "Nothing can be published or consumed by this client. What is published waits in its memory until its deadline, and then fails.",
                    causes: &["The brokers are away, or restart all at once", "The network or the name resolution between is broken", "Credentials or certificates have expired"],
                    actions: &["Read the client's log: it says for each broker why", "Reach the broker's port from the same host", "Nothing needs to be restarted here: the client keeps trying"],
                },
            )
            .for_minutes(2)
            .by(&["messaging.client.id"]),
        ]
    }
}

signal! {
    /// Events that wait in a client for the broker's answer, those under way among them.
    pub gauge EventQueue = "event.queue" => "messaging.kafka.producer.queue.messages" "{message}" {
        labels {
            /// Name of the client.
            client as "messaging.client.id": open(32),
        }
        panels [
            Panel::new("Events waiting in clients", View::Value("messaging.kafka.producer.queue.messages"), "Events that wait in each client for the broker's answer.")
                .by(&["messaging.client.id"])
                .section("Clients"),
        ]
        no_alert "the share of the queue that is in use is watched"
    }
}

signal! {
    /// Share of a client's queue that is in use, of its events or its bytes, whichever is more.
    pub gauge EventQueueSaturation = "event.queue.saturation" => "messaging.kafka.producer.queue.saturation" "1" {
        labels {
            /// Name of the client.
            client as "messaging.client.id": open(32),
        }
        panels [
            Panel::new("Client queues in use", View::Value("messaging.kafka.producer.queue.saturation"), "Share of each client's queue that is in use. At 1 further events are refused with `queue_full`.")
                .by(&["messaging.client.id"])
                .section("Clients"),
        ]
        alerts [
            Alert::new(
                "EventQueueNearlyFull",
                Severity::Warning,
                Condition::ValueAbove { metric: "messaging.kafka.producer.queue.saturation", threshold: 0.8 },
                "More than 80 % of a client's queue is in use",
                Runbook {
                    meaning: "Events are published faster than the broker takes them. When the queue is full, further ones are refused.",
                    causes: &["The broker is slow or away", "A burst that is larger than the queue"],
                    actions: &["Look at publishing latency and at the brokers that are connected", "Publish less at once, or raise `queue.buffering.max.messages` and `queue.buffering.max.kbytes`"],
                },
            )
            .for_minutes(2)
            .by(&["messaging.client.id"]),
        ]
    }
}
