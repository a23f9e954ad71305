//! The vocabulary of declaring: descriptors of signals, metrics, labels, panels and alerts, and the rules they obey.
