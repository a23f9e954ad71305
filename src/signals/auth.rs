//! Authentication: logins, refreshed tokens, and who was not let in.

use super::http::AuthType;
use crate::catalog::{Alert, Condition, Panel, Runbook, Severity, View};
use crate::{closed_label, signal};

closed_label! {
    /// How an attempt ended.
    pub enum AuthOutcome {
        /// Admitted.
        Success = "success",
        /// Not admitted.
        Failed = "failed" error,
    }
}

closed_label! {
    /// Why a caller was not let in.
    pub enum RefusalReason {
        /// There were no credentials.
        Missing = "missing",
        /// The credentials cannot be read.
        Malformed = "malformed",
        /// Nobody has these credentials.
        Unknown = "unknown",
        /// They were good until a time that has passed.
        Expired = "expired",
        /// They are good from a later time on.
        NotYetValid = "not_yet_valid",
        /// They were taken back.
        Revoked = "revoked",
        /// The token is not signed with a key that is accepted.
        Signature = "signature",
        /// The token was issued by somebody else, or for somebody else.
        Claims = "claims",
        /// The credentials are good, but not for this.
        Forbidden = "forbidden",
        /// Too many attempts from the same address failed.
        LockedOut = "locked_out",
    }
}

signal! {
    /// Somebody tried to log in.
    pub counter AuthLogin = "auth.login" => "auth.logins" "{login}" {
        labels {
            /// Who vouches for users, such as `google` or `password`.
            provider as "auth.provider": open(20),
            /// How it ended.
            status: closed(AuthOutcome),
        }
        panels [
            Panel::new("Logins", View::Rate("auth.logins"), "Attempts to log in, a second, by who vouches for users and how they ended.")
                .by(&["auth.provider", "status"])
                .section("Authentication")
                .headline(),
        ]
        alerts [
            Alert::new(
                "AuthLoginsFailing",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "auth.logins", ratio: 0.5, floor: 20 },
                "More than half of the logins fail",
                Runbook {
                    meaning: "Most attempts to log in with one provider fail.",
                    causes: &["The provider of identities is away or refuses the application", "A secret of the application expired", "Somebody tries passwords"],
                    actions: &["Compare with the refusals by reason on the same dashboard", "Log in with an account of your own through this provider", "If one address sends most attempts, block it in front of the service"],
                },
            )
            .by(&["auth.provider"]),
        ]
    }
}

signal! {
    /// A token was exchanged for a newer one.
    pub counter AuthTokenRefresh = "auth.token.refresh" => "auth.token.refreshes" "{refresh}" {
        labels {
            /// Who issues the tokens.
            provider as "auth.provider": open(20),
            /// How it ended.
            status: closed(AuthOutcome),
        }
        panels [
            Panel::new("Token refreshes", View::Rate("auth.token.refreshes"), "Tokens exchanged for newer ones, a second, by issuer and how it ended.")
                .by(&["auth.provider", "status"])
                .section("Authentication"),
        ]
        alerts [
            Alert::new(
                "AuthTokenRefreshesFailing",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "auth.token.refreshes", ratio: 0.25, floor: 20 },
                "More than a quarter of the token refreshes fail",
                Runbook {
                    meaning: "Sessions end early, since their tokens are not renewed.",
                    causes: &["The issuer is away or slow", "Refresh tokens were revoked, or their signing key was changed", "Clocks of issuer and service differ"],
                    actions: &["Read the issuer's answers in the log", "Compare the clocks of both machines", "Log in anew and watch whether that session can be refreshed"],
                },
            )
            .by(&["auth.provider"]),
        ]
    }
}

signal! {
    /// A caller was not let in.
    pub counter AuthRefused = "auth.refused" => "auth.refusals" "{refusal}" {
        labels {
            /// What was shown: `api_key` stands for keys, fixed tokens, and users with passwords.
            auth_type as "auth.type": closed(AuthType),
            /// Why.
            reason: closed(RefusalReason),
        }
        panels [
            Panel::new("Refused callers", View::Rate("auth.refusals"), "Callers that were not let in, a second, by what they showed and why that was not enough.")
                .by(&["auth.type", "reason"])
                .section("Authentication")
                .headline(),
        ]
        alerts [
            Alert::new(
                "AuthRefusalsHigh",
                Severity::Warning,
                Condition::IncreaseAbove { metric: "auth.refusals", amount: 100.0 },
                "More than 100 callers were refused for one reason in 10 minutes",
                Runbook {
                    meaning: "A caller keeps showing what is not accepted, or somebody tries credentials.",
                    causes: &["`expired` or `revoked`: a client was not given its new key", "`missing`: a new client without credentials, or a scanner", "`unknown`, `signature` or `malformed`: a wrong key, or guessing", "`forbidden`: a key for other routes"],
                    actions: &["Find the addresses in the access log and compare them with the clients you know", "Give the client a key with `tachograph keys create`, and take back the old one", "Keep strangers out in front of the service"],
                },
            )
            .over_minutes(10)
            .by(&["reason"]),
        ]
    }
}

signal! {
    /// An address was locked out after too many attempts that failed.
    pub counter AuthLockout = "auth.lockout" => "auth.lockouts" "{lockout}" {
        labels {}
        panels [
            Panel::new("Lock-outs", View::Total("auth.lockouts"), "Addresses that were locked out over the range shown, since too many of their attempts failed.")
                .section("Authentication"),
        ]
        alerts [
            Alert::new(
                "AuthLockouts",
                Severity::Warning,
                Condition::Occurs { metric: "auth.lockouts" },
                "An address was locked out",
                Runbook {
                    meaning: "So many attempts from an address failed that it is refused for a while, with right credentials too.",
                    causes: &["A client with a wrong or revoked key that does not stop", "Somebody tries credentials", "A proxy in front: all its clients share its address"],
                    actions: &["Find the address in the log: each lock-out is a warning there", "Give the client its new key", "Behind a proxy set `auth.lockout.failures` to 0 and limit attempts there"],
                },
            )
            .for_minutes(1)
            .over_minutes(15),
        ]
    }
}
