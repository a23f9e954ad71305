//! Requests to language models: OpenTelemetry semantic conventions v1.41.0, "Generative AI
//! metrics", "Generative AI spans" (status: development). Every name of theirs that this
//! crate uses for models is in this module.
//!
//! Token counts follow the conventions: the input count includes tokens read from and written
//! to the cache, the output count includes reasoning, and so does the histogram of the
//! conventions. The counters `llm.tokens` and `llm.token.cost` are split into kinds of which no
//! token is in two. Providers report tokens in ways of their own: `tachograph::usage` reads
//! them.
//!
//! `gen_ai.server.*` is not declared: the server that runs a model measures it, and those that do
//! publish it themselves. What a caller sees of it is the time to the first chunk and the time per
//! chunk.

use crate::catalog::{
    Alert, CONFIDENCE, COST, Condition, FIRST_CHUNK, LLM, Panel, Runbook, SPEED, Severity, TOKENS,
    View,
};
use crate::{closed_label, signal};

mod budgets;
mod limits;

pub use budgets::{
    LlmBudgetLimit, LlmBudgetRemaining, LlmBudgetSpent, LlmBudgetUnpriced, LlmBudgetUtilization,
};
pub use limits::{
    LimitKind, LlmProviderUp, LlmRateLimit, LlmRateLimitRemaining, LlmRateLimitReset,
    LlmRateLimitSaturation,
};

closed_label! {
    /// What the model was asked to do: `gen_ai.operation.name`.
    pub enum LlmOperation {
        /// Chat completion.
        Chat = "chat",
        /// Completion of a text.
        TextCompletion = "text_completion",
        /// Generation of content of several kinds.
        GenerateContent = "generate_content",
        /// Embeddings.
        Embeddings = "embeddings",
    }
}

closed_label! {
    /// How a request to a model ended.
    pub enum LlmStatus {
        /// The model answered.
        Success = "success",
        /// The request failed.
        Failed = "failed" error,
        /// There was no answer in time.
        Timeout = "timeout" error,
        /// The provider refused because of its rate limit.
        RateLimited = "rate_limited" error,
        /// The provider refused because of what was asked or answered.
        Filtered = "filtered",
        /// The caller stopped it.
        Cancelled = "cancelled",
        /// Nobody reported its end.
        Abandoned = "abandoned" abandoned,
    }
}

closed_label! {
    /// Why it is not known how many tokens a request took.
    pub enum UsageGap {
        /// The answer does not say.
        NotReported = "not_reported",
        /// The answer was streamed by a provider that says so only if it is asked to.
        NotRequested = "not_requested",
        /// The answer broke off, or was waited for no more, before it said so.
        CutOff = "cut_off",
        /// What the answer says is not as its format has it.
        Unreadable = "unreadable",
        /// More would have had to be kept of the answer than is.
        TooLarge = "too_large",
    }
}

signal! {
    /// One request to a language model, from sending it to the last byte of the answer.
    pub operation LlmRequest => LlmRequestEnd = "llm.request" span client {
        labels {
            /// What the model was asked to do.
            operation as "gen_ai.operation.name": closed(LlmOperation),
            /// Provider, such as `anthropic`, `openai`, `aws.bedrock`, `gcp.gemini`.
            provider as "gen_ai.provider.name": open(24),
            /// Model that was asked for.
            model as "gen_ai.request.model": open(100),
            /// Agent on whose behalf it is asked.
            agent as "gen_ai.agent.name": optional(100),
        }
        outcome {
            /// Model that answered.
            response_model as "gen_ai.response.model": optional(100),
            /// How the request ended.
            status: closed(LlmStatus),
            /// What went wrong: a status code or a kind of error; absent if nothing.
            error as "error.type": optional(32),
        }
        values {
            /// Tokens of input, those read from and written to the cache included; unknown if not reported.
            input_tokens as "gen_ai.usage.input_tokens",
            /// Tokens of output, reasoning included; unknown if not reported.
            output_tokens as "gen_ai.usage.output_tokens",
            /// Tokens of input that were read from the provider's cache.
            cache_read_tokens as "gen_ai.usage.cache_read.input_tokens",
            /// Tokens of input that were written to the provider's cache.
            cache_write_tokens as "gen_ai.usage.cache_creation.input_tokens",
            /// Tokens of output spent on reasoning.
            reasoning_tokens as "gen_ai.usage.reasoning.output_tokens",
            /// Seconds from sending the request to the first chunk of a streamed answer.
            first_chunk as "gen_ai.response.time_to_first_chunk",
            /// Share of the model's context window that input and output took, 0 to 1.
            context_use as "llm.context_window.utilization",
            /// Cost of the request, US dollars; unknown if usage or price is.
            cost as "llm.cost_usd",
            /// Part of the cost: input neither read from nor written to the cache.
            input_cost as "llm.input_cost_usd",
            /// Part of the cost: input read from the cache.
            cache_read_cost as "llm.cache_read_cost_usd",
            /// Part of the cost: input written to the cache.
            cache_write_cost as "llm.cache_write_cost_usd",
            /// Part of the cost: output without reasoning.
            output_cost as "llm.output_cost_usd",
            /// Part of the cost: reasoning.
            reasoning_cost as "llm.reasoning_cost_usd",
        }
        context {
            /// Provider's id of the answer.
            RESPONSE_ID = "gen_ai.response.id",
            /// Why the model stopped.
            FINISH_REASONS = "gen_ai.response.finish_reasons",
            /// Conversation, session or thread it belongs to.
            CONVERSATION_ID = "gen_ai.conversation.id",
            /// Name of the server that was asked.
            SERVER_ADDRESS = "server.address",
            /// Port of the server that was asked.
            SERVER_PORT = "server.port",
            /// Id shared by everything that belongs to one request or task.
            CORRELATION_ID = "correlation_id",
            /// Seconds after which the provider wants to be asked again.
            RETRY_AFTER = "llm.retry_after",
        }
        metrics {
            /// Duration of requests to language models.
            "gen_ai.client.operation.duration" = histogram "s" duration
                by [operation, provider, model, response_model, error] buckets (LLM);
            /// Time from sending a request to the first chunk of a streamed answer.
            "gen_ai.client.operation.time_to_first_chunk" = histogram "s" of(first_chunk)
                by [operation, provider, model, response_model] buckets (FIRST_CHUNK);
            /// Tokens of input or output of a request, cached and reasoning tokens included.
            "gen_ai.client.token.usage" = histogram "{token}" of(input_tokens)
                by [operation, provider, model, response_model] with "gen_ai.token.type" = "input" buckets (TOKENS)
                no_alert "what is too much is a matter of cost, which is watched";
            /// Tokens of input or output of a request, cached and reasoning tokens included.
            "gen_ai.client.token.usage" = histogram "{token}" of(output_tokens)
                by [operation, provider, model, response_model] with "gen_ai.token.type" = "output" buckets (TOKENS)
                no_alert "what is too much is a matter of cost, which is watched";
            /// Requests to language models that ended.
            "llm.requests" = counter "{request}" count by [operation, provider, model, status, error];
            /// Requests to language models under way now.
            "llm.active" = in_flight "{request}" active by [operation, provider, model];
            /// Tokens, each in one kind: input without the cache, read from it, written to it, output without reasoning, reasoning.
            "llm.tokens" = counter "{token}" rest(input_tokens cache_read_tokens cache_write_tokens)
                by [provider, model, agent] with "llm.token.kind" = "input"
                no_alert "what is too much is a matter of cost, which is watched";
            /// Tokens, each in one kind: input without the cache, read from it, written to it, output without reasoning, reasoning.
            "llm.tokens" = counter "{token}" of(cache_read_tokens)
                by [provider, model, agent] with "llm.token.kind" = "cache_read"
                no_alert "what is too much is a matter of cost, which is watched";
            /// Tokens, each in one kind: input without the cache, read from it, written to it, output without reasoning, reasoning.
            "llm.tokens" = counter "{token}" of(cache_write_tokens)
                by [provider, model, agent] with "llm.token.kind" = "cache_write"
                no_alert "what is too much is a matter of cost, which is watched";
            /// Tokens, each in one kind: input without the cache, read from it, written to it, output without reasoning, reasoning.
            "llm.tokens" = counter "{token}" rest(output_tokens reasoning_tokens)
                by [provider, model, agent] with "llm.token.kind" = "output"
                no_alert "what is too much is a matter of cost, which is watched";
            /// Tokens, each in one kind: input without the cache, read from it, written to it, output without reasoning, reasoning.
            "llm.tokens" = counter "{token}" of(reasoning_tokens)
                by [provider, model, agent] with "llm.token.kind" = "reasoning"
                no_alert "what is too much is a matter of cost, which is watched";
            /// Cost of requests to language models; requests of unknown cost are not in it.
            "llm.cost" = sum "USD" of(cost) by [provider, model, agent];
            /// Cost of one request to a language model; requests of unknown cost are not in it.
            "llm.request.cost" = histogram "USD" of(cost) by [provider, model] buckets (COST)
                no_alert "the sum is watched: one dear request may be right";
            /// Cost of requests to language models by kind of token, where the price of each kind is known.
            "llm.token.cost" = sum "USD" of(input_cost)
                by [provider, model, agent] with "llm.token.kind" = "input"
                no_alert "part of the cost, which is watched";
            /// Cost of requests to language models by kind of token, where the price of each kind is known.
            "llm.token.cost" = sum "USD" of(cache_read_cost)
                by [provider, model, agent] with "llm.token.kind" = "cache_read"
                no_alert "part of the cost, which is watched";
            /// Cost of requests to language models by kind of token, where the price of each kind is known.
            "llm.token.cost" = sum "USD" of(cache_write_cost)
                by [provider, model, agent] with "llm.token.kind" = "cache_write"
                no_alert "part of the cost, which is watched";
            /// Cost of requests to language models by kind of token, where the price of each kind is known.
            "llm.token.cost" = sum "USD" of(output_cost)
                by [provider, model, agent] with "llm.token.kind" = "output"
                no_alert "part of the cost, which is watched";
            /// Cost of requests to language models by kind of token, where the price of each kind is known.
            "llm.token.cost" = sum "USD" of(reasoning_cost)
                by [provider, model, agent] with "llm.token.kind" = "reasoning"
                no_alert "part of the cost, which is watched";
            /// Share of the model's context window that input and output of a request took.
            "llm.context_window.utilization" = histogram "1" of(context_use) by [provider, model] buckets (CONFIDENCE);
        }
        panels [
            Panel::new("Model requests", View::Rate("llm.requests"), "Requests to language models that ended, a second, by model.")
                .by(&["gen_ai.request.model"])
                .section("Requests")
                .headline(),
            Panel::new("Failing model requests", View::ErrorRatio("llm.requests"), "Share of a provider's requests that failed, timed out or were refused by a rate limit.")
                .by(&["gen_ai.provider.name"])
                .section("Requests")
                .headline(),
            Panel::new("Errors by kind", View::Errors("llm.requests"), "Requests that failed, a second, by provider and kind of error.")
                .by(&["gen_ai.provider.name", "error.type"])
                .section("Requests"),
            Panel::new("Model error budget left", View::Budget("llm.requests"), "What is left of the share of a provider's requests that may fail, over the range shown: 100 % if none failed, below 0 if too many did.")
                .by(&["gen_ai.provider.name"])
                .section("Requests")
                .headline(),
            Panel::new("Requests by status", View::Rate("llm.requests"), "Requests that ended, a second, by how they ended.")
                .by(&["status"])
                .section("Requests"),
            Panel::new("Model requests under way", View::Value("llm.active"), "Requests that were sent and are not answered in full.")
                .by(&["gen_ai.request.model"])
                .section("Requests"),
            Panel::new("Model latency", View::Quantiles("gen_ai.client.operation.duration"), "The 95th percentile of the time from sending a request to the end of the answer, by model.")
                .by(&["gen_ai.request.model"])
                .section("Latency")
                .headline(),
            Panel::new("Time to first chunk", View::Quantiles("gen_ai.client.operation.time_to_first_chunk"), "The 95th percentile of the time to the first chunk of streamed answers, by model: what users wait before they read.")
                .by(&["gen_ai.request.model"])
                .section("Latency"),
            Panel::new("Latency by bucket", View::Heatmap("gen_ai.client.operation.duration"), "Distribution of the time of requests; exemplars link to traces.")
                .section("Latency"),
            Panel::new("Cost", View::Total("llm.cost"), "US dollars spent over the range shown, by model. Requests of unknown price are not in it.")
                .by(&["gen_ai.request.model"])
                .section("Cost")
                .headline(),
            Panel::new("Spend an hour", View::Rate("llm.cost"), "US dollars an hour, at the rate of the moment.")
                .section("Cost")
                .headline(),
            Panel::new("Spend an hour by model", View::Rate("llm.cost"), "US dollars an hour, at the rate of the moment, by model. The alert watches their sum.")
                .by(&["gen_ai.request.model"])
                .section("Cost"),
            Panel::new("Cost by provider", View::Total("llm.cost"), "US dollars spent over the range shown, by provider.")
                .by(&["gen_ai.provider.name"])
                .section("Cost"),
            Panel::new("Cost by agent", View::Total("llm.cost"), "US dollars spent over the range shown, by agent.")
                .by(&["gen_ai.agent.name"])
                .section("Cost"),
            Panel::new("Cost of a request", View::Mean("llm.request.cost"), "Mean cost of one request, US dollars, by model.")
                .by(&["gen_ai.request.model"])
                .section("Cost"),
            Panel::new("Dear requests", View::Quantiles("llm.request.cost"), "The 95th percentile of the cost of one request, US dollars, by model.")
                .by(&["gen_ai.request.model"])
                .section("Cost"),
            Panel::new("Cost by kind of token", View::Total("llm.token.cost"), "US dollars spent over the range shown, by kind of token, where the price of each kind is known.")
                .by(&["llm.token.kind"])
                .section("Cost"),
            Panel::new("Tokens", View::Rate("llm.tokens"), "Tokens a second, each in one kind: input without the cache, read from it, written to it, output without reasoning, reasoning.")
                .by(&["llm.token.kind", "gen_ai.request.model"])
                .section("Tokens"),
            Panel::new("Tokens by agent", View::Total("llm.tokens"), "Tokens over the range shown, by agent and kind.")
                .by(&["gen_ai.agent.name", "llm.token.kind"])
                .section("Tokens"),
            Panel::new("Tokens of a request", View::Mean("gen_ai.client.token.usage"), "Mean tokens of one request, input with cached ones and output with reasoning, by model. Input that grows makes answers slower and dearer.")
                .by(&["gen_ai.token.type", "gen_ai.request.model"])
                .section("Tokens"),
            Panel::new("Large requests", View::Quantiles("gen_ai.client.token.usage"), "The 95th percentile of the tokens of one request, input with cached ones and output with reasoning.")
                .by(&["gen_ai.token.type"])
                .section("Tokens"),
            Panel::new("Input read from the cache", View::Share { part: "llm.tokens", whole: "gen_ai.client.token.usage" }, "Share of input tokens that the provider had cached: they cost a fraction.")
                .only(&[("llm.token.kind", "cache_read"), ("gen_ai.token.type", "input")])
                .by(&["gen_ai.request.model"])
                .section("Tokens"),
            Panel::new("Input written to the cache", View::Share { part: "llm.tokens", whole: "gen_ai.client.token.usage" }, "Share of input tokens that were written to the provider's cache: they cost more than others, and pay off when they are read again.")
                .only(&[("llm.token.kind", "cache_write"), ("gen_ai.token.type", "input")])
                .by(&["gen_ai.request.model"])
                .section("Tokens"),
            Panel::new("Output spent on reasoning", View::Share { part: "llm.tokens", whole: "gen_ai.client.token.usage" }, "Share of output tokens that are reasoning, which readers do not see and the bill does.")
                .only(&[("llm.token.kind", "reasoning"), ("gen_ai.token.type", "output")])
                .by(&["gen_ai.request.model"])
                .section("Tokens"),
            Panel::new("Context window used", View::Quantiles("llm.context_window.utilization"), "The 95th percentile of the share of the model's context window that one request took. At 1 the model refuses, or forgets.")
                .by(&["gen_ai.request.model"])
                .section("Tokens"),
        ]
        alerts [
            Alert::new(
                "LlmErrorRateHigh",
                Severity::Critical,
                Condition::ErrorRatioAbove { metric: "llm.requests", ratio: 0.1, floor: 10 },
                "More than 10 % of the requests to a model provider fail",
                Runbook {
                    meaning: "Requests to this provider fail, time out or are refused by its rate limit.",
                    causes: &["The provider has an outage", "The rate limit is used up", "Credentials have expired or the model's name has been retired"],
                    actions: &[
                        "Split by `error_type` and `status`",
                        "Look at the provider's status page",
                        "Fall back to another model or provider, or lower concurrency where the limit is used up",
                    ],
                },
            )
            .by(&["gen_ai.provider.name"])
            .over_minutes(10),
            Alert::new(
                "LlmErrorBudgetBurns",
                Severity::Critical,
                Condition::BurnRate { metric: "llm.requests", objective: 0.99 },
                "Failing requests to a model provider use the error budget up too fast",
                Runbook {
                    meaning: "At this rate, more than the 1 % of failing requests that the objective allows is used up well before the month ends.",
                    causes: &["The provider has a partial outage", "The rate limit is used up now and then", "A model's name has been retired"],
                    actions: &["Find the model and the kind of error with most failures", "If it goes on, treat it as LlmErrorRateHigh", "Move part of the traffic to another provider or model"],
                },
            )
            .for_minutes(2)
            .by(&["gen_ai.provider.name"]),
            Alert::new(
                "LlmErrorBudgetUnknown",
                Severity::Info,
                Condition::Absent { metric: "llm.requests" },
                "No requests to a model provider are counted any more, so their objective cannot be judged",
                Runbook {
                    meaning: "The service published this metric within the last day and no longer does. As long as nothing is known, the alerts of the error budget stay silent.",
                    causes: &["Nothing has run since the process was started anew, for instance at night", "The code that records requests to a model provider was changed, or is no longer reached"],
                    actions: &["See when the process started and whether requests to a model provider should have come since", "If some did, look for the signal with `tachograph catalog` and compare it with what the code records"],
                },
            )
            .for_minutes(15)
            .by(&["gen_ai.provider.name"]),
            Alert::new(
                "LlmSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "gen_ai.client.operation.duration", quantile: 0.95, threshold: 60.0, floor: 10 },
                "The 95th percentile of requests to a model is above 60 s",
                Runbook {
                    meaning: "One request to this model in twenty takes longer than a minute.",
                    causes: &["The provider is slow", "Answers or prompts have grown", "Requests are tried again inside the client"],
                    actions: &["Compare the time to the first chunk: if it is well, answers are long", "Compare the tokens per request with before", "Fall back to another model"],
                },
            )
            .for_minutes(10)
            .by(&["gen_ai.request.model"])
            .over_minutes(10),
            Alert::new(
                "LlmFirstChunkSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "gen_ai.client.operation.time_to_first_chunk", quantile: 0.95, threshold: 10.24, floor: 10 },
                "Streamed answers of a model begin late",
                Runbook {
                    meaning: "Users of this model wait more than ten seconds for the first word in one request of twenty.",
                    causes: &["The provider queues requests", "Prompts have grown, or the cache is missed", "The model reasons before it answers"],
                    actions: &["Compare cached tokens with before", "Compare input tokens per request with before", "Look at the provider's status page"],
                },
            )
            .for_minutes(10)
            .by(&["gen_ai.request.model"])
            .over_minutes(10),
            Alert::new(
                "LlmContextNearlyFull",
                Severity::Warning,
                Condition::QuantileAbove { metric: "llm.context_window.utilization", quantile: 0.95, threshold: 0.9, floor: 10 },
                "Requests fill nine tenths of a model's context window",
                Runbook {
                    meaning: "One request to this model in twenty takes more than 90 % of its context window. Past it the provider refuses, or what was said first is cut off.",
                    causes: &["A conversation goes on for too long without being summed up", "A tool's answers are put into the prompt in full", "A model of a smaller window than intended"],
                    actions: &["Find the agent in the panel of tokens by agent", "Sum up or shorten what is sent along", "Use a model of a larger window"],
                },
            )
            .for_minutes(10)
            .by(&["gen_ai.request.model"])
            .over_minutes(30),
            Alert::new(
                "LlmRequestsStuck",
                Severity::Warning,
                Condition::Stuck { in_flight: "llm.active", ended: "llm.requests" },
                "Requests to a model are under way and none ends",
                Runbook {
                    meaning: "Requests to this model were sent, and none has ended for a long time.",
                    causes: &["The provider accepts connections and does not answer", "The client has no timeout"],
                    actions: &["Look at the provider's status page", "Give the client a timeout", "Restart what waits"],
                },
            )
            .for_minutes(15)
            .by(&["gen_ai.provider.name", "gen_ai.request.model"]),
            Alert::new(
                "LlmSpendPerHourHigh",
                Severity::Warning,
                Condition::IncreaseAbove { metric: "llm.cost", amount: 50.0 },
                "Models have cost more than 50 dollars within an hour",
                Runbook {
                    meaning: "At this rate a day costs more than 1,200 dollars. What is right depends on your budget.",
                    causes: &["An agent runs in a loop", "A dearer model is used than intended", "The provider's cache is missed: input tokens rise, cached ones fall"],
                    actions: &["Find the agent and the model in the cost panels", "Stop an agent that loops", "Compare cached tokens with before"],
                },
            )
            .for_minutes(5)
            .over_minutes(60),
            Alert::new(
                "LlmSpendPerDayHigh",
                Severity::Warning,
                Condition::IncreaseAbove { metric: "llm.cost", amount: 500.0 },
                "Models have cost more than 500 dollars within a day",
                Runbook {
                    meaning: "The last 24 hours cost more than 500 dollars, 15,000 a month. What is right depends on your budget.",
                    causes: &["More work than planned", "A dearer model is used than intended", "Agents take more steps than before, or loop at a low rate"],
                    actions: &["Find the agent and the model in the cost panels", "Compare with the same day of last week", "Use a cheaper model where it is good enough"],
                },
            )
            .for_minutes(5)
            .over_minutes(1440),
        ]
    }
}

signal! {
    /// Time from one chunk of a streamed answer to the next, for each chunk after the first.
    pub distribution LlmOutputChunk = "llm.output_chunk" => "gen_ai.client.operation.time_per_output_chunk" "s" {
        labels {
            /// What the model was asked to do.
            operation as "gen_ai.operation.name": closed(LlmOperation),
            /// Provider.
            provider as "gen_ai.provider.name": open(24),
            /// Model that was asked for.
            model as "gen_ai.request.model": open(100),
        }
        buckets (FIRST_CHUNK)
        panels [
            Panel::new("Time per output chunk", View::Quantiles("gen_ai.client.operation.time_per_output_chunk"), "The 95th percentile of the time from one chunk of a streamed answer to the next, by model: how fast users can read along.")
                .by(&["gen_ai.request.model"])
                .section("Latency"),
        ]
        alerts [
            Alert::new(
                "LlmStreamSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "gen_ai.client.operation.time_per_output_chunk", quantile: 0.95, threshold: 2.56, floor: 100 },
                "Streamed answers of a model falter",
                Runbook {
                    meaning: "One chunk in twenty of this model's streamed answers lets its reader wait more than two and a half seconds.",
                    causes: &["The provider is overloaded", "A proxy on the way collects chunks before it passes them on", "The model reasons in the midst of its answer"],
                    actions: &["Look at the provider's status page", "Compare with a request that does not go through the proxy", "Fall back to another model"],
                },
            )
            .for_minutes(10)
            .by(&["gen_ai.request.model"])
            .over_minutes(10),
        ]
    }
}

signal! {
    /// Tokens of output a second of one streamed answer, between its first and its last chunk.
    pub distribution LlmOutputSpeed = "llm.output_speed" => "llm.output.tokens_per_second" "{token}/s" {
        labels {
            /// What the model was asked to do.
            operation as "gen_ai.operation.name": closed(LlmOperation),
            /// Provider.
            provider as "gen_ai.provider.name": open(24),
            /// Model that was asked for.
            model as "gen_ai.request.model": open(100),
        }
        buckets (SPEED)
        panels [
            Panel::new("Output speed", View::Quantiles("llm.output.tokens_per_second"), "The median of the tokens of output a second of one streamed answer, between its first and its last chunk, by model.")
                .by(&["gen_ai.request.model"])
                .quantile(0.5)
                .section("Latency"),
        ]
        no_alert "the time from one chunk to the next is watched: gen_ai.client.operation.time_per_output_chunk"
    }
}

signal! {
    /// Requests to language models that were tried again.
    pub counter LlmRetried = "llm.retry" => "llm.retries" "{retry}" {
        labels {
            /// Provider.
            provider as "gen_ai.provider.name": open(24),
            /// Model that was asked for.
            model as "gen_ai.request.model": open(100),
            /// What went wrong before: a status code or a kind of error.
            reason as "error.type": open(32),
        }
        panels [
            Panel::new("Model retries", View::Rate("llm.retries"), "Requests that were tried again, a second, by what went wrong.")
                .by(&["gen_ai.provider.name", "error.type"])
                .section("Requests"),
        ]
        alerts [
            Alert::new(
                "LlmRetriesHigh",
                Severity::Warning,
                Condition::RateAbove { metric: "llm.retries", per_second: 0.5 },
                "Requests to a model provider are tried again often",
                Runbook {
                    meaning: "Requests succeed only after several tries, or not at all. Users wait longer, and limits are used up sooner.",
                    causes: &["The rate limit is nearly used up", "The provider has a partial outage"],
                    actions: &["Split by `error_type`", "Lower concurrency, or lengthen the pause between tries", "Look at the provider's status page"],
                },
            )
            .for_minutes(10)
            .by(&["gen_ai.provider.name"])
            .over_minutes(10),
        ]
    }
}

signal! {
    /// Requests answered without saying how many tokens they took.
    pub counter LlmUsageUnknown = "llm.usage_unknown" => "llm.usage.unknown" "{request}" {
        labels {
            /// Provider.
            provider as "gen_ai.provider.name": open(24),
            /// Model that was asked for.
            model as "gen_ai.request.model": open(100),
            /// Why.
            reason as "llm.usage.gap": closed(UsageGap),
        }
        panels [
            Panel::new("Requests of unknown usage", View::Rate("llm.usage.unknown"), "Requests answered without token counts, a second, and why. They are missing from tokens and cost.")
                .by(&["gen_ai.request.model", "llm.usage.gap"])
                .section("Limits and gaps"),
        ]
        alerts [
            Alert::new(
                "LlmUsageUnknown",
                Severity::Info,
                Condition::Occurs { metric: "llm.usage.unknown" },
                "A model answers without token counts",
                Runbook {
                    meaning: "Tokens and cost of these requests are unknown and are in no sum. The totals are too low.",
                    causes: &["Streaming without asking for usage (OpenAI: `stream_options.include_usage`)", "A proxy that strips usage", "Streams that are cut before their last chunk"],
                    actions: &["Split by `llm_usage_gap`", "Ask for usage in streams", "Compare with the provider's invoice", "Look at the proxy's settings"],
                },
            )
            .for_minutes(1)
            .by(&["gen_ai.request.model"])
            .over_minutes(60),
        ]
    }
}

signal! {
    /// Requests whose usage is known and whose price is not.
    pub counter LlmPriceUnknown = "llm.price_unknown" => "llm.price.unknown" "{request}" {
        labels {
            /// Provider.
            provider as "gen_ai.provider.name": open(24),
            /// Model whose price is not known.
            model as "gen_ai.request.model": open(100),
        }
        panels [
            Panel::new("Requests of unknown price", View::Rate("llm.price.unknown"), "Requests of models without a price, a second. They are missing from the cost.")
                .by(&["gen_ai.request.model"])
                .section("Limits and gaps"),
        ]
        alerts [
            Alert::new(
                "LlmPriceUnknown",
                Severity::Info,
                Condition::Occurs { metric: "llm.price.unknown" },
                "A model has no price",
                Runbook {
                    meaning: "The cost of this model's requests is unknown and in no sum. The totals are too low.",
                    causes: &["A new model", "A misspelt model", "A price list that is out of date"],
                    actions: &["Add the model to the price list", "Correct the name where it is misspelt"],
                },
            )
            .for_minutes(1)
            .by(&["gen_ai.provider.name", "gen_ai.request.model"])
            .over_minutes(60),
        ]
    }
}
