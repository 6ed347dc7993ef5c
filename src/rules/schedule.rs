//! Cron schedules of disruption budgets, in UTC.
//!
//! Source: `robfig/cron/v3` `parser.go`, `spec.go`: five fields, or `@hourly` and the like, or `@every 1h30m`.

/// A schedule: which instants it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Minutes that fit all fields.
    Fields(Fields),
    /// Always so many seconds after the instant asked about.
    Every(u64),
}

/// The five fields as bit sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
    any_day: bool,
    any_weekday: bool,
}

const SECONDS_PER_DAY: u64 = 86_400;
/// A schedule that names nothing for so long names nothing at all (30 February).
const HORIZON_DAYS: u64 = 5 * 366;
const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Schedule {
    /// Reads a schedule; `None` when it is none (day of week 7 is not one).
    pub fn parse(text: &str) -> Option<Schedule> {
        let text = text.trim();
        if let Some(rest) = text.strip_prefix("@every ") {
            return go_duration(rest.trim()).map(|seconds| Schedule::Every(seconds.max(1)));
        }
        let text = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let parts: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = parts.as_slice() else { return None };
        Some(Schedule::Fields(Fields {
            minute: field(minute, 0, 59, &[])?,
            hour: field(hour, 0, 23, &[])?,
            day: field(day, 1, 31, &[])?,
            month: field(month, 1, 12, &MONTHS)?,
            weekday: field(weekday, 0, 6, &WEEKDAYS)?,
            any_day: is_star(day),
            any_weekday: is_star(weekday),
        }))
    }

    /// The first instant after `second` (seconds since 1970) that the schedule names.
    pub fn next_after(&self, second: u64) -> Option<u64> {
        let fields = match self {
            Schedule::Every(period) => return Some(second + period),
            Schedule::Fields(fields) => fields,
        };
        // The next whole minute: strictly later.
        let first = (second / 60 + 1) * 60;
        let first_day = first / SECONDS_PER_DAY;
        (first_day..first_day + HORIZON_DAYS).find_map(|day| {
            if !fields.names_day(day) {
                return None;
            }
            let from = if day == first_day { (first % SECONDS_PER_DAY) / 60 } else { 0 };
            let minute = (from..1440).find(|m| fields.hour >> (m / 60) & 1 == 1 && fields.minute >> (m % 60) & 1 == 1);
            minute.map(|minute| day * SECONDS_PER_DAY + minute * 60)
        })
    }

    /// Whether a window of `duration` seconds that began at a named instant holds at `now`: one that began exactly
    /// `duration` ago is over, one that begins now holds. A schedule that names nothing at all always holds: upstream's next
    /// instant is then the zero of time, which is not after now.
    pub fn is_open(&self, now: u64, duration: u64) -> bool {
        self.next_after(now.saturating_sub(duration)).is_none_or(|next| next <= now)
    }
}

impl Fields {
    fn names_day(&self, day: u64) -> bool {
        let (_, month, day_of_month) = civil(day);
        let weekday = (day + 4) % 7;
        let by_day = self.day >> day_of_month & 1 == 1;
        let by_weekday = self.weekday >> weekday & 1 == 1;
        let fits = if self.any_day || self.any_weekday { by_day && by_weekday } else { by_day || by_weekday };
        fits && self.month >> month & 1 == 1
    }
}

/// Year, month and day of a day since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Any value will do: some part is a star, in steps of no more than one.
fn is_star(field: &str) -> bool {
    field.split(',').any(|part| {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        range.starts_with(['*', '?']) && step.parse::<u64>().is_ok_and(|step| step <= 1)
    })
}

/// One field: a list of `*`, `a`, `a-b`, each with `/step`.
fn field(text: &str, low: u64, high: u64, names: &[&str]) -> Option<u64> {
    let mut bits = 0;
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u64>().ok().filter(|&step| step > 0)?)),
            None => (part, None),
        };
        let (from, to) = match range {
            _ if range.split('-').next().is_some_and(|from| from == "*" || from == "?") => (low, high),
            _ => match range.split_once('-') {
                Some((from, to)) => (number(from, low, names)?, number(to, low, names)?),
                None => {
                    let from = number(range, low, names)?;
                    (from, if step.is_some() { high } else { from })
                }
            },
        };
        if from < low || to > high || from > to {
            return None;
        }
        (from..=to).step_by(usize::try_from(step.unwrap_or(1)).ok()?).for_each(|value| bits |= 1 << value);
    }
    Some(bits)
}

fn number(text: &str, low: u64, names: &[&str]) -> Option<u64> {
    let named = names.iter().position(|name| name.eq_ignore_ascii_case(text)).map(|index| index as u64 + low);
    named.or_else(|| text.parse().ok())
}

/// Whole seconds of a Go duration such as `1h30m`.
fn go_duration(text: &str) -> Option<u64> {
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    let sign = if text.starts_with('-') { 0.0 } else { 1.0 };
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        seconds += value
            * match &rest[..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" | "μs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    Some((seconds * sign) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2000-01-01T10:00:00Z, a Saturday.
    const SATURDAY: u64 = 946_720_800;

    fn open(text: &str, now: u64, duration: u64) -> bool {
        Schedule::parse(text).is_some_and(|schedule| schedule.is_open(now, duration))
    }

    #[test]
    fn windows_include_their_start_and_exclude_their_end() {
        assert!(open("0 10 * * *", SATURDAY, 600));
        assert!(open("50 9 * * *", SATURDAY, 601));
        assert!(!open("50 9 * * *", SATURDAY, 600));
        assert!(!open("@daily", SATURDAY, 1800));
        assert!(open("@hourly", SATURDAY + 59, 60));
        assert!(open("@every 1h", SATURDAY, 3600) && !open("@every 1h", SATURDAY, 3599));
    }

    #[test]
    fn weekdays_and_days_of_month_join_as_cron_does() {
        assert!(open("0 10 * * sat", SATURDAY, 60) && !open("0 10 * * 1-5", SATURDAY, 60));
        assert!(open("0 10 13 * 6", SATURDAY, 60), "either of the two, when both are given");
        assert!(!open("0 10 13 * *", SATURDAY, 60));
        assert!(open("*/15 8-18/2 * jan *", SATURDAY, 60));
        assert!(open("0 10 */2 * 5", SATURDAY, 60), "a star in steps is no star: the first is odd");
    }

    #[test]
    fn refuses_what_the_parser_refuses() {
        for text in ["0 0 * * 7", "60 * * * *", "* * * *", "", "* * * * * *", "a * * * *", "*/0 * * * *", "@every"] {
            assert_eq!(Schedule::parse(text), None, "{text}");
        }
    }

    #[test]
    fn leap_days_are_found_and_impossible_ones_are_not() {
        let leap = Schedule::parse("0 0 29 2 *").expect("valid").next_after(SATURDAY);
        assert_eq!(leap, Some(951_782_400), "2000-02-29");
        assert_eq!(Schedule::parse("0 0 30 2 *").expect("valid").next_after(SATURDAY), None);
    }
}
