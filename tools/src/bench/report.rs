//! What a run came to: names, figures, units.

use std::fmt;

use serde_json::{Map, Value};

/// Figures in the order in which they are to be read.
#[derive(Clone, Debug, Default)]
pub struct Report {
    lines: Vec<(String, f64, &'static str)>,
}

impl Report {
    /// Adds a figure; one that is not finite was not measured and is left out.
    pub fn tell(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        if value.is_finite() {
            self.lines.push((name.into(), value, unit));
        }
    }

    /// A figure that was reported.
    pub fn figure(&self, name: &str) -> Option<f64> {
        self.lines.iter().find(|line| line.0 == name).map(|line| line.1)
    }

    /// The same as JSON: a name and its unit are one key.
    pub fn json(&self) -> Value {
        let key = |name: &str, unit: &str| {
            let text = if unit.is_empty() { name.to_owned() } else { format!("{name} ({unit})") };
            text.replace(' ', "_")
        };
        let lines = self.lines.iter();
        let members = lines.map(|(name, value, unit)| (key(name, unit), Value::from(*value)));
        Value::Object(members.collect::<Map<_, _>>())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.lines.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
        for (name, value, unit) in &self.lines {
            let digits = if value.abs() < 100.0 && value.fract() != 0.0 { 3 } else { 0 };
            writeln!(f, "{name:width$}  {value:>12.digits$} {unit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_report_is_a_table_and_an_object() {
        let mut report = Report::default();
        report.tell("acked", 2500.25, "events/s");
        report.tell("ack p50", 1.5, "ms");
        report.tell("errors", 0.0, "");
        report.tell("not measured", f64::NAN, "");
        expect![[r#"
            acked            2500 events/s
            ack p50         1.500 ms
            errors              0 
        "#]]
        .assert_eq(&report.to_string());
        expect![[r#"{"ack_p50_(ms)":1.5,"acked_(events/s)":2500.25,"errors":0.0}"#]]
            .assert_eq(&report.json().to_string());
    }
}
