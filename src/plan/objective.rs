//! The objective of a service: the share of requests that must succeed over a period. What may fail is its error budget.

use crate::engine::Span;

/// An objective.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErrorBudget {
    /// Share of the requests that must succeed. Source of the default: the SRE Workbook, chapter 5.
    pub objective: f64,
    /// Over so long.
    pub period: Span,
}

impl Default for ErrorBudget {
    fn default() -> ErrorBudget {
        ErrorBudget { objective: 0.999, period: Span::from_secs(30 * 86_400) }
    }
}
