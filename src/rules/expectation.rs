//! Expectations as users write them: `p95(time_to_serve) <= 3m`, `time_to_serve in 2m..3m`, `share(lost_requests > 0) <= 1%`.
//!
//! Here is the text and its meaning; `analysis::expectation` holds it against measured values.

/// Where and why a text is no expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectationError {
    /// Byte offset in the text.
    pub offset: usize,
    /// What is wrong, a lower-case fragment.
    pub message: String,
    /// What to write instead, if it can be guessed.
    pub suggestion: Option<String>,
}

/// A statement about a measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// As written.
    pub text: String,
}

/// What somebody expects a claim to turn out as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The whole interval meets the bound.
    Holds,
    /// None of it does.
    Fails,
    /// The interval straddles the bound.
    Undecided,
}

/// Reads an expectation.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(text: &str) -> Result<Expectation, ExpectationError> {
    Ok(Expectation { text: text.to_string() })
}
