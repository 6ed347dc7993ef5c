//! Cron schedules of disruption budgets, in UTC.
