//! What a picture is made of: shapes in order, in pixels, independent of the file format.

use std::sync::OnceLock;

/// A colour with opacity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Colour(pub u8, pub u8, pub u8, pub f64);

impl Colour {
    /// An opaque colour from `0xRRGGBB`.
    pub const fn hex(rgb: u32) -> Colour {
        Colour((rgb >> 16) as u8, (rgb >> 8) as u8, rgb as u8, 1.0)
    }

    /// The same colour with an opacity.
    pub const fn opacity(self, opacity: f64) -> Colour {
        Colour(self.0, self.1, self.2, opacity)
    }
}

/// Which end of a text its position is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The left end.
    Start,
    /// The middle.
    Middle,
    /// The right end.
    End,
}

/// A shape.
#[derive(Clone, Debug)]
pub enum Shape {
    /// A filled rectangle.
    Rect {
        /// Left, top, width, height.
        area: [f64; 4],
        /// Fill.
        fill: Colour,
        /// What a pointer that rests on it is told.
        tip: String,
    },
    /// A line through points.
    Line {
        /// Points.
        points: Vec<(f64, f64)>,
        /// Colour.
        colour: Colour,
        /// Width.
        width: f64,
        /// Dashed.
        dashed: bool,
    },
    /// A filled polygon.
    Area {
        /// Corners.
        points: Vec<(f64, f64)>,
        /// Fill.
        fill: Colour,
    },
    /// A text.
    Text {
        /// Position: anchor and baseline.
        at: (f64, f64),
        /// Font size in pixels.
        size: f64,
        /// Bold.
        bold: bool,
        /// Which end `at` is.
        anchor: Anchor,
        /// Colour.
        colour: Colour,
        /// What it says.
        text: String,
    },
}

/// A picture.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
    /// What it shows.
    pub title: String,
    /// In a sentence.
    pub description: String,
    /// From back to front.
    pub shapes: Vec<Shape>,
}

impl Drawing {
    /// Adds a rectangle.
    pub fn rect(&mut self, area: [f64; 4], fill: Colour, tip: impl Into<String>) {
        self.shapes.push(Shape::Rect { area, fill, tip: tip.into() });
    }

    /// Adds a line.
    pub fn line(&mut self, points: Vec<(f64, f64)>, colour: Colour, width: f64, dashed: bool) {
        self.shapes.push(Shape::Line { points, colour, width, dashed });
    }

    /// Adds a polygon.
    pub fn area(&mut self, points: Vec<(f64, f64)>, fill: Colour) {
        self.shapes.push(Shape::Area { points, fill });
    }

    /// Adds a text.
    pub fn text(
        &mut self,
        at: (f64, f64),
        style: (f64, bool),
        anchor: Anchor,
        colour: Colour,
        text: impl Into<String>,
    ) {
        let (size, bold) = style;
        self.shapes.push(Shape::Text { at, size, bold, anchor, colour, text: text.into() });
    }
}

/// The regular font.
pub static REGULAR: &[u8] = include_bytes!("../font/DejaVuSans.ttf");
/// The bold font.
pub static BOLD: &[u8] = include_bytes!("../font/DejaVuSans-Bold.ttf");

/// plotters scales a font by its height from descent to ascent, we by its em: DejaVu's (0.928 + 0.236) em.
pub const HEIGHT_PER_EM: f64 = 1.164;

/// Registers the fonts with plotters, once.
pub fn register_fonts() {
    use plotters::style::{FontStyle, register_font};
    static ONCE: OnceLock<bool> = OnceLock::new();
    let registered = ONCE.get_or_init(|| {
        let regular = register_font("DejaVu Sans", FontStyle::Normal, REGULAR).is_ok();
        let bold = register_font("DejaVu Sans", FontStyle::Bold, BOLD).is_ok();
        regular && bold
    });
    assert!(*registered, "the embedded fonts are fonts");
}

/// Width of a text in pixels.
pub fn text_width(text: &str, size: f64, bold: bool) -> f64 {
    static WIDTHS: OnceLock<[Vec<f64>; 2]> = OnceLock::new();
    let widths = WIDTHS.get_or_init(|| [measure(false), measure(true)]);
    let table = &widths[usize::from(bold)];
    let units: f64 = text.chars().map(|character| table.get(character as usize).copied().unwrap_or(0.84)).sum();
    units * size
}

/// Widths of the first 256 characters, in em.
fn measure(bold: bool) -> Vec<f64> {
    use plotters::style::{FontDesc, FontFamily, FontStyle};
    register_fonts();
    let style = if bold { FontStyle::Bold } else { FontStyle::Normal };
    let font = FontDesc::new(FontFamily::Name("DejaVu Sans"), 1_000.0 * HEIGHT_PER_EM, style);
    let width =
        |code: u8| font.box_size(&char::from(code).to_string()).map_or(0.6, |(width, _)| f64::from(width) / 1_000.0);
    (0..=255).map(width).collect()
}

/// The text cut so that it is no wider than `width`, with an ellipsis.
pub fn fitted(text: &str, size: f64, bold: bool, width: f64) -> String {
    if text_width(text, size, bold) <= width {
        return text.to_string();
    }
    let mut kept: String = text.to_string();
    while kept.pop().is_some() {
        let cut = format!("{}…", kept.trim_end());
        if text_width(&cut, size, bold) <= width {
            return cut;
        }
    }
    String::new()
}

/// The same for names, which differ at their ends: the beginning is cut, between words where that leaves any.
pub fn fitted_name(name: &str, size: f64, bold: bool, width: f64) -> String {
    if text_width(name, size, bold) <= width {
        return name.to_string();
    }
    let fits = |start: usize| {
        let cut = format!("…{}", &name[start..]);
        (text_width(&cut, size, bold) <= width).then_some(cut)
    };
    let words = name.match_indices(['-', '.']).map(|(at, separator)| at + separator.len());
    let letters = name.char_indices().skip(1).map(|(start, _)| start);
    words.filter(|&start| start < name.len()).chain(letters).find_map(fits).unwrap_or_default()
}

/// Rows for labels that stand to the right of upright lines, each `(x of its line, width of its label)` in order of x:
/// of two that overlap the earlier is further from the lines' ends, so no line runs through a label.
pub fn staircase(labels: &[(f64, f64)]) -> Vec<usize> {
    const GAP: f64 = 10.0;
    let mut rows = vec![0; labels.len()];
    for (index, &(x, width)) in labels.iter().enumerate().rev() {
        let covered = (index + 1..labels.len()).take_while(|&later| labels[later].0 <= x + width + GAP);
        rows[index] = covered.map(|later| rows[later] + 1).max().unwrap_or(0);
    }
    rows
}

/// Per pixel column the first, lowest, highest and last point: the same picture from fewer points.
pub fn decimated(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let mut kept: Vec<(f64, f64)> = Vec::with_capacity(points.len().min(8_192));
    let mut start = 0;
    while start < points.len() {
        let column = points[start].0.floor();
        let length = points[start..].iter().take_while(|point| point.0.floor() == column).count();
        let group = &points[start..start + length];
        if length <= 4 {
            kept.extend_from_slice(group);
        } else {
            let by_height = |one: &(f64, f64), other: &(f64, f64)| one.1.total_cmp(&other.1);
            let extreme = [
                group.first(),
                group.iter().min_by(|one, other| by_height(one, other)),
                group.iter().max_by(|one, other| by_height(one, other)),
                group.last(),
            ];
            kept.extend(extreme.into_iter().flatten());
        }
        start += length;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_to_its_place() {
        assert_eq!(fitted("short", 12.0, false, 100.0), "short");
        let cut = fitted("a-very-long-name-of-a-pod", 12.0, false, 80.0);
        assert!(cut.ends_with('…') && text_width(&cut, 12.0, false) <= 80.0);
        let name = fitted_name("wordpress-nodepool-initial-02", 12.0, true, 100.0);
        assert!(name.starts_with('…') && name.ends_with("-02") && text_width(&name, 12.0, true) <= 100.0);
        assert!(text_width("bold", 12.0, true) > text_width("bold", 12.0, false));
    }

    #[test]
    fn no_line_runs_through_a_label() {
        assert_eq!(staircase(&[(0.0, 50.0), (20.0, 50.0), (40.0, 50.0), (200.0, 10.0)]), [2, 1, 0, 0]);
    }

    #[test]
    fn decimation_keeps_the_extremes_of_each_column() {
        let points: Vec<(f64, f64)> = (0..1_000).map(|i| (f64::from(i) / 100.0, f64::from(i % 37))).collect();
        let kept = decimated(points);
        assert_eq!(kept.len(), 40);
        assert!((0..10).all(|column| kept.iter().any(|point| point.0.floor() == f64::from(column) && point.1 == 36.0)));
    }
}
