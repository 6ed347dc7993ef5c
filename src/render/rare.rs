//! The answer about a rare event: 80 columns of plain text.

use super::drain::paragraphs;
use crate::analysis::rare::{Answer, LEAST_EFFECTIVE, Question};
use crate::analysis::statistics::Estimate;
use crate::plan::Plan;
use crate::rules::expectation::Verdict;

/// The page; of a gate `at_most` is its bound.
pub fn page(plan: &Plan, question: Question, answer: &Answer, at_most: Option<f64>) -> String {
    let (from, to) = question.window;
    let head = format!(
        "{}: how likely is `{}`, by way of a spot pool that is lost between {from} and {to}?",
        plan.name, question.event.text
    );
    let (struck, hits) = answer.struck_runs;
    let (spared, spared_hits) = answer.spared_runs;
    let rows = [
        ("a pool that holds nodes is lost then", percent(answer.struck), seldom(answer.struck)),
        ("and if so, the event comes about", percent(answer.given.point), interval(answer.given)),
        ("both", percent(answer.both.chance.point), interval(answer.both.chance)),
        ("the event without such a loss", percent(answer.spared.point), interval(answer.spared)),
    ];
    let table = rows.map(|(what, value, more)| format!("{what:<38}{value:>9}  {more}").trim_end().to_string());
    let mut out = paragraphs(&[head]).trim_start().to_string();
    out += &format!("\n{}\n", table.join("\n"));
    let mut texts = vec![format!(
        "{struck} runs with a loss, {hits} of them with the event; {spared} without, {spared_hits} of them with it."
    )];
    match answer.worth {
        _ if hits == 0 => texts.push(format!(
            "The event was not seen. With 95% confidence both together happen in less than {} of runs.",
            percent(answer.given.high * answer.struck)
        )),
        Some(worth) if answer.both.is_trusted() => texts.push(format!(
            "Both together: {}. To know that as well, {} ordinary runs would be needed.",
            seldom(answer.both.chance.point),
            rounded(worth)
        )),
        _ => texts.push(too_little(answer)),
    }
    texts.extend(at_most.map(|bound| gated(answer, bound)));
    if answer.interrupted {
        texts.push("Interrupted: the answer rests on the runs that were finished.".to_string());
    }
    out + &paragraphs(&texts)
}

fn too_little(answer: &Answer) -> String {
    let hits = format!("{:.0} effective hits, where {LEAST_EFFECTIVE:.0} are wanted", answer.both.effective_hits);
    if answer.is_exact {
        return format!("{hits}: the interval is wide, yet it holds. More --runs make it narrower.");
    }
    format!("Too little stands behind this: {hits}. Give more --runs.")
}

/// How a gate came out.
fn gated(answer: &Answer, bound: f64) -> String {
    let (verdict, bound) = (answer.within(bound), percent(bound));
    match verdict {
        Verdict::Holds => format!("Gate: both happen in at most {bound} of runs."),
        Verdict::Fails => format!("Gate: both happen in more than {bound} of runs."),
        Verdict::Undecided => {
            format!("Gate: whether both happen in at most {bound} of runs is undecided. Give more --runs.")
        }
    }
}

/// `once in 58 000 such runs`.
fn seldom(chance: f64) -> String {
    if chance > 0.0 { format!("once in {} such runs", rounded(1.0 / chance)) } else { String::new() }
}

fn interval(estimate: Estimate) -> String {
    if estimate.high.is_finite() {
        format!("({} to {})", percent(estimate.low), percent(estimate.high))
    } else {
        String::new()
    }
}

/// Two significant digits, at most to 1e-12.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        0.0 => "0%".to_string(),
        ..1e-4 => format!("{percent:.1e}%"),
        ..10.0 => {
            let digits = (1.0 - percent.log10().floor()).max(0.0) as usize;
            format!("{percent:.digits$}%")
        }
        _ => format!("{percent:.0}%"),
    }
}

/// Two significant digits, thousands apart.
fn rounded(number: f64) -> String {
    let unit = 10_f64.powf((number.max(1.0).log10().floor() - 1.0).max(0.0));
    let whole = ((number / unit).round() * unit) as u64;
    let digits = whole.to_string();
    let lead = digits.len() % 3;
    let groups = digits.as_bytes()[lead..].chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
    let first = (lead > 0).then(|| digits[..lead].to_string());
    first.into_iter().chain(groups).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_two_digits_and_thousands_stand_apart() {
        assert_eq!([61.4, 58_123.0, 1_234_567.0, 3.0].map(rounded), ["61", "58 000", "1 200 000", "3"]);
        assert_eq!(
            [0.0, 0.25e-4, 0.0123, 0.5, 1.0, 1e-9].map(percent),
            ["0%", "0.0025%", "1.2%", "50%", "100%", "1.0e-7%"]
        );
    }
}
